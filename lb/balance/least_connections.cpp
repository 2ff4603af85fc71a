// The backend with the least in_flight/weight. Up to kFullScanMax backends all are compared, starting one
// further each time so that ties rotate. Above that, the best of kSamples drawn by weight: with many
// backends the most loaded one is then above the average by a small constant only (Mitzenmacher, "The power
// of two choices in randomized load balancing", 2001), and a pick does not touch every backend's cache line.
#include <atomic>
#include <utility>

#include "lb/balance/algorithms.hpp"
#include "lb/balance/alias_table.hpp"
#include "lb/balance/roster.hpp"
#include "lb/base/random.hpp"

namespace lb {
namespace {

constexpr std::size_t kFullScanMax = 256;
constexpr int kSamples = 4;

class LeastConnections final : public Balancer {
 public:
  LeastConnections(std::vector<BackendTraits> traits, std::span<BackendState> states,
                   const BalanceOptions& options)
      : Balancer(traits, states, options),
        roster_(traits, states, health_),
        table_(
            roster_.eligible().size() > kFullScanMax ? roster_.eligible() : std::span<const std::uint32_t>{},
            traits) {}

  Pick pick(const PickContext& context) noexcept override {
    if (roster_.eligible().empty()) return {};
    // Between comparing and claiming another worker may take a backend's last place; then compare again.
    constexpr int kRoundsMax = kDrawsMax / kSamples;
    std::uint64_t random = context.random;
    for (int round = 0; round < kRoundsMax; ++round) {
      const std::uint32_t best = table_.empty() ? best_of_all(context) : best_of_samples(context, random);
      if (best != kNoBackend && roster_.claim(best, context)) return {PickResult::picked, best};
      if (best == kNoBackend && table_.empty()) break;
    }
    return roster_.pick_among_all(context, random);
  }

 private:
  /// Keeps the least loaded usable backend offered; of equals the first.
  class Best {
   public:
    void offer(std::uint32_t backend, const Roster& roster) noexcept {
      const std::uint64_t in_flight = roster.state(backend).in_flight.load(std::memory_order_relaxed);
      const std::uint64_t weight = roster.traits(backend).weight;
      if (backend_ != kNoBackend && in_flight * weight_ >= in_flight_ * weight) return;
      backend_ = backend;
      in_flight_ = in_flight;
      weight_ = weight;
    }
    [[nodiscard]] std::uint32_t backend() const noexcept { return backend_; }

   private:
    std::uint32_t backend_ = kNoBackend;
    std::uint64_t in_flight_ = 0;
    std::uint64_t weight_ = 1;
  };

  std::uint32_t best_of_all(const PickContext& context) noexcept {
    const std::span<const std::uint32_t> all = roster_.eligible();
    const std::size_t start = turns_.fetch_add(1, std::memory_order_relaxed) % all.size();
    Best best;
    for (const std::uint32_t backend : all.subspan(start)) {
      if (roster_.usable(backend, context)) best.offer(backend, roster_);
    }
    for (const std::uint32_t backend : all.first(start)) {
      if (roster_.usable(backend, context)) best.offer(backend, roster_);
    }
    return best.backend();
  }

  /// Advances `random` by as many numbers as it draws.
  [[nodiscard]] std::uint32_t best_of_samples(const PickContext& context,
                                              std::uint64_t& random) const noexcept {
    Best best;
    for (int sample = 0; sample < kSamples; ++sample) {
      random = mix64(random);
      const std::uint32_t backend = table_.draw(random);
      if (roster_.usable(backend, context)) best.offer(backend, roster_);
    }
    return best.backend();
  }

  Roster roster_;
  AliasTable table_;  // empty when all are compared
  alignas(64) std::atomic<std::uint64_t> turns_{0};
};

}  // namespace

std::unique_ptr<Balancer> make_least_connections(std::vector<BackendTraits> traits,
                                                 std::span<BackendState> states,
                                                 const BalanceOptions& options) {
  return std::make_unique<LeastConnections>(std::move(traits), states, options);
}

}  // namespace lb
