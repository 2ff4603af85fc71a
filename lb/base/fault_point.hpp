// Named steps of a reload at which a test stops the process that gets there, to kill, freeze or crash it or
// another one (harness/tests/test_crash_matrix.py). Nothing at all in any program but crash_lb, whose sources
// with such points are compiled with LB_FAULT_POINTS (cmake/crash.cmake).
//
// At a point the process connects to the Unix socket that the environment names in LB_FAULT_GATE, says
// "POINT PID\n", and waits for one byte or the end of the connection before it goes on. Without the variable,
// or when nobody listens there any more, it goes on at once. Any thread; the thread that gets there is the
// one that waits.
#pragma once

#ifdef LB_FAULT_POINTS
namespace lb {
void fault_point(const char* name);
}  // namespace lb
#define LB_FAULT_POINT(name) ::lb::fault_point(name)
#else
#define LB_FAULT_POINT(name) static_cast<void>(0)
#endif
