// Random by weight. A draw that cannot serve is repeated with a number derived from the first.
#include <utility>

#include "lb/balance/algorithms.hpp"
#include "lb/balance/alias_table.hpp"
#include "lb/balance/roster.hpp"
#include "lb/base/random.hpp"

namespace lb {
namespace {

class WeightedRandom final : public Balancer {
 public:
  WeightedRandom(std::vector<BackendTraits> traits, std::span<BackendState> states,
                 const BalanceOptions& options)
      : Balancer(traits, states, options),
        roster_(traits, states, health_),
        table_(roster_.eligible(), traits) {}

  Pick pick(const PickContext& context) noexcept override {
    if (table_.empty()) return {};
    std::uint64_t random = context.random;
    for (int draw = 0; draw < kDrawsMax; ++draw) {
      const std::uint32_t backend = table_.draw(random);
      if (roster_.claim(backend, context)) return {PickResult::picked, backend};
      random = mix64(random);
    }
    return roster_.pick_among_all(context, random);
  }

 private:
  Roster roster_;
  AliasTable table_;
};

}  // namespace

std::unique_ptr<Balancer> make_weighted_random(std::vector<BackendTraits> traits,
                                               std::span<BackendState> states,
                                               const BalanceOptions& options) {
  return std::make_unique<WeightedRandom>(std::move(traits), states, options);
}

}  // namespace lb
