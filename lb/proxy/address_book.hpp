// AddressBook: where the backends of a set are. A literal address is one for ever; a name has all the
// addresses that it resolves to, used in turn, and is resolved anew in the background. An address to which
// connecting failed is passed over for a while; a name that stops resolving keeps the addresses it had. Any
// thread; literal addresses cost no lock.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "lb/base/time.hpp"
#include "lb/config/model.hpp"
#include "lb/net/resolver.hpp"
#include "lb/net/socket_address.hpp"

namespace lb {

class AddressBook final {
 public:
  static constexpr Duration kAside = std::chrono::seconds{5};  // of an address to which connecting failed

  /// Resolves the names within `budget`.
  AddressBook(std::vector<Endpoint> endpoints, ResolveFunction resolve, Milliseconds budget);

  [[nodiscard]] bool has_names() const noexcept { return !named_.empty(); }
  [[nodiscard]] bool is_name(std::uint32_t i) const noexcept { return name_of_[i] != kLiteral; }

  /// Where to connect next: each address in turn, those put aside only when all are. empty() while its name
  /// has never resolved.
  [[nodiscard]] SocketAddress next(std::uint32_t i, Instant now);
  [[nodiscard]] bool resolved(std::uint32_t i) const;

  /// What a connection remembers of its address.
  static std::uint64_t key_of(const SocketAddress& address) noexcept;
  /// Connecting to that address failed. True when its name has another one that is not aside.
  bool failed(std::uint32_t i, std::uint64_t key, Instant now);
  /// The address is still one of backend i.
  [[nodiscard]] bool is_current(std::uint32_t i, std::uint64_t key) const;

  struct Change {
    std::uint32_t backend = 0;
    enum class Kind : std::uint8_t { moved, lost, found } kind = Kind::moved;  // found: it had been lost
    std::string addresses{};  // it has now, "10.0.0.1:80 10.0.0.2:80"
  };
  /// Resolves the names again, all or those alone that do not resolve. Blocks for `budget` at most.
  std::vector<Change> refresh(Milliseconds budget, bool lost_only);

 private:
  static constexpr std::uint32_t kLiteral = ~0U;
  struct Address {
    SocketAddress socket;
    std::uint64_t key = 0;
    Instant aside_until{};
  };
  struct Name {
    std::uint32_t backend = 0;
    std::vector<Address> addresses{};
    std::size_t next = 0;
    bool lost = false;  // the last attempt found nothing
  };
  /// Takes what was found; true when the addresses are others than before.
  static bool replace(Name& name, const std::vector<SocketAddress>& found);

  std::vector<Endpoint> endpoints_;
  ResolveFunction resolve_;
  std::vector<SocketAddress> literals_;
  std::vector<std::uint32_t> name_of_;  // by backend: an index into named_, or kLiteral
  mutable std::mutex mutex_;            // for named_
  std::vector<Name> named_;
};

}  // namespace lb
