// The self-probe: connects to an address that this process listens at, and waits until one of its own workers
// has accepted that (ProbeDesk). So it also finds a listener that takes connections nobody serves, and one
// whose port somebody else has taken over. Blocks; any thread but a worker's.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "lb/base/result.hpp"
#include "lb/base/time.hpp"
#include "lb/proxy/probe_desk.hpp"

namespace lb {

/// What the self-probe found at one listener.
struct ListenerProbe {
  std::string listener{};  // as configured
  bool ok = false;
  std::uint64_t us = 0;  // from connect(2) until a worker had accepted
  std::string error{};   // not ok: why
  friend bool operator==(const ListenerProbe&, const ListenerProbe&) = default;
};

/// Where a socket listens.
struct ProbeTarget {
  std::string listener{};
  sockaddr_storage address{};
  socklen_t size = 0;
};

/// Where `listening_fd` listens, with the loopback address in place of "any address".
Result<ProbeTarget> probe_target(std::string listener, int listening_fd);

ListenerProbe probe_listener(ProbeDesk& desk, const ProbeTarget& target, Instant until);

}  // namespace lb
