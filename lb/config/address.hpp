// The text of an address, checked and brought into one canonical spelling, so that two spellings of one
// address are one identity. Pure: names are never resolved here. Any thread.
#pragma once

#include <cstddef>
#include <expected>
#include <string>
#include <string_view>

#include "lb/config/model.hpp"

namespace lb {

inline constexpr std::size_t kUnixPathBytesMax = 107;  // sun_path of unix(7), less its final NUL
inline constexpr std::size_t kHostBytesMax = 253;      // RFC 1035 section 2.3.4, without the final dot

/// What such a text should have been, as the tail of "found X, expected ...".
using Expected = std::string;

/// "127.0.0.1:80", "[::1]:80", ":80" and "*:80" (every IPv4 address), "unix:/run/x.sock".
std::expected<Endpoint, Expected> parse_listen_address(std::string_view text);

/// An IPv4 address, an IPv6 address with or without brackets, or a DNS name; names in lower case.
std::expected<std::string, Expected> parse_host(std::string_view text);

/// An absolute path that fits into a socket address.
std::expected<std::string, Expected> parse_unix_path(std::string_view text);

}  // namespace lb
