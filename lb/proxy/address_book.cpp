#include "lb/proxy/address_book.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include "lb/base/hash.hpp"

namespace lb {
namespace {

/// std::ranges::contains is not in every library yet.
bool holds(const auto& addresses, std::uint64_t key) {
  return std::ranges::any_of(addresses, [key](const auto& address) { return address.key == key; });
}

}  // namespace

AddressBook::AddressBook(std::vector<Endpoint> endpoints, ResolveFunction resolve, Milliseconds budget)
    : endpoints_(std::move(endpoints)),
      resolve_(std::move(resolve)),
      literals_(endpoints_.size()),
      name_of_(endpoints_.size(), kLiteral) {
  const auto found = resolve_all(endpoints_, budget, resolve_);
  for (std::uint32_t i = 0; i < endpoints_.size(); ++i) {
    if (endpoints_[i].unix_socket || SocketAddress::from_literal(endpoints_[i])) {
      if (!found[i].empty()) literals_[i] = found[i].front();
      continue;
    }
    name_of_[i] = static_cast<std::uint32_t>(named_.size());
    Name& name = named_.emplace_back(Name{.backend = i, .lost = found[i].empty()});
    replace(name, found[i]);
  }
}

std::uint64_t AddressBook::key_of(const SocketAddress& address) noexcept {
  return hash_bytes({reinterpret_cast<const char*>(address.get()), address.size()});
}

SocketAddress AddressBook::next(std::uint32_t i, Instant now) {
  if (!is_name(i)) return literals_[i];
  const std::scoped_lock lock{mutex_};
  Name& name = named_[name_of_[i]];
  if (name.addresses.empty()) return {};
  for (std::size_t k = 0; k < name.addresses.size(); ++k) {
    const Address& address = name.addresses[name.next++ % name.addresses.size()];
    if (address.aside_until <= now) return address.socket;
  }
  return std::ranges::min(name.addresses, {}, &Address::aside_until).socket;
}

bool AddressBook::resolved(std::uint32_t i) const {
  if (!is_name(i)) return !literals_[i].empty();
  const std::scoped_lock lock{mutex_};
  return !named_[name_of_[i]].addresses.empty();
}

bool AddressBook::failed(std::uint32_t i, std::uint64_t key, Instant now) {
  if (!is_name(i)) return false;
  const std::scoped_lock lock{mutex_};
  bool other = false;
  for (Address& address : named_[name_of_[i]].addresses) {
    if (address.key == key) {
      address.aside_until = now + kAside;
    } else {
      other |= address.aside_until <= now;
    }
  }
  return other;
}

bool AddressBook::is_current(std::uint32_t i, std::uint64_t key) const {
  if (!is_name(i)) return true;
  const std::scoped_lock lock{mutex_};
  return holds(named_[name_of_[i]].addresses, key);
}

bool AddressBook::replace(Name& name, const std::vector<SocketAddress>& found) {
  std::vector<Address> now;
  for (const SocketAddress& socket : found) {
    const std::uint64_t key = key_of(socket);
    if (holds(now, key)) continue;
    const auto known = std::ranges::find(name.addresses, key, &Address::key);
    now.push_back(known != name.addresses.end() ? *known : Address{.socket = socket, .key = key});
  }
  const auto among = [](const std::vector<Address>& all) {
    return [&all](const Address& one) { return holds(all, one.key); };
  };
  const bool same = now.size() == name.addresses.size() && std::ranges::all_of(now, among(name.addresses));
  if (same) return false;  // another order alone is none: the resolver may rotate them itself
  name.addresses = std::move(now);
  return true;
}

std::vector<AddressBook::Change> AddressBook::refresh(Milliseconds budget, bool lost_only) {
  std::vector<std::size_t> asked;
  std::vector<Endpoint> endpoints;
  {
    const std::scoped_lock lock{mutex_};
    for (std::size_t n = 0; n < named_.size(); ++n) {
      if (lost_only && !named_[n].lost) continue;
      asked.push_back(n);
      endpoints.push_back(endpoints_[named_[n].backend]);
    }
  }
  std::vector<Change> changes;
  if (asked.empty()) return changes;
  const auto found = resolve_all(endpoints, budget, resolve_);
  const std::scoped_lock lock{mutex_};
  for (std::size_t k = 0; k < asked.size(); ++k) {
    Name& name = named_[asked[k]];
    const bool was_lost = std::exchange(name.lost, found[k].empty());
    const bool moved = !name.lost && replace(name, found[k]);
    if (was_lost == name.lost && !moved) continue;
    Change change{.backend = name.backend,
                  .kind = name.lost  ? Change::Kind::lost
                          : was_lost ? Change::Kind::found
                                     : Change::Kind::moved};
    for (const Address& address : name.addresses) {
      change.addresses += (change.addresses.empty() ? "" : " ") + address.socket.text();
    }
    changes.push_back(std::move(change));
  }
  return changes;
}

}  // namespace lb
