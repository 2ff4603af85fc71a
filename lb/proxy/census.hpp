// Census: what is connected at one moment, by listener and by backend; counted on demand by walking over all
// connections, so that nothing has to be counted for it on the path of a request. Values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace lb {

/// Client connections of one listener.
struct ListenerCensus {
  std::uint64_t connections = 0;
  std::uint64_t busy = 0;     // of these: with a request under way that is no tunnel
  std::uint64_t tunnels = 0;  // of these: upgraded, or in TCP mode
  std::uint64_t tls = 0;      // of those that are no tunnels: with TLS

  void add(const ListenerCensus& other) noexcept {
    connections += other.connections;
    busy += other.busy;
    tunnels += other.tunnels;
    tls += other.tls;
  }
};

/// What goes on at one backend.
struct BackendCensus {
  std::uint64_t requests = 0;     // under way, tunnels not counted
  std::uint64_t tunnels = 0;      // both sides plain text
  std::uint64_t tunnels_tls = 0;  // either side with TLS

  void add(const BackendCensus& other) noexcept {
    requests += other.requests;
    tunnels += other.tunnels;
    tunnels_tls += other.tunnels_tls;
  }
};

struct Census {
  /// By the endpoint's text; "" are connections whose listener is not known.
  std::map<std::string, ListenerCensus> listeners{};
  /// By name and endpoint; requests that wait for a backend are with none of them.
  std::map<std::pair<std::string, std::string>, BackendCensus> backends{};
};

/// A connection that drain_timeout closed under a request or a tunnel: whose it was.
struct ForceClosed {
  std::string client{};    // its address, without port
  std::string listener{};  // the endpoint; "" for one that came from another generation
  std::string backend{};   // its name; "" when there was none yet
  std::string kind{};      // "request", "upgrade", "tcp", "response": the last bytes of one did not get away
  std::uint64_t age_ms = 0;  // since the request, or the tunnel, began
};

}  // namespace lb
