// CLOCK_MONOTONIC as a plain number of nanoseconds: the unit of every ledger.
#pragma once

#include <cstdint>

#include "lb/base/time.hpp"

namespace lb::traffic {

using Nanos = std::uint64_t;

inline constexpr Nanos kMicro = 1'000;
inline constexpr Nanos kMilli = 1'000'000;
inline constexpr Nanos kSecond = 1'000'000'000;

inline Nanos now_ns() noexcept {
  return static_cast<Nanos>(monotonic_now().time_since_epoch().count());
}

}  // namespace lb::traffic
