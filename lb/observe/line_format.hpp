// The pieces that lines of both logs are made of: numbers and times, without allocation or locale.
#pragma once

#include <array>
#include <charconv>
#include <concepts>
#include <cstdint>
#include <string>

namespace lb {

template <std::integral T>
void append_number(std::string& out, T value) {
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out.append(digits.data(), end);
}

/// Shortest form that reads back the same; `null` when not finite, as JSON has no other word for it.
void append_number(std::string& out, double value);

/// RFC 3339 in UTC with `fraction_digits` (3 or 6) of a second: 2026-11-23T10:00:00.123Z. Years 0 to 9999.
void append_time(std::string& out, std::int64_t unix_time_us, unsigned fraction_digits);

}  // namespace lb
