# Writes OUTPUT: FILE with the text FROM replaced by TO.  Fails when FROM is not there (any more).
file(READ ${FILE} text)
string(FIND "${text}" "${FROM}" at)
if(at EQUAL -1)
  message(FATAL_ERROR "${FILE} has no \"${FROM}\": the planted mistake must follow the code")
endif()
string(REPLACE "${FROM}" "${TO}" text "${text}")
file(WRITE ${OUTPUT} "${text}")
