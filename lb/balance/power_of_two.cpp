// Two backends drawn by weight, and of these the one with less in_flight/weight; when they are equal the
// first drawn, so that an idle set is used by weight. Almost as even as comparing all, at a cost that does
// not grow (Mitzenmacher, "The power of two choices in randomized load balancing", 2001), and workers or
// balancers that know as little as each other do not all run to the same backend.
#include <utility>

#include "lb/balance/algorithms.hpp"
#include "lb/balance/alias_table.hpp"
#include "lb/balance/least_loaded.hpp"
#include "lb/balance/roster.hpp"
#include "lb/base/random.hpp"

namespace lb {
namespace {

class PowerOfTwo final : public Chooser {
 public:
  explicit PowerOfTwo(Roster roster)
      : roster_(std::move(roster)), table_(roster_.eligible(), roster_.all_traits()) {}

  Pick choose(const PickContext& context, Aside aside) noexcept override {
    if (table_.empty()) return {};
    std::uint64_t random = context.random;
    for (int draw = 0; draw < kDrawsMax; draw += 2) {
      LeastLoaded best{false, 0};
      const std::uint32_t first = table_.draw(random);
      if (roster_.usable(first, context, random)) best.offer(first, roster_, context.now);
      const std::uint32_t second = another_than(first, random);
      if (second != first && roster_.usable(second, context, random)) {
        best.offer(second, roster_, context.now);
      }
      if (best.backend() != kNoBackend && roster_.claim(best.backend(), context)) {
        return {PickResult::picked, best.backend()};
      }
      random = mix64(random);
    }
    return roster_.pick_among_all(context, aside, random);
  }

 private:
  /// Advances `random`. Gives up when one backend has nearly all the weight.
  [[nodiscard]] std::uint32_t another_than(std::uint32_t first, std::uint64_t& random) const noexcept {
    constexpr int kRepeatsMax = 4;
    std::uint32_t second = first;
    for (int repeat = 0; repeat < kRepeatsMax && second == first; ++repeat) {
      random = mix64(random);
      second = table_.draw(random);
    }
    return second;
  }

  Roster roster_;
  AliasTable table_;
};

}  // namespace

std::unique_ptr<Chooser> make_power_of_two(Roster roster) {
  return std::make_unique<PowerOfTwo>(std::move(roster));
}

}  // namespace lb
