# find_package(nnc): where nnc is, and nnc_add_model(), which puts a model into a program.
#
#   nnc_add_model(TARGET FILE.nn
#     [TARGET t] [CPU c] [FEATURES f]     # as nnc compile's options; without TARGET what CMake builds for
#     [BATCH n] [ENTRY infer|train|infer,train] [NAME train_block]
#     [WEIGHTS file] [QUANTIZE int8] [BUDGET bytes] [FLASH bytes] [WORKERS n] [DATA_DIR folder]
#     [SET K=V ...] [OPTIONS ...] [DEPENDS file ...])
#
# Makes FILE.o and FILE.h when the target is built and anything they come from has changed (FILE.nn, what it imports, weights,
# data that sizes come from, nnc itself), links the object and puts the header's folder on the include path, for those who
# link to the target too.  The target must have been made in the same folder.  Relative paths start at CMAKE_CURRENT_SOURCE_DIR.
#
# Variables, to be set by a toolchain file or on the command line:
#   NNC_EXECUTABLE  nnc, if not the one that was installed with this file
#   NNC_TARGET, NNC_CPU, NNC_FEATURES  for models that do not say theirs
#
# Everything is found from this file's own place, so what was installed may be moved as a whole.
if(CMAKE_VERSION VERSION_LESS 3.20)
  set(nnc_FOUND FALSE)
  set(nnc_NOT_FOUND_MESSAGE "nnc needs CMake 3.20 or later")
  return()
endif()
cmake_policy(PUSH)
cmake_policy(VERSION 3.20)

if(NOT NNC_EXECUTABLE)
  get_filename_component(nnc_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
  find_program(NNC_EXECUTABLE nnc HINTS "${nnc_prefix}/bin" NO_CMAKE_FIND_ROOT_PATH DOC "The compiler of models")
  unset(nnc_prefix)
endif()
if(NOT NNC_EXECUTABLE OR NOT EXISTS "${NNC_EXECUTABLE}")
  set(nnc_FOUND FALSE)
  set(nnc_NOT_FOUND_MESSAGE "there is no nnc at '${NNC_EXECUTABLE}'; set NNC_EXECUTABLE")
  cmake_policy(POP)
  return()
endif()

# nnc's name of what is built for, in `result`; empty: nnc's own default, this machine.
function(_nnc_target result)
  if(NNC_TARGET)
    set(name "${NNC_TARGET}")
  elseif(CMAKE_SYSTEM_NAME MATCHES "^(Emscripten|WASI)$" OR CMAKE_SYSTEM_PROCESSOR MATCHES "^wasm32$")
    set(name wasm32)
  elseif(CMAKE_SYSTEM_NAME MATCHES "^(Darwin|iOS|Windows)$")
    message(FATAL_ERROR "nnc_add_model: nnc writes ELF and WebAssembly objects, which ${CMAKE_SYSTEM_NAME} does not link")
  elseif(NOT CMAKE_CROSSCOMPILING)
    set(name "")
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64|x86-64)$")
    set(name x86-64)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
    set(name aarch64)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(armv7|armv7-a|armv7l|armv7hf|armhf)$")
    set(name armv7)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(riscv64|rv64gc)$")
    set(name riscv64)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^cortex-m(4|7|33)$")
    set(name "${CMAKE_SYSTEM_PROCESSOR}")
  else()
    message(FATAL_ERROR "nnc_add_model: which processor is CMAKE_SYSTEM_PROCESSOR '${CMAKE_SYSTEM_PROCESSOR}'? "
      "Say TARGET, or set NNC_TARGET: `nnc compile --target list` prints the names")
  endif()
  set(${result} "${name}" PARENT_SCOPE)
endfunction()

function(nnc_add_model target file)
  set(named TARGET CPU FEATURES BATCH ENTRY NAME WEIGHTS QUANTIZE BUDGET FLASH WORKERS DATA_DIR)
  cmake_parse_arguments(PARSE_ARGV 2 model "" "${named}" "SET;OPTIONS;DEPENDS")
  if(model_UNPARSED_ARGUMENTS OR model_KEYWORDS_MISSING_VALUES)
    message(FATAL_ERROR "nnc_add_model: what is '${model_UNPARSED_ARGUMENTS}${model_KEYWORDS_MISSING_VALUES}'?")
  endif()
  if(NOT TARGET ${target})
    message(FATAL_ERROR "nnc_add_model: there is no target '${target}' yet")
  endif()
  get_target_property(folder ${target} SOURCE_DIR)
  if(NOT folder STREQUAL CMAKE_CURRENT_SOURCE_DIR)
    message(FATAL_ERROR "nnc_add_model: '${target}' was made in ${folder}; call it there")
  endif()
  foreach(path IN ITEMS file model_WEIGHTS model_DATA_DIR)
    if(NOT "${${path}}" STREQUAL "")
      get_filename_component(${path} "${${path}}" ABSOLUTE)
    endif()
  endforeach()
  if(NOT EXISTS "${file}")
    message(FATAL_ERROR "nnc_add_model: there is no '${file}'")
  endif()
  if(NOT model_TARGET)
    _nnc_target(model_TARGET)
  endif()
  foreach(name IN ITEMS CPU FEATURES)
    if("${model_${name}}" STREQUAL "" AND DEFINED NNC_${name})
      set(model_${name} "${NNC_${name}}")
    endif()
  endforeach()

  set(options "")
  foreach(name IN LISTS named)
    if(NOT "${model_${name}}" STREQUAL "")
      string(TOLOWER "${name}" option)
      string(REPLACE "_" "-" option "${option}")
      list(APPEND options "--${option}" "${model_${name}}")
    endif()
  endforeach()
  foreach(assignment IN LISTS model_SET)
    list(APPEND options --set "${assignment}")
  endforeach()

  get_filename_component(name "${file}" NAME_WLE)
  get_filename_component(shown "${file}" NAME)
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/nnc/${target}")
  set(made "${folder}/${name}")
  file(MAKE_DIRECTORY "${folder}")
  add_custom_command(OUTPUT "${made}.o" "${made}.h"
    COMMAND "${NNC_EXECUTABLE}" compile "${file}" -o "${made}.o" ${options} ${model_OPTIONS} --depfile "${made}.d"
    DEPENDS "${file}" ${model_WEIGHTS} ${model_DEPENDS} "${NNC_EXECUTABLE}"
    DEPFILE "${made}.d"
    COMMENT "Compiling ${shown} for ${target}"
    VERBATIM)
  set_source_files_properties("${made}.o" PROPERTIES GENERATED TRUE EXTERNAL_OBJECT TRUE)
  set_source_files_properties("${made}.h" PROPERTIES GENERATED TRUE HEADER_FILE_ONLY TRUE)
  target_sources(${target} PRIVATE "${made}.o" "${made}.h")
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE")
    target_include_directories(${target} PRIVATE "${folder}")
  else()
    target_include_directories(${target} PUBLIC "$<BUILD_INTERFACE:${folder}>")
  endif()
endfunction()

cmake_policy(POP)
