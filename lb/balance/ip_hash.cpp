// The same client goes to the same backend, as long as it can serve: clients are hashed onto slots, and
// slot_owners.hpp says whose each slot is. When the owner is aside, full or tried, its clients spread over
// all others by the same rule and nobody else's move.
#include <algorithm>
#include <memory>
#include <utility>

#include "lb/balance/algorithms.hpp"
#include "lb/balance/roster.hpp"
#include "lb/balance/slot_owners.hpp"
#include "lb/base/random.hpp"

namespace lb {
namespace {

struct Member {
  std::uint64_t key = 0;  // from the identity
  std::uint32_t backend = 0;
};

/// By key, so that nothing depends on the order of the list. Should several identities be equal, all but the
/// first get keys of their own; otherwise they would lose every comparison.
std::vector<Member> members_of(const Roster& roster) {
  std::vector<Member> members;
  for (const std::uint32_t backend : roster.eligible()) {
    members.push_back({mix64(roster.traits(backend).identity), backend});
  }
  const auto by_key = [](const Member& a, const Member& b) {
    return a.key != b.key ? a.key < b.key : a.backend < b.backend;
  };
  std::ranges::sort(members, by_key);
  std::uint64_t previous = 0;
  std::uint64_t repeats = 0;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const std::uint64_t key = members[i].key;
    repeats = i > 0 && key == previous ? repeats + 1 : 0;
    previous = key;
    if (repeats > 0) members[i].key = mix64(key + repeats);
  }
  std::ranges::sort(members, by_key);
  return members;
}

class IpHash final : public Balancer {
 public:
  IpHash(std::vector<BackendTraits> traits, std::span<BackendState> states, const BalanceOptions& options)
      : Balancer(traits, states, options),
        roster_(std::move(traits), states, health_),
        members_(members_of(roster_)),
        owners_(contenders_of(roster_, members_)) {}

  Pick pick(const PickContext& context) noexcept override {
    if (members_.empty()) return {};
    std::uint64_t hash = mix64(context.client_hash);
    const std::uint32_t slot = owners_.slot_of(hash);
    const std::uint32_t backend = members_[owners_.owner(slot)].backend;
    if (roster_.claim(backend, context)) return {PickResult::picked, backend};
    return members_.size() <= SlotOwners::kComparedMax ? next_of_slot(slot, context)
                                                       : next_slot(hash, context);
  }

 private:
  static std::vector<SlotOwners::Contender> contenders_of(const Roster& roster,
                                                          const std::vector<Member>& members) {
    std::vector<SlotOwners::Contender> contenders;
    contenders.reserve(members.size());
    for (const Member& member : members)
      contenders.push_back({member.key, roster.traits(member.backend).weight});
    return contenders;
  }

  /// The slot's second owner, or third; when another worker takes its last place meanwhile, the next.
  Pick next_of_slot(std::uint32_t slot, const PickContext& context) const noexcept {
    constexpr int kRoundsMax = 4;
    for (int round = 0; round < kRoundsMax; ++round) {
      const std::uint32_t next = owners_.first_among(
          slot, [&](std::uint32_t i) { return roster_.usable(members_[i].backend, context); });
      if (next == SlotOwners::kNobody) break;
      if (roster_.claim(members_[next].backend, context)) return {PickResult::picked, members_[next].backend};
    }
    return roster_.pick_among_all(context, slot);
  }

  /// With many backends: another slot, always the same for the same client.
  Pick next_slot(std::uint64_t hash, const PickContext& context) const noexcept {
    for (int draw = 1; draw < kDrawsMax; ++draw) {
      hash = mix64(hash);
      const std::uint32_t backend = members_[owners_.owner(owners_.slot_of(hash))].backend;
      if (roster_.claim(backend, context)) return {PickResult::picked, backend};
    }
    return roster_.pick_among_all(context, hash);
  }

  Roster roster_;
  std::vector<Member> members_;  // as in owners_
  SlotOwners owners_;
};

}  // namespace

std::unique_ptr<Balancer> make_ip_hash(std::vector<BackendTraits> traits, std::span<BackendState> states,
                                       const BalanceOptions& options) {
  return std::make_unique<IpHash>(std::move(traits), states, options);
}

}  // namespace lb
