// The same key goes to the same backend, as long as it can serve; see maglev_table.hpp. When its backend is
// out, aside, full, over its bound or tried, a key goes to a further slot, always the same one for the same
// key: the keys of a backend that is away spread over all others and nobody else's move.
#include <utility>

#include "lb/balance/algorithms.hpp"
#include "lb/balance/maglev_table.hpp"
#include "lb/balance/members.hpp"
#include "lb/balance/roster.hpp"
#include "lb/base/random.hpp"

namespace lb {
namespace {

class ConsistentHash final : public Chooser {
 public:
  ConsistentHash(Roster roster, const LoadBound& bound)
      : roster_(std::move(roster)), bound_(bound), table_(contenders_of(roster_)) {
    double weight = 0;
    for (const std::uint32_t backend : roster_.eligible()) weight += roster_.traits(backend).weight;
    if (weight > 0) weight_share_ = 1 / weight;
  }

  Pick choose(const PickContext& context, Aside aside) noexcept override {
    if (table_.empty()) return {};
    std::uint64_t hash = mix64(context.client_hash);
    for (int draw = 0; draw < kDrawsMax; ++draw) {
      const std::uint32_t backend = table_.at(hash);
      if (within_bound(backend) && roster_.claim(backend, context, hash)) {
        return {PickResult::picked, backend};
      }
      hash = mix64(hash);
    }
    return roster_.pick_among_all(context, aside, hash);
  }

 private:
  static std::vector<MaglevTable::Contender> contenders_of(const Roster& roster) {
    std::vector<MaglevTable::Contender> contenders;
    for (const Member& member : members_of(roster)) {
      contenders.push_back({member.key, roster.traits(member.backend).weight, member.backend});
    }
    return contenders;
  }

  [[nodiscard]] bool within_bound(std::uint32_t backend) const noexcept {
    return !bound_.on() ||
           bound_.allows(roster_.own_in_flight(backend), roster_.traits(backend).weight * weight_share_);
  }

  Roster roster_;
  const LoadBound& bound_;
  double weight_share_ = 0;  // of a weight of 1
  MaglevTable table_;
};

}  // namespace

std::unique_ptr<Chooser> make_consistent_hash(Roster roster, const LoadBound& bound) {
  return std::make_unique<ConsistentHash>(std::move(roster), bound);
}

}  // namespace lb
