# The programs of the labs; built on demand by harness/lbgrader, none belongs to a group. All of them lie in
# build/PRESET/labs/. A *runner* is one file behind a seam with the loop of harness/labs/SEAM_runner.cpp, judged by a
# process beside it; a *balancer* is lb/lb with that file in place.
#
#   lab_student_SEAM_runner   lab_student_SEAM_lb    the submission's file; the other three seams from the reference,
#                                                    or absent where there is none (the students' tree)
#   lab_student_all_lb                               all four from the submission
#   lab_case_SEAM_NAME_runner lab_case_SEAM_NAME_lb  every other answer that is known: solutions/ch10/N_SEAM/NAME.cpp
#                                                    and the bug bank's fixtures/bugbank/N_SEAM/NAME.cpp or .edit
set(LB_SUBMISSION ${PROJECT_SOURCE_DIR}/exercises/ch10 CACHE PATH "The submission that the labs' targets are built from")

# What the known answers to an exercise include: there are some hundred of them, and reading it is most of the work
# of compiling one. Programs of submissions do without: nobody's missing #include is hidden.
set(LB_CASE_HEADERS_watch <cerrno> <deque> <map> <set> <sys/inotify.h> <utility> lb/watch/config_watcher.hpp)
set(LB_CASE_HEADERS_diff <cctype> <unordered_map> <utility> lb/config/diff.hpp lb/config/keys.hpp lb/config/wording.hpp)
set(LB_CASE_HEADERS_rollback <array> <cstdio> <deque> lb/reload/rollback.hpp)
set(LB_CASE_HEADERS_yaml <charconv> <cmath> <cstdlib> <sstream> <unordered_map> <yaml-cpp/eventhandler.h>
    <yaml-cpp/exceptions.h> <yaml-cpp/parser.h> lb/config/wording.hpp lb/config/yaml_reader.hpp lb/config/yaml_text.hpp)

function(lb_precompile_cases seam)
  if(TARGET lab_${seam}_headers)
    return()
  endif()
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/lab_headers.cpp CONTENT "")
  add_library(lab_${seam}_headers OBJECT EXCLUDE_FROM_ALL ${PROJECT_BINARY_DIR}/lab_headers.cpp)
  target_compile_options(lab_${seam}_headers PRIVATE -O0)
  lb_use_seam(lab_${seam}_headers ${seam})
  list(TRANSFORM LB_CASE_HEADERS_${seam} REPLACE "^lb/" "${PROJECT_SOURCE_DIR}/lb/" OUTPUT_VARIABLE headers)
  lb_precompile(lab_${seam}_headers lab_${seam} "${LB_COMMON_HEADERS};${headers}")
endfunction()

function(lb_lab_runner target seam file)
  set(source ${PROJECT_SOURCE_DIR}/harness/labs/${seam}_runner.cpp)
  if(NOT EXISTS ${source})
    return()
  endif()
  if(NOT TARGET lab_${seam}_loop)
    add_library(lab_${seam}_loop OBJECT EXCLUDE_FROM_ALL ${source})
    lb_use_seam(lab_${seam}_loop ${seam})
    target_link_libraries(lab_${seam}_loop PUBLIC lab_wire)
  endif()
  add_executable(${target} EXCLUDE_FROM_ALL ${file})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/labs)
  if(LB_SANITIZE AND target MATCHES "^lab_case_")
    target_compile_options(${target} PRIVATE -O0)  # half the time to compile
    lb_precompile_cases(${seam})
    lb_precompile(${target} lab_${seam} "")
  endif()
  target_link_libraries(${target} PRIVATE lab_${seam}_loop)
  lb_spare_false_alarms(${target})
  lb_own_seams(${target} ${seam})
endfunction()

# lb_lab_balancer(TARGET seam FILE [seam FILE]...)
function(lb_lab_balancer target)
  set(owned)
  set(files)
  while(ARGN)
    list(POP_FRONT ARGN seam file)
    list(APPEND owned ${seam})
    list(APPEND files ${file})
  endwhile()
  add_executable(${target} EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/lb/main/program/main.cpp ${files})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/labs)
  target_link_libraries(${target} PRIVATE lb_main)
  lb_spare_false_alarms(${target})
  foreach(seam ${owned})
    target_link_libraries(${target} PRIVATE lb_${LB_SEAM_MODULE_${seam}} ${LB_SEAM_LIBS_${seam}})
  endforeach()
  lb_own_seams(${target} ${owned})
endfunction()

# A wrong answer that is an edit of a right one (harness/lbgrader/edits.py) becomes a source of the build folder:
# ${variable} is then that.
function(lb_edited_case variable seam folder)
  set(case ${${variable}})
  if(NOT case MATCHES "[.]edit$")
    return()
  endif()
  get_filename_component(name ${case} NAME_WE)
  file(STRINGS ${case} base REGEX "^// base: " LIMIT_COUNT 1)
  string(REPLACE "// base: " "" base "${base}")
  set(made ${PROJECT_BINARY_DIR}/labs/cases/${folder}/${name}.cpp)
  set(edits ${PROJECT_SOURCE_DIR}/harness/lbgrader/edits.py)
  add_custom_command(OUTPUT ${made} COMMAND python3 ${edits} ${case} ${made}
    DEPENDS ${case} ${edits} ${PROJECT_SOURCE_DIR}/solutions/ch10/${folder}/${base} VERBATIM)
  set(${variable} ${made} PARENT_SCOPE)
endfunction()

function(lb_add_labs)
  add_library(lab_wire STATIC EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/harness/labs/wire.cpp)
  target_link_libraries(lab_wire PUBLIC lb_base nlohmann_json::nlohmann_json)
  add_executable(config_keys ${PROJECT_SOURCE_DIR}/harness/labs/config_keys.cpp)  # asked by the checks of 10.2
  set_target_properties(config_keys PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/labs)
  target_link_libraries(config_keys PRIVATE lb_config nlohmann_json::nlohmann_json)
  set(all)
  foreach(seam ${LB_SEAMS})
    set(file ${LB_SUBMISSION}/${LB_SEAM_FILE_${seam}})
    if(EXISTS ${file})
      lb_lab_runner(lab_student_${seam}_runner ${seam} ${file})
      lb_lab_balancer(lab_student_${seam}_lb ${seam} ${file})
      list(APPEND all ${seam} ${file})
    endif()
    get_filename_component(folder ${LB_SEAM_FILE_${seam}} DIRECTORY)
    file(GLOB cases CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/solutions/ch10/${folder}/*.cpp
                                      ${PROJECT_SOURCE_DIR}/fixtures/bugbank/${folder}/*.cpp
                                      ${PROJECT_SOURCE_DIR}/fixtures/bugbank/${folder}/*.edit)
    foreach(case ${cases})
      get_filename_component(name ${case} NAME_WE)
      lb_edited_case(case ${seam} ${folder})
      lb_lab_runner(lab_case_${seam}_${name}_runner ${seam} ${case})
      lb_lab_balancer(lab_case_${seam}_${name}_lb ${seam} ${case})
    endforeach()
  endforeach()
  if(all)
    lb_lab_balancer(lab_student_all_lb ${all})
  endif()
endfunction()
