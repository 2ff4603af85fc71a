// IMF-fixdate, the form of dates in HTTP (RFC 9110 5.6.7): "Sun, 06 Nov 1994 08:49:37 GMT". Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace lb::http {

inline constexpr std::size_t kDateBytes = 29;

/// `unix_s`: seconds since 1970, from 0 to the end of the year 9999; what lies outside is brought inside.
void write_date(std::int64_t unix_s, std::span<char, kDateBytes> out) noexcept;

}  // namespace lb::http
