# The four seams of the labs: each is one header in lb/ whose functions are defined outside of it, in a file of
# solutions/ch10 (what ships) or, where there are no solutions, in cmake/absent. In such a tree, the students', only
# lb/lb itself has the files of exercises/ch10 in it, and everything else builds and runs whatever they hold.
#
#   seam       header                        file                       module
#   watch      lb/watch/config_watcher.hpp   1_watch/watch.cpp          watch
#   diff       lb/config/diff.hpp            2_diff/diff.cpp            config
#   rollback   lb/reload/rollback.hpp        3_rollback/rollback.cpp    reload
#   yaml       lb/config/yaml_reader.hpp     4_yaml/yaml.cpp            config
#
# The module's library brings the file along, so that whoever links the module has the seam. A target that defines
# the seam itself (a submission under test) sets its property LB_OWN_WATCH, LB_OWN_DIFF, ... and then gets none:
# a submission that lacks the function does not link, and is not graded with somebody else's.
set(LB_CH10 ${PROJECT_SOURCE_DIR}/solutions/ch10 CACHE PATH "Where the balancer's four seams are taken from")
find_package(yaml-cpp 0.7 REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)

set(LB_SEAMS watch diff rollback yaml)
set(LB_SEAM_FILE_watch 1_watch/watch.cpp)
set(LB_SEAM_FILE_diff 2_diff/diff.cpp)
set(LB_SEAM_FILE_rollback 3_rollback/rollback.cpp)
set(LB_SEAM_FILE_yaml 4_yaml/yaml.cpp)
set(LB_SEAM_MODULE_watch watch)
set(LB_SEAM_MODULE_diff config)
set(LB_SEAM_MODULE_rollback reload)
set(LB_SEAM_MODULE_yaml config)
set(LB_SEAM_LIBS_diff nlohmann_json::nlohmann_json)
find_library(LB_YAML_CPP_ARCHIVE libyaml-cpp.a)  # compiled in where it can be: lb/main/CMakeLists.txt says why
if(LB_YAML_CPP_ARCHIVE)
  set(LB_SEAM_LIBS_yaml ${LB_YAML_CPP_ARCHIVE})
else()
  set(LB_SEAM_LIBS_yaml yaml-cpp)
endif()

# GCC 12 sees overlapping copies in `"a" + string` at -O2 where there are none (its bug 105651); whoever writes an
# exercise should not have to know that.
function(lb_spare_false_alarms target)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(${target} PRIVATE -Wno-restrict)
  endif()
endfunction()

# Gives `target`, which compiles a file behind SEAM, what such a file may use.
function(lb_use_seam target seam)
  target_link_libraries(${target} PUBLIC lb_${LB_SEAM_MODULE_${seam}} ${LB_SEAM_LIBS_${seam}})
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
endfunction()

# Marks `target` as bringing its own definition of each of the seams given.
function(lb_own_seams target)
  foreach(seam ${ARGN})
    string(TOUPPER ${seam} upper)
    set_target_properties(${target} PROPERTIES LB_OWN_${upper} ON)
  endforeach()
endfunction()

# Called once, after the modules.
function(lb_add_seams)
  foreach(seam ${LB_SEAMS})
    set(file ${LB_CH10}/${LB_SEAM_FILE_${seam}})
    if(NOT EXISTS ${file})
      set(file ${PROJECT_SOURCE_DIR}/cmake/absent/${seam}.cpp)
    endif()
    add_library(lb_seam_${seam} STATIC ${file})
    lb_use_seam(lb_seam_${seam} ${seam})
    lb_spare_false_alarms(lb_seam_${seam})
    string(TOUPPER ${seam} upper)
    target_link_libraries(lb_${LB_SEAM_MODULE_${seam}} PUBLIC
      $<$<NOT:$<BOOL:$<TARGET_PROPERTY:LB_OWN_${upper}>>>:lb_seam_${seam}>)
  endforeach()
  if(NOT EXISTS ${LB_CH10})
    lb_take_exercises(lb)
  endif()
endfunction()

# Gives `target` the files of exercises/ch10 that there are. What the compiler warns of in them stops nobody.
function(lb_take_exercises target)
  foreach(seam ${LB_SEAMS})
    set(file ${PROJECT_SOURCE_DIR}/exercises/ch10/${LB_SEAM_FILE_${seam}})
    if(EXISTS ${file})
      add_library(lb_exercise_${seam} OBJECT ${file})
      target_compile_options(lb_exercise_${seam} PRIVATE -Wno-error)
      lb_use_seam(lb_exercise_${seam} ${seam})
      lb_spare_false_alarms(lb_exercise_${seam})
      target_link_libraries(${target} PRIVATE lb_exercise_${seam})
      lb_own_seams(${target} ${seam})
    endif()
  endforeach()
endfunction()
