#include "lb/balance/key_moves.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "lb/balance/maglev_table.hpp"
#include "lb/balance/members.hpp"
#include "lb/balance/slot_owners.hpp"

namespace lb {
namespace {

/// Whose each slot is, by identity.
using Owners = std::vector<std::uint64_t>;

std::vector<Member> primaries_of(std::span<const BackendTraits> traits) {
  std::vector<std::uint32_t> eligible;
  for (std::uint32_t i = 0; i < traits.size(); ++i) {
    if (traits[i].weight > 0 && !traits[i].backup) eligible.push_back(i);
  }
  return members_of(traits, eligible);
}

Owners maglev_owners(std::span<const BackendTraits> traits) {
  std::vector<MaglevTable::Contender> contenders;
  for (const Member& member : primaries_of(traits)) {
    contenders.push_back({member.key, traits[member.backend].weight, member.backend});
  }
  const MaglevTable table{contenders};
  Owners owners;
  owners.reserve(table.size());
  for (const std::uint32_t backend : table.slots()) owners.push_back(traits[backend].identity);
  return owners;
}

Owners slot_owners(std::span<const BackendTraits> traits) {
  const std::vector<Member> members = primaries_of(traits);
  if (members.empty()) return {};
  std::vector<SlotOwners::Contender> contenders;
  contenders.reserve(members.size());
  for (const Member& member : members) contenders.push_back({member.key, traits[member.backend].weight});
  constexpr std::size_t kComparedMax = 16;  // more than that: all slots at once cost less
  const SlotOwners table{contenders, kComparedMax};
  Owners owners;
  owners.reserve(std::size_t{1} << SlotOwners::kSlotBits);
  for (std::uint32_t slot = 0; slot < std::uint32_t{1} << SlotOwners::kSlotBits; ++slot) {
    owners.push_back(traits[members[table.owner(slot)].backend].identity);
  }
  return owners;
}

/// A key is a number of 32 bits, and slot i of n begins with the first of them that `key * n >> 32` brings to
/// i.
double moved(const Owners& before, const Owners& after) {
  if (before.empty() || after.empty()) return before.empty() && after.empty() ? 0 : 1;
  constexpr std::uint64_t kKeys = std::uint64_t{1} << 32U;
  const auto end_of = [](std::size_t slot, std::size_t slots) {
    return ((slot + 1) * kKeys + slots - 1) / slots;
  };
  std::uint64_t key = 0;
  std::uint64_t elsewhere = 0;
  for (std::size_t i = 0, j = 0; key < kKeys;) {
    const std::uint64_t first_end = end_of(i, before.size());
    const std::uint64_t second_end = end_of(j, after.size());
    const std::uint64_t end = std::min(first_end, second_end);
    if (before[i] != after[j]) elsewhere += end - key;
    key = end;
    if (first_end == end) ++i;
    if (second_end == end) ++j;
  }
  return static_cast<double>(elsewhere) / static_cast<double>(kKeys);
}

}  // namespace

double share_of_keys_moved(KeyedAlgorithm algorithm, std::span<const BackendTraits> before,
                           std::span<const BackendTraits> after) {
  return algorithm == KeyedAlgorithm::consistent_hash ? moved(maglev_owners(before), maglev_owners(after))
                                                      : moved(slot_owners(before), slot_owners(after));
}

}  // namespace lb
