# crash_lb is lb/lb with the fault points of lb/base/fault_point.hpp in it, for the crash matrix; built on demand, in
# build/PRESET/crash/. Only the modules that have points are compiled once more: their sources come before the
# libraries, which then are not asked for theirs. They are looked for when CMake runs; the first point of a module
# wants that (the matrix tells of a point that is never met).
function(lb_add_crash_program)
  set(sources ${PROJECT_SOURCE_DIR}/lb/base/fault_point.cpp)
  file(GLOB modules LIST_DIRECTORIES ON ${PROJECT_SOURCE_DIR}/lb/*)
  foreach(module ${modules})
    file(GLOB candidates CONFIGURE_DEPENDS ${module}/*.cpp)
    list(FILTER candidates EXCLUDE REGEX "_(test|bench)\\.cpp$")
    foreach(candidate ${candidates})
      file(STRINGS ${candidate} points REGEX "LB_FAULT_POINT\\(" LIMIT_COUNT 1)
      if(points)
        list(APPEND sources ${candidates})
        break()
      endif()
    endforeach()
  endforeach()
  set(main ${PROJECT_SOURCE_DIR}/lb/main/program/main.cpp)
  add_executable(crash_lb EXCLUDE_FROM_ALL ${main} ${sources})
  set_target_properties(crash_lb PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/crash)
  target_compile_definitions(crash_lb PRIVATE LB_FAULT_POINTS)
  target_compile_options(crash_lb PRIVATE -O0 -g1)  # nobody measures it
  lb_compile_together(crash_lb)
  set_source_files_properties(${main} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  target_link_libraries(crash_lb PRIVATE lb_main)
endfunction()
