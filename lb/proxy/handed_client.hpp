// HandedClient: an idle kept-alive client connection on its way from one generation to the next. Between
// requests a connection is nothing but its socket: bytes that wait in the kernel move with it, and the peer's
// address is asked from it again, unless a PROXY header told another. A value that is moved; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lb/base/fd.hpp"
#include "lb/net/socket_address.hpp"

namespace lb {

/// What a PROXY header said.
struct ToldAddresses {
  IpAddress source;
  IpAddress destination;
};

struct HandedClient {
  Fd fd;                       // non-blocking and in no epoll set; whoever drops it closes the connection
  std::uint64_t requests = 0;  // served on it so far; 0: it still owes its first request
  std::optional<ToldAddresses> told{};
};

/// As bytes of a CLIENTS message: empty for none. The error case of unpacking is bytes of another length.
std::string pack_addresses(const std::optional<ToldAddresses>& told);
bool unpack_addresses(std::string_view bytes, std::optional<ToldAddresses>& told) noexcept;

/// What a drain does with client connections between requests.
enum class Handoff : std::uint8_t {
  none,          // they are closed once they have been quiet for timeouts.quiet
  idle_clients,  // they are queued for the successor (Proxy::take_handed)
};

}  // namespace lb
