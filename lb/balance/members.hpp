// Members: the backends of a set in an order that does not depend on the list's, each with a key of its own
// made from its identity: what the hashing algorithms start from. Private to balance.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lb/balance/roster.hpp"

namespace lb {

struct Member {
  std::uint64_t key = 0;  // from the identity
  std::uint32_t backend = 0;
};

/// The eligible backends, sorted by key. Should several identities be equal, all but the first get keys of
/// their own; otherwise they would lose every comparison.
std::vector<Member> members_of(const Roster& roster);
/// The same of `traits` at the positions `eligible`.
std::vector<Member> members_of(std::span<const BackendTraits> traits,
                               std::span<const std::uint32_t> eligible);

}  // namespace lb
