// The backend with the least in_flight/weight. Up to kFullScanMax backends all are compared, starting one
// further each time so that ties rotate (or, for weighted_least_connections, go by weight). Above that, the
// best of kSamples drawn by weight: with many backends the most loaded one is then above the average by a
// small constant only (Mitzenmacher, "The power of two choices in randomized load balancing", 2001), and a
// pick does not touch every backend's cache line.
#include <utility>

#include "lb/balance/algorithms.hpp"
#include "lb/balance/alias_table.hpp"
#include "lb/balance/least_loaded.hpp"
#include "lb/balance/roster.hpp"
#include "lb/base/random.hpp"

namespace lb {
namespace {

constexpr std::size_t kFullScanMax = 256;
constexpr int kSamples = 4;

class LeastConnections final : public Chooser {
 public:
  LeastConnections(Roster roster, bool ties_by_weight)
      : roster_(std::move(roster)), ties_by_weight_(ties_by_weight) {
    if (roster_.eligible().size() > kFullScanMax)
      table_ = AliasTable{roster_.eligible(), roster_.all_traits()};
  }

  Pick choose(const PickContext& context, Aside aside) noexcept override {
    if (roster_.eligible().empty()) return {};
    // Between comparing and claiming another worker may take a backend's last place; then compare again.
    constexpr int kRoundsMax = kDrawsMax / kSamples;
    std::uint64_t random = context.random;
    for (int round = 0; round < kRoundsMax; ++round) {
      const std::uint32_t best =
          table_.empty() ? best_of_all(context, random) : best_of_samples(context, random);
      if (best != kNoBackend && roster_.claim(best, context)) return {PickResult::picked, best};
      if (best == kNoBackend && table_.empty()) break;
    }
    return roster_.pick_among_all(context, aside, random);
  }

 private:
  /// Advances `random`.
  std::uint32_t best_of_all(const PickContext& context, std::uint64_t& random) noexcept {
    const std::span<const std::uint32_t> all = roster_.eligible();
    // The same chance for a backend wherever it is asked below: one that declines does so for all of this
    // pick.
    const auto usable = [&](std::uint32_t backend) {
      return roster_.usable(backend, context, random + backend);
    };
    std::size_t start = roster_.next_turn() % all.size();
    // The turn of one that cannot serve must not always go to its neighbour.
    std::uint64_t elsewhere = ~random;  // ties are drawn from `random`
    for (int repeat = 0; repeat < kSamples && !usable(all[start]); ++repeat) {
      elsewhere = mix64(elsewhere);
      start = scale_to(elsewhere, all.size());
    }
    LeastLoaded best{ties_by_weight_, random};
    const auto offer = [&](std::uint32_t backend) {
      if (usable(backend)) best.offer(backend, roster_, context.now);
    };
    for (const std::uint32_t backend : all.subspan(start)) offer(backend);
    for (const std::uint32_t backend : all.first(start)) offer(backend);
    random = mix64(random);
    return best.backend();
  }

  /// Advances `random` by as many numbers as it draws. Draws go by weight already, so ties need not.
  [[nodiscard]] std::uint32_t best_of_samples(const PickContext& context,
                                              std::uint64_t& random) const noexcept {
    LeastLoaded best{false, 0};
    for (int sample = 0; sample < kSamples; ++sample) {
      random = mix64(random);
      const std::uint32_t backend = table_.draw(random);
      if (roster_.usable(backend, context, random)) best.offer(backend, roster_, context.now);
    }
    return best.backend();
  }

  Roster roster_;
  bool ties_by_weight_;
  AliasTable table_;  // empty when all are compared
};

}  // namespace

std::unique_ptr<Chooser> make_least_connections(Roster roster, bool ties_by_weight) {
  return std::make_unique<LeastConnections>(std::move(roster), ties_by_weight);
}

}  // namespace lb
