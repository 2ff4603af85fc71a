// HandedConnection: a live connection on its way from one generation to the next, with everything that its
// worker knew of it. What waits in the kernel moves with the descriptors; what we had read or not yet sent
// travels as bytes. A value that is moved; any thread. As bytes of a message: supervisor/handoff_record.hpp.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "lb/base/fd.hpp"
#include "lb/base/time.hpp"
#include "lb/net/socket_address.hpp"

namespace lb {

/// What names a backend across configurations.
struct BackendIdentity {
  std::string name{};
  std::string endpoint{};  // Endpoint::text()
  friend bool operator==(const BackendIdentity&, const BackendIdentity&) = default;
};

/// One of a tunnel's two sockets.
struct HandedSide {
  std::string outbox{};     // taken from the other side, not yet by the kernel
  bool read_eof = false;    // its end of file was read
  bool write_shut = false;  // our FIN was sent
  bool bulk = false;        // its last read brought so much that the next is spliced
  friend bool operator==(const HandedSide&, const HandedSide&) = default;
};

struct HandedTunnel {
  Fd upstream{};
  HandedSide client_side{};
  HandedSide upstream_side{};
  bool raw = false;          // of a listener in TCP mode; else an upgraded connection
  Instant ends_at = kNever;  // its backend was removed and its time is measured
  // For the access log and the counters.
  Instant started{};
  std::uint64_t bytes_in = 0;   // from the client, so far
  std::uint64_t bytes_out = 0;  // to the client
  std::uint16_t status = 0;
  std::uint8_t retries = 0;
  std::string method{};
  std::string target{};
};

struct HandedConnection {
  enum class Kind : std::uint8_t { client, tunnel, upstream } kind = Kind::client;
  Fd fd{};  // of the client, or of the idle connection to a backend. Non-blocking and in no epoll set;
            // whoever drops it closes the connection, unless another process holds it
  std::uint64_t requests = 0;                   // served to this client; 0: it still owes its first
  IpAddress peer{};                             // the client, maybe as a PROXY header told it
  std::optional<IpAddress> told_destination{};  // by that header
  std::string unparsed{};                       // client: of its next request
  Instant deadline = kNever;                    // of what is waited for: a request, or a tunnel's next byte
  bool after_exchange = false;                  // client: it was busy when handing over began
  bool stays = false;                           // the successor refused it: it drains where it is
  BackendIdentity backend{};                    // tunnel, upstream
  std::unique_ptr<HandedTunnel> tunnel{};       // a tunnel has it
  Instant idle_since{};                         // upstream
};

/// What a drain does with connections that could live on.
enum class Handoff : std::uint8_t {
  none,  // clients are told to close, or closed once they have been quiet for timeouts.quiet; tunnels end
  live,  // they are queued for the successor (Proxy::take_handed)
};

}  // namespace lb
