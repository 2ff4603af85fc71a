// Time as it is handed through the program: an Instant is read once a turn of an event loop and passed
// down. No code below `main` and the loops reads a clock by itself.
#pragma once

#include <chrono>
#include <cstdint>

namespace lb {

using Duration = std::chrono::nanoseconds;
using Milliseconds = std::chrono::milliseconds;
/// CLOCK_MONOTONIC: comparable between processes of one machine.
using Instant = std::chrono::steady_clock::time_point;

inline Instant monotonic_now() noexcept {
  return std::chrono::steady_clock::now();
}

inline constexpr Instant kNever = Instant::max();

inline std::int64_t to_ms(Duration d) noexcept {
  return std::chrono::duration_cast<Milliseconds>(d).count();
}

}  // namespace lb
