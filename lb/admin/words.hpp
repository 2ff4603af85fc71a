// Phrases that reports share. Pure.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>

namespace lb {

/// "1 request", "2 requests".
inline std::string counted(std::uint64_t n, const char* one, const char* many) {
  return fmt::format("{} {}", n, n == 1 ? one : many);
}

/// `share`: 0 to 1.
inline std::string percent(double share) {
  const double value = share * 100;
  return value > 0 && value < 0.1 ? "< 0.1 %" : fmt::format("{:.1f} %", value);
}

}  // namespace lb
