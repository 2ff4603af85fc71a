// What the answers of the control socket and the records of reloads both show.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "lb/supervisor/messages.hpp"

namespace lb {

/// Microseconds as milliseconds, for "duration_ms".
inline double ms_of(std::uint64_t us) noexcept {
  return static_cast<double>(us) / 1000.0;
}

/// 0 when there is no counter of that name.
inline std::uint64_t value_of(const std::vector<NamedCounter>& counters, std::string_view name) {
  const auto found = std::ranges::find(counters, name, &NamedCounter::name);
  return found == counters.end() ? 0 : found->value;
}

}  // namespace lb
