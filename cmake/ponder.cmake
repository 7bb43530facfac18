# How a folder of ponder becomes a library, and how a test becomes a program.

add_library(ponder_warnings INTERFACE)
add_library(ponder::warnings ALIAS ponder_warnings)
target_compile_options(ponder_warnings INTERFACE -Wall -Wextra)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees overlapping copies in std::string's operator+ (its bug 105651).
  target_compile_options(ponder_warnings INTERFACE -Wno-restrict)
endif()
if(PONDER_WERROR)
  target_compile_options(ponder_warnings INTERFACE -Werror)
endif()

# PONDER_SANITIZE=address,undefined or thread; empty for none. Applies to everything that we compile.
set(PONDER_SANITIZE "" CACHE STRING "sanitizers to build with, as -fsanitize= takes them")
if(PONDER_SANITIZE)
  add_compile_options(-fsanitize=${PONDER_SANITIZE} -fno-omit-frame-pointer
                      -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${PONDER_SANITIZE})
endif()

find_program(PONDER_MOLD mold)
if(PONDER_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# ponder_module(NAME engine SOURCES a.cpp DEPS ponder::kernels PRIVATE_DEPS fmt::fmt)
# One static library; the dependency list is the architecture.
function(ponder_module)
  cmake_parse_arguments(PARSE_ARGV 0 M "" "NAME" "SOURCES;DEPS;PRIVATE_DEPS")
  add_library(ponder_${M_NAME} STATIC ${M_SOURCES})
  add_library(ponder::${M_NAME} ALIAS ponder_${M_NAME})
  target_include_directories(ponder_${M_NAME} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(ponder_${M_NAME} PUBLIC ${M_DEPS} PRIVATE ${M_PRIVATE_DEPS} ponder::warnings)
endfunction()

# ponder_test(NAME context/encoder SOURCES encoder_test.cpp DEPS ponder::context LABELS unit)
# One GoogleTest program, one ctest entry, run from the source root so that tests find their data
# under tests/. ctest shows a program that skipped something as skipped, if nothing failed in it:
# what a machine cannot do must neither look as if it passed nor hide a failure.
# Labels: unit, property, golden, simulation, e2e, gpu, slow.
function(ponder_test)
  cmake_parse_arguments(PARSE_ARGV 0 T "" "NAME;TIMEOUT" "SOURCES;DEPS;LABELS")
  string(REPLACE "/" "_" target "test_${T_NAME}")
  add_executable(${target} ${T_SOURCES})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${target} PRIVATE ${T_DEPS} ponder_test_main ponder::warnings)
  add_test(NAME ${T_NAME} COMMAND ${target} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 300)
  endif()
  set_property(TEST ${T_NAME} PROPERTY LABELS ${T_LABELS})
  set_property(TEST ${T_NAME} PROPERTY SKIP_RETURN_CODE 77)
  set_property(TEST ${T_NAME} PROPERTY TIMEOUT ${T_TIMEOUT})
endfunction()

# ponder_fuzz(NAME context/encoder SOURCES encoder_fuzz.cpp DEPS ponder::context)
# One libFuzzer program, built only with PONDER_FUZZ; its seeds lie in tests/fuzz/seeds/<name>.
add_custom_target(fuzzers)
function(ponder_fuzz)
  cmake_parse_arguments(PARSE_ARGV 0 F "" "NAME" "SOURCES;DEPS")
  if(NOT PONDER_FUZZ)
    return()
  endif()
  string(REPLACE "/" "_" target "fuzz_${F_NAME}")
  add_executable(${target} ${F_SOURCES})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${target} PRIVATE ${F_DEPS} ponder::warnings)
  target_link_options(${target} PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzzers ${target})
endfunction()
