# crash_lb is lb/lb with the fault points of lb/base/fault_point.hpp in it, for the crash matrix; built on demand, in
# build/PRESET/crash/. Only the files that have points are compiled once more: they come before the libraries, which
# then are not asked for theirs. They are looked for when CMake runs; the first point of an old file wants that (the
# matrix tells of a point that is never met).
function(lb_add_crash_program)
  set(sources)
  file(GLOB candidates CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/lb/*/*.cpp)
  foreach(candidate ${candidates})
    file(STRINGS ${candidate} points REGEX "LB_FAULT_POINT\\(" LIMIT_COUNT 1)
    if(points OR candidate MATCHES "/fault_point[.]cpp$")
      list(APPEND sources ${candidate})
      if(NOT LB_SANITIZE)
        # In the library it stays an object file of its own, which a linker can leave out.
        get_filename_component(folder ${candidate} DIRECTORY)
        set_source_files_properties(${candidate} DIRECTORY ${folder} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
      endif()
    endif()
  endforeach()
  add_executable(crash_lb EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/lb/main/program/main.cpp ${sources})
  set_target_properties(crash_lb PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/crash)
  target_compile_definitions(crash_lb PRIVATE LB_FAULT_POINTS)
  target_compile_options(crash_lb PRIVATE -O0 -g1)  # nobody measures it
  lb_compile_together(crash_lb)
  set_source_files_properties(${PROJECT_SOURCE_DIR}/lb/main/program/main.cpp PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  target_link_libraries(crash_lb PRIVATE lb_main)
endfunction()
