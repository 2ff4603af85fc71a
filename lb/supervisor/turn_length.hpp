// How long the turns of a thread on its processor are: Linux 6.12 and later lets each thread ask
// (sched_setattr(2), sched_runtime of SCHED_OTHER). It changes nobody's share of the processor, only who goes
// first: a thread that wakes up takes the place of one with longer turns at once, and otherwise waits for its
// turn to end.
//
// So a generation that loads asks for long ones: to start it takes some milliseconds of computing, and
// whoever has a request to move meanwhile, in any process, does not wait behind it.
#pragma once

#include "lb/base/time.hpp"

namespace lb {

inline constexpr Duration kLoadingTurn = std::chrono::milliseconds{50};  // the kernel takes 0.1 to 100 ms

/// Of the calling thread, and of the threads and processes that it starts from now on; 0: as the system has
/// it. Without effect on older kernels and on threads of another scheduling class. Safe between fork and
/// exec.
void ask_for_turns_of(Duration length) noexcept;

}  // namespace lb
