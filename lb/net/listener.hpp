// Listening sockets: opened here, owned by the supervisor, polled by the workers of a generation. Always
// SO_REUSEPORT (they are the shards of one generation), non-blocking, close-on-exec, TCP_NODELAY (accepted
// connections inherit it). Nothing here ever calls shutdown(2) on one: that would end it for every holder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"
#include "lb/config/model.hpp"
#include "lb/net/socket_address.hpp"

namespace lb {

/// Listening already. Several of one endpoint are its shards; `endpoint` is the configured one (a port of 0
/// stays 0 there), local_address_text() tells the real address.
struct ListeningSocket {
  Endpoint endpoint;
  Fd fd;
};

struct ListenOptions {
  int backlog = 4096;
  /// Refuse an address on which any other socket listens, SO_REUSEPORT or not, by a trial bind without it.
  bool probe_in_use = true;
};

inline constexpr std::uint32_t kShardsMax = 1024;

/// Opens `shards` (1 to kShardsMax) sockets on one address; with port 0 the kernel chooses once for all. A
/// Unix socket has one shard; a socket file that nobody listens on is replaced. All or nothing.
Result<std::vector<ListeningSocket>> open_listener_shards(const Endpoint& endpoint, std::uint32_t shards,
                                                          const ListenOptions& options);

/// Further shards beside `existing`, on its actual address.
Result<std::vector<ListeningSocket>> open_more_shards(const Endpoint& endpoint, int existing,
                                                      std::uint32_t shards, const ListenOptions& options);

/// "127.0.0.1:41234" for any bound socket.
Result<std::string> local_address_text(int fd);

}  // namespace lb
