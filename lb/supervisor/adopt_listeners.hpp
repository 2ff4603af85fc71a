// Which listening sockets a generation uses: it adopts every shard held for its endpoints and opens what is
// missing. Shards are never dropped while their endpoint is configured, whatever the number of workers. Runs
// in the generation before it serves; one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"
#include "lb/config/model.hpp"
#include "lb/net/listener.hpp"

namespace lb {

struct HeldSocket {
  std::string label{};  // the endpoint it was opened for; empty: passed by a service manager, not claimed
  Fd fd{};
};

struct AdoptedListeners {
  std::vector<ListeningSocket> sockets{};
  std::vector<bool> opened{};            // one a socket: opened here, to be passed to the supervisor
  std::vector<std::string> addresses{};  // one an endpoint: the actual address
};

/// All or nothing. An address in use by another program is an error although SO_REUSEPORT would allow it;
/// beside a held socket of the same port (a wildcard becoming one address, say) it is not.
Result<AdoptedListeners> adopt_listeners(const std::vector<Endpoint>& endpoints, std::uint32_t workers,
                                         std::vector<HeldSocket> held);

}  // namespace lb
