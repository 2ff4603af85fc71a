// The PROXY protocol, versions 1 and 2 (HAProxy's specification "The PROXY protocol", revision 2020/03/05):
// the first bytes of a connection say for whom it was made. Reading and writing of the header only: sockets,
// and who is trusted to send one, are the worker's. Pure; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "lb/net/socket_address.hpp"

namespace lb {

/// Version 1 ends at 107 bytes by its specification. Version 2 announces up to 65,551, of which all but 232
/// are extensions (TLVs): more of those than fit here is refused.
inline constexpr std::size_t kProxyV1BytesMax = 107;
inline constexpr std::size_t kProxyHeaderBytesMax = 4096;

struct ProxyHeader {
  std::size_t bytes = 0;       // of the header; the connection's own begin behind
  bool has_addresses = false;  // else (LOCAL, UNKNOWN, unspecified) those of the connection itself count
  IpAddress source{};          // family AF_UNIX: of a Unix socket, whose path is not kept
  IpAddress destination{};
};

struct ProxyHeaderOutcome {
  enum class Status : std::uint8_t { need_more, complete, malformed } status = Status::need_more;
  std::string_view fault{};  // malformed: what is wrong
};

/// Reads a header from the first bytes of a connection. Never asks for more than kProxyHeaderBytesMax. What
/// cannot become a header is malformed as soon as that is certain.
ProxyHeaderOutcome parse_proxy_header(std::string_view bytes, ProxyHeader& header) noexcept;

/// Room for what the writers write.
inline constexpr std::size_t kProxyWrittenMax = 128;

/// Writes a header; returns its size. Addresses of Unix sockets, or unknown ones, are told as such: UNKNOWN,
/// or PROXY of an unspecified family. An IPv4 beside an IPv6 address is written as IPv6 (::ffff:a.b.c.d); two
/// IPv6 addresses of that form are written as IPv4.
std::size_t write_proxy_v1(const IpAddress& from, const IpAddress& to,
                           std::span<char, kProxyWrittenMax> out) noexcept;
std::size_t write_proxy_v2(const IpAddress& from, const IpAddress& to,
                           std::span<char, kProxyWrittenMax> out) noexcept;

/// The header of a connection that we make for ourselves, such as a health check (2.2: LOCAL, UNKNOWN).
/// `version` is 1 or 2. Static storage.
std::string_view proxy_header_of_our_own(int version) noexcept;

}  // namespace lb
