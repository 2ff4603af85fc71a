// Resolves many names at once, on a few helper threads, for a caller that will not wait for a stuck resolver:
// getaddrinfo(3) cannot be cancelled, so a thread caught in it at the end is left behind and ends by itself
// as soon as it returns. Used by one thread; its helpers share nothing with it but a queue. Caches nothing.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lb/config/model.hpp"

namespace lb {

inline constexpr std::size_t kLookupThreadsMax = 8;
inline constexpr std::size_t kAddressesPerNameMax = 4;  // further ones are not tried

struct ProbeAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

struct LookupAnswer {
  std::vector<ProbeAddress> addresses{};  // ports are 0; at least one, or
  std::string failure{};                  // why there is none
};

/// Runs on a helper thread, may block. A test gives its own.
using LookupFunction = std::function<LookupAnswer(const std::string& name)>;

/// getaddrinfo(3), any family.
LookupAnswer lookup_by_system(const std::string& name);

/// The address of an endpoint that needs no lookup: a literal IP address, or a Unix socket. Length 0 for a
/// name.
ProbeAddress literal_address(const Endpoint& endpoint);

/// The same address with a port.
ProbeAddress with_port(ProbeAddress address, std::uint16_t port);

class NameLookup final {
 public:
  struct Found {
    std::size_t index = 0;  // into the names given
    LookupAnswer answer{};
  };

  /// Starts at most kLookupThreadsMax threads, with every signal blocked. Fewer when the system has no more;
  /// when it has none at all, every name fails.
  NameLookup(std::vector<std::string> names, LookupFunction lookup);
  /// Waits for nobody.
  ~NameLookup();
  NameLookup(const NameLookup&) = delete;
  NameLookup& operator=(const NameLookup&) = delete;

  /// Readable when take() has something. -1 when the system had no descriptor left: then call take() now and
  /// then.
  [[nodiscard]] int ready_fd() const;
  /// The answers since the last call.
  std::vector<Found> take();

 private:
  struct Shared;
  static void work(const std::shared_ptr<Shared>& shared);
  std::shared_ptr<Shared> shared_;  // with the helpers, the last of which frees it
};

}  // namespace lb
