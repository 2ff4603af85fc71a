// The algorithms behind Balancer::create, one file each. Private to balance.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "lb/balance/balancer.hpp"

namespace lb {

/// round_robin and weighted_round_robin: the former is the latter with every weight 1.
std::unique_ptr<Balancer> make_rotation(std::vector<BackendTraits> traits, std::span<BackendState> states,
                                        const BalanceOptions& options);
std::unique_ptr<Balancer> make_least_connections(std::vector<BackendTraits> traits,
                                                 std::span<BackendState> states,
                                                 const BalanceOptions& options);
std::unique_ptr<Balancer> make_ip_hash(std::vector<BackendTraits> traits, std::span<BackendState> states,
                                       const BalanceOptions& options);
std::unique_ptr<Balancer> make_weighted_random(std::vector<BackendTraits> traits,
                                               std::span<BackendState> states, const BalanceOptions& options);

}  // namespace lb
