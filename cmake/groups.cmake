# Groups of targets by the names that lb_module() gives them, so that a goal builds what it needs and no more:
#   programs       the balancer and the harness's tools        unit_tests     every X_test
#   thread_tests   X_test of the modules where threads meet    benches        every X_bench
#   fuzzers        every X_fuzz
# A target made by hand joins its group by its name. To be called once, after all add_subdirectory().
# build/PRESET/groups.txt then lists every program as "GROUP PATH", for tools/check.py.
set(LB_THREADED_MODULES net observe balance limit proxy supervisor)

function(lb_executables_below folder result)
  get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
  set(found)
  foreach(target ${targets})
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "EXECUTABLE")
      list(APPEND found ${target})
    endif()
  endforeach()
  get_property(children DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
  foreach(child ${children})
    lb_executables_below(${child} below)
    list(APPEND found ${below})
  endforeach()
  set(${result} ${found} PARENT_SCOPE)
endfunction()

# The sources of an executable itself are compiled for a quick build, while every library, which is where the code
# is, keeps the flags of its preset. The sources of the balancer and of the traffic tools read command lines (CLI11:
# 7 s instead of 17); gtest's macros take two thirds of the time with -O0, and with sanitizers a third.
function(lb_compile_quickly target group)
  if(group STREQUAL "unit_tests" OR target MATCHES "^lb(_backend|_traffic|_ledger|_faulty)?$|^config_keys$")
    target_compile_options(${target} PRIVATE -O0 -g1)
  endif()
endfunction()

function(lb_add_groups)
  foreach(group programs unit_tests thread_tests benches fuzzers)
    add_custom_target(${group})
  endforeach()
  lb_executables_below(${PROJECT_SOURCE_DIR} executables)
  set(list)
  list(FILTER executables EXCLUDE REGEX "^(lab|crash)_")  # built one by one, on demand
  foreach(target ${executables})
    set(groups programs)
    if(target MATCHES "^(.+)_test$")
      set(groups unit_tests)
      if(CMAKE_MATCH_1 IN_LIST LB_THREADED_MODULES)
        list(APPEND groups thread_tests)
      endif()
    elseif(target MATCHES "_bench$")
      set(groups benches)
    elseif(target MATCHES "_fuzz$")
      set(groups fuzzers)
    endif()
    list(GET groups 0 group)
    lb_compile_quickly(${target} ${group})
    get_target_property(sources ${target} SOURCES)
    get_target_property(folder ${target} SOURCE_DIR)
    if(sources MATCHES "testing/")
      continue()  # a test's helper: built with the test that needs it
    elseif(group STREQUAL "programs" AND folder MATCHES "/bench$")
      add_dependencies(benches ${target})  # a benchmark's helper, and a program that tests use
    endif()
    foreach(group ${groups})
      add_dependencies(${group} ${target})
      string(APPEND list "${group} $<TARGET_FILE:${target}>\n")
    endforeach()
  endforeach()
  file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/groups.txt CONTENT "${list}")
endfunction()
