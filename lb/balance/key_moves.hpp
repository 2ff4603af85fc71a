// What a change of the backends does to the keys of the hashing algorithms: computed from the very tables
// that choosing goes by, before anything happens. Pure; any thread; takes up to a second with very many
// backends.
#pragma once

#include <cstdint>
#include <span>

#include "lb/balance/backend_state.hpp"

namespace lb {

/// Those of BalanceAlgorithm that know keys.
enum class KeyedAlgorithm : std::uint8_t { ip_hash, consistent_hash };

/// The share (0 to 1) of all keys that go to a backend of another identity once `after` takes the place of
/// `before`, while all backends are well. Exact: over all slots, for tables of different sizes over all
/// values that tell them apart. Backups are left out, as they are asked only in need; and so is what slow
/// start, limits and balance_factor do for a while. From or to nobody at all: 1; between two empty sets: 0.
double share_of_keys_moved(KeyedAlgorithm algorithm, std::span<const BackendTraits> before,
                           std::span<const BackendTraits> after);

}  // namespace lb
