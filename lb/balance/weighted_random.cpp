// Random by weight. A draw that cannot serve is repeated with a number derived from the first.
#include <utility>

#include "lb/balance/algorithms.hpp"
#include "lb/balance/alias_table.hpp"
#include "lb/balance/roster.hpp"
#include "lb/base/random.hpp"

namespace lb {
namespace {

class WeightedRandom final : public Chooser {
 public:
  explicit WeightedRandom(Roster roster)
      : roster_(std::move(roster)), table_(roster_.eligible(), roster_.all_traits()) {}

  Pick choose(const PickContext& context, Aside aside) noexcept override {
    if (table_.empty()) return {};
    std::uint64_t random = context.random;
    for (int draw = 0; draw < kDrawsMax; ++draw) {
      const std::uint32_t backend = table_.draw(random);
      random = mix64(random);
      if (roster_.claim(backend, context, random)) return {PickResult::picked, backend};
    }
    return roster_.pick_among_all(context, aside, random);
  }

 private:
  Roster roster_;
  AliasTable table_;
};

}  // namespace

std::unique_ptr<Chooser> make_weighted_random(Roster roster) {
  return std::make_unique<WeightedRandom>(std::move(roster));
}

}  // namespace lb
