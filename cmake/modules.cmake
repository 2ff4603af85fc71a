# One folder of lb/ is one library. lb_module(NAME DEPS a b LIBS x::y) takes every .cpp of the folder:
# x.cpp goes into the library lb_NAME, x_test.cpp into the test program NAME_test, x_bench.cpp into
# NAME_bench, and fuzz/x_fuzz.cpp each into a program of its own when LB_FUZZ is on.
# DEPS names the lb modules that NAME may include; tools/check_includes.py holds the code to it.
# The headers that nearly every file includes are compiled once a preset and kind: for libraries and for tests. It
# saves a quarter of a cold build. No file may rely on it: clang-tidy reads each without.
set(LB_COMMON_HEADERS <algorithm> <chrono> <cstdint> <expected> <functional> <memory> <optional> <span> <string>
                      <string_view> <variant> <vector>)
set(LB_COMMON_TEST_HEADERS ${LB_COMMON_HEADERS} <filesystem> <fstream> <gmock/gmock.h> <gtest/gtest.h> <sstream>)

# The first target of a kind compiles them, the others use its result.
function(lb_precompile target kind headers)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # GCC 12 sees accesses past the end in its own std::string when that comes precompiled.
    target_compile_options(${target} PRIVATE -Wno-array-bounds -Wno-stringop-overflow -Wno-restrict)
  endif()
  get_property(owner GLOBAL PROPERTY LB_PCH_${kind})
  if(owner)
    target_precompile_headers(${target} REUSE_FROM ${owner})
  else()
    target_precompile_headers(${target} PRIVATE ${headers})
    set_property(GLOBAL PROPERTY LB_PCH_${kind} ${target})
  endif()
endfunction()

# Most of the work on a file goes into headers and what they instantiate: eight files at a time take half the time.
# For that, and for tools/tidy.py, the private names of a module's files differ. CMakePresets' LB_UNITY=OFF makes
# the build after a small edit quicker, and the first one slower.
function(lb_compile_together)
  set_target_properties(${ARGN} PROPERTIES UNITY_BUILD ${LB_UNITY} UNITY_BUILD_BATCH_SIZE 8)
endfunction()

function(lb_module name)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS;TEST_LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  set(tests ${sources})
  set(benches ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  list(FILTER benches INCLUDE REGEX "_bench\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "_(test|bench)\\.cpp$")
  list(TRANSFORM ARG_DEPS PREPEND "lb_")
  if(sources)
    add_library(lb_${name} STATIC ${sources})
    lb_precompile(lb_${name} library "${LB_COMMON_HEADERS}")
    lb_compile_together(lb_${name})
    set(scope PUBLIC)
  else()
    add_library(lb_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(lb_${name} ${scope} ${PROJECT_SOURCE_DIR})
  target_link_libraries(lb_${name} ${scope} ${ARG_DEPS} ${ARG_LIBS} Threads::Threads)
  if(LB_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE lb_${name} ${ARG_TEST_LIBS} GTest::gmock GTest::gtest_main)
    target_compile_definitions(${name}_test PRIVATE LB_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    lb_precompile(${name}_test test "${LB_COMMON_TEST_HEADERS}")
    lb_compile_together(${name}_test)
    add_test(NAME ${name}_test COMMAND ${name}_test)
  endif()
  if(LB_TESTS AND benches AND NOT LB_SANITIZE)
    add_executable(${name}_bench ${benches})
    target_link_libraries(${name}_bench PRIVATE lb_${name} benchmark::benchmark benchmark::benchmark_main)
    target_compile_definitions(${name}_bench PRIVATE LB_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  endif()
  if(LB_FUZZ)
    file(GLOB fuzzers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/*_fuzz.cpp)
    foreach(fuzzer ${fuzzers})
      get_filename_component(target ${fuzzer} NAME_WE)
      add_executable(${target} ${fuzzer})
      target_compile_definitions(${target} PRIVATE LB_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
      target_link_options(${target} PRIVATE -fsanitize=fuzzer)
      target_link_libraries(${target} PRIVATE lb_${name})
    endforeach()
  endif()
endfunction()
