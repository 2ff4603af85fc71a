// The same client goes to the same backend, as long as it can serve: clients are hashed onto slots, and
// slot_owners.hpp says whose each slot is. When the owner is aside, full or tried, its clients spread over
// all others by the same rule and nobody else's move.
#include <memory>
#include <utility>

#include "lb/balance/algorithms.hpp"
#include "lb/balance/members.hpp"
#include "lb/balance/roster.hpp"
#include "lb/balance/slot_owners.hpp"
#include "lb/base/random.hpp"

namespace lb {
namespace {

class IpHash final : public Chooser {
 public:
  explicit IpHash(Roster roster)
      : roster_(std::move(roster)),
        members_(members_of(roster_)),
        owners_(contenders_of(roster_, members_)) {}

  Pick choose(const PickContext& context, Aside aside) noexcept override {
    if (members_.empty()) return {};
    const std::uint64_t hash = mix64(context.client_hash);
    const std::uint32_t slot = owners_.slot_of(hash);
    const Member& owner = members_[owners_.owner(slot)];
    if (roster_.claim(owner.backend, context, hash ^ owner.key)) return {PickResult::picked, owner.backend};
    return members_.size() <= SlotOwners::kComparedMax ? next_of_slot(hash, context, aside)
                                                       : next_slot(hash, context, aside);
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
  Pick next_of_slot(std::uint64_t hash, const PickContext& context, Aside aside) const noexcept {
    constexpr int kRoundsMax = 4;
    const std::uint32_t slot = owners_.slot_of(hash);
    for (int round = 0; round < kRoundsMax; ++round) {
      const std::uint32_t next = owners_.first_among(slot, [&](std::uint32_t i) {
        return roster_.usable(members_[i].backend, context, hash ^ members_[i].key);
      });
      if (next == SlotOwners::kNobody) break;
      if (roster_.claim(members_[next].backend, context)) return {PickResult::picked, members_[next].backend};
    }
    return roster_.pick_among_all(context, aside, hash);
  }

  /// With many backends: another slot, always the same for the same client.
  Pick next_slot(std::uint64_t hash, const PickContext& context, Aside aside) const noexcept {
    for (int draw = 1; draw < kDrawsMax; ++draw) {
      hash = mix64(hash);
      const std::uint32_t backend = members_[owners_.owner(owners_.slot_of(hash))].backend;
      if (roster_.claim(backend, context, hash)) return {PickResult::picked, backend};
    }
    return roster_.pick_among_all(context, aside, hash);
  }

  Roster roster_;
  std::vector<Member> members_;  // as in owners_
  SlotOwners owners_;
};

}  // namespace

std::unique_ptr<Chooser> make_ip_hash(Roster roster) {
  return std::make_unique<IpHash>(std::move(roster));
}

}  // namespace lb
