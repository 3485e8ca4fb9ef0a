# cmake --install: bin/nnc, the CMake package, nnc.pc, and what is there to be read.  nnc needs none of it at run time: the standard
# library is in the binary.  Nothing installed holds an absolute path, so the prefix may be moved or packed.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package ${CMAKE_SOURCE_DIR}/runtime/package)
configure_file(${package}/nnc.pc.in ${generated}/nnc.pc @ONLY)
# The package makes objects for any processor, whatever the machine that nnc itself runs on.
write_basic_package_version_file(${generated}/nncConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)

install(TARGETS nnc RUNTIME DESTINATION bin)
install(FILES ${package}/nncConfig.cmake ${generated}/nncConfigVersion.cmake DESTINATION share/cmake/nnc)
install(FILES ${generated}/nnc.pc DESTINATION share/pkgconfig)
install(FILES README.md LICENSE runtime/EMBEDDING.md grammar/LANGUAGE.md grammar/grammar.ebnf DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY grammar/std DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY examples DESTINATION ${CMAKE_INSTALL_DOCDIR} PATTERN "*.run" EXCLUDE PATTERN "*.o" EXCLUDE PATTERN "*.elf" EXCLUDE)
