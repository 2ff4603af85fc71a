// DNS names to addresses, by the system's resolver (getaddrinfo(3)), which blocks: it runs on threads of
// its own. Control plane only.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "lb/base/time.hpp"
#include "lb/net/socket_address.hpp"

namespace lb {

/// The first address of each endpoint, in the same order; empty() where the name did not resolve or `budget`
/// ended first. Literal addresses and Unix paths cost nothing. Uses at most kResolverThreadsMax threads; one
/// that the system's resolver holds beyond the budget is left to end by itself and owns all it needs.
std::vector<SocketAddress> resolve_all(std::span<const Endpoint> endpoints, Milliseconds budget);

inline constexpr std::size_t kResolverThreadsMax = 32;

}  // namespace lb
