// host [":" port] as it stands in Host and in absolute targets (RFC 9110 4.2 and 7.2, RFC 3986 3.2).
// Private to lb/http.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace lb::http {

/// Twice the longest name that DNS has: it is written twice into the head for the upstream side.
inline constexpr std::size_t kAuthorityBytesMax = 512;

enum class PortRule : std::uint8_t { optional, required };

/// A non-empty host (a name, IPv4, or IPv6 in brackets) and a port of at most 65535, which may be empty
/// when optional. User information and commas are refused: the first is nowhere allowed (RFC 9110 4.2.4),
/// the second, though legal in names, is what two Host fields look like when somebody merged them.
bool is_valid_authority(std::string_view authority, PortRule port_rule) noexcept;

}  // namespace lb::http
