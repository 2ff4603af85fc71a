// DNS names to addresses, by the system's resolver (getaddrinfo(3)), which blocks: it runs on threads of
// its own. Control plane only.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "lb/base/time.hpp"
#include "lb/net/socket_address.hpp"

namespace lb {

inline constexpr std::size_t kResolverThreadsMax = 32;
inline constexpr std::size_t kAddressesMax = 32;  // of one name; further ones are not used

/// All addresses of an endpoint that is a name, with its port; none when it does not resolve. May block; runs
/// on a thread that nobody waits for in the end, so it owns what it needs. A test gives its own.
using ResolveFunction = std::function<std::vector<SocketAddress>(const Endpoint& endpoint)>;

/// getaddrinfo(3): IPv4 before IPv6, each in the resolver's order.
std::vector<SocketAddress> resolve_by_system(const Endpoint& endpoint);

/// The addresses of each endpoint, in the same order; none where the name did not resolve or `budget` ended
/// first. Literal addresses and Unix paths cost nothing. Uses at most kResolverThreadsMax threads; one that
/// the system's resolver holds beyond the budget is left to end by itself and owns all it needs.
std::vector<std::vector<SocketAddress>> resolve_all(std::span<const Endpoint> endpoints, Milliseconds budget,
                                                    const ResolveFunction& resolve = resolve_by_system);

}  // namespace lb
