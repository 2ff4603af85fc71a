// The algorithms behind Balancer::create, one file each. Private to balance.
#pragma once

#include <memory>
#include <vector>

#include "lb/balance/balancer.hpp"
#include "lb/balance/chooser.hpp"
#include "lb/balance/roster.hpp"

namespace lb {

/// round_robin and weighted_round_robin: the former is the latter with every weight 1.
std::unique_ptr<Chooser> make_rotation(Roster roster);
/// least_connections, and with `ties_by_weight` weighted_least_connections.
std::unique_ptr<Chooser> make_least_connections(Roster roster, bool ties_by_weight);
std::unique_ptr<Chooser> make_power_of_two(Roster roster);
std::unique_ptr<Chooser> make_ip_hash(Roster roster);
std::unique_ptr<Chooser> make_consistent_hash(Roster roster, const LoadBound& bound);
std::unique_ptr<Chooser> make_weighted_random(Roster roster);

}  // namespace lb
