// The same client goes to the same backend, by weighted rendezvous hashing: each pair of client and backend
// has a score, the best score wins, so a backend that leaves (or is aside, or full) moves only its own
// clients and spreads them over all others, and one whose weight grows only gains clients.
// Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998); weights by
// Schindelhauer and Schomaker, "Weighted distributed hash tables" (2005).
//
// Up to kScoredMax backends every client is scored exactly, and the winner remembered in a small cache.
// Above that, clients are hashed onto slots whose owners were found beforehand (slot_race.hpp). Both
// forms keep the promise; a configuration that crosses from one to the other reshuffles its clients once.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <utility>

#include "lb/balance/algorithms.hpp"
#include "lb/balance/roster.hpp"
#include "lb/balance/slot_race.hpp"
#include "lb/base/random.hpp"

namespace lb {
namespace {

constexpr std::size_t kScoredMax = 1024;
constexpr std::size_t kUncachedMax = 4;  // scoring so few is as fast as remembering

struct Contender {
  std::uint64_t key = 0;  // from the identity: what scores are made of
  std::uint32_t backend = 0;
  std::uint32_t weight = 1;
};

/// By key, so that nothing depends on the order of the list. Should two identities be equal the second gets
/// a key of its own; otherwise it would lose every comparison.
std::vector<Contender> contenders_of(const Roster& roster) {
  std::vector<Contender> all;
  for (const std::uint32_t backend : roster.eligible()) {
    const BackendTraits& traits = roster.traits(backend);
    all.push_back({mix64(traits.identity), backend, traits.weight});
  }
  const auto by_key = [](const Contender& a, const Contender& b) { return a.key < b.key; };
  std::ranges::stable_sort(all, by_key);
  bool twins = false;
  for (std::size_t i = 1; i < all.size(); ++i) {
    if (all[i].key != all[i - 1].key) continue;
    for (std::size_t j = i; j < all.size() && all[j].key == all[i - 1].key; ++j) {
      all[j].key = mix64(all[j].key + (j - i + 1));
      i = j;
      twins = true;
    }
  }
  if (twins) std::ranges::stable_sort(all, by_key);
  return all;
}

/// Remembers winners by the whole client hash, two of them a place, the newer one first; one 64-bit atomic
/// each, no locks. An entry is the hash, its lowest bits (which the place implies) replaced by the winner.
class WinnerCache final {
 public:
  explicit WinnerCache(bool on) : entries_(on ? 2 * kPlaces : 0) {}

  [[nodiscard]] std::uint32_t find(std::uint64_t client) const noexcept {
    if (entries_.empty()) return kNoBackend;
    const std::size_t place = 2 * (client % kPlaces);
    for (const std::size_t i : {place, place + 1}) {
      const std::uint64_t entry = entries_[i].load(std::memory_order_relaxed);
      // An entry never written holds winner 0, which becomes kNoBackend.
      if (((entry ^ client) & ~kWinnerMask) == 0) return static_cast<std::uint32_t>(entry & kWinnerMask) - 1;
    }
    return kNoBackend;
  }
  void remember(std::uint64_t client, std::uint32_t winner) noexcept {
    if (entries_.empty()) return;
    const std::size_t place = 2 * (client % kPlaces);
    // Two workers here at once may lose an entry, never mix two: each entry is whole in itself.
    entries_[place + 1].store(entries_[place].load(std::memory_order_relaxed), std::memory_order_relaxed);
    entries_[place].store((client & ~kWinnerMask) | (winner + 1), std::memory_order_relaxed);
  }

 private:
  static constexpr std::size_t kPlaces = 1U << 16U;  // 1 MiB
  static constexpr std::uint64_t kWinnerMask = (1U << 11U) - 1;
  static_assert(kScoredMax < kWinnerMask && kWinnerMask < kPlaces);
  std::vector<std::atomic<std::uint64_t>> entries_;
};

class ScoredIpHash final : public Balancer {
 public:
  ScoredIpHash(std::vector<BackendTraits> traits, std::span<BackendState> states)
      : Balancer(states),
        roster_(std::move(traits), states),
        contenders_(contenders_of(roster_)),
        cache_(contenders_.size() > kUncachedMax) {
    for (const Contender& contender : contenders_)
      equal_weights_ &= contender.weight == contenders_[0].weight;
  }

  Pick pick(const PickContext& context) noexcept override {
    if (contenders_.empty()) return {};
    const std::uint64_t client = mix64(context.client_hash);
    std::uint32_t winner = cache_.find(client);
    if (winner == kNoBackend) {
      winner = best(client, [](const Contender&) { return true; });
      cache_.remember(client, winner);
    }
    if (const std::uint32_t backend = contenders_[winner].backend; roster_.claim(backend, context)) {
      return {PickResult::picked, backend};
    }
    // The client's second choice, or third; when another worker takes its last place meanwhile, the next.
    constexpr int kRoundsMax = 4;
    for (int round = 0; round < kRoundsMax; ++round) {
      winner = best(client, [&](const Contender& c) { return roster_.usable(c.backend, context); });
      if (winner == kNoBackend) break;
      const std::uint32_t backend = contenders_[winner].backend;
      if (roster_.claim(backend, context)) return {PickResult::picked, backend};
    }
    return roster_.pick_among_all(context, client);
  }

 private:
  /// Position of the contender with the best score among those accepted, or kNoBackend.
  template <class Accept>
  [[nodiscard]] std::uint32_t best(std::uint64_t client, Accept accept) const noexcept {
    return equal_weights_ ? best_of_equals(client, accept) : best_by_weight(client, accept);
  }

  static std::uint64_t fraction_bits(std::uint64_t client, std::uint64_t key) noexcept {
    return mix64(client ^ key) >> 11U;  // as many as a double holds
  }

  template <class Accept>
  [[nodiscard]] std::uint32_t best_of_equals(std::uint64_t client, Accept accept) const noexcept {
    std::uint32_t winner = kNoBackend;
    std::uint64_t most = 0;
    for (std::uint32_t i = 0; i < contenders_.size(); ++i) {
      const std::uint64_t bits = fraction_bits(client, contenders_[i].key);
      if (winner != kNoBackend && bits <= most) continue;
      if (!accept(contenders_[i])) continue;
      winner = i;
      most = bits;
    }
    return winner;
  }

  /// Least -ln(u) / weight, which for equal weights is the greatest u. Since -ln(u) >= 1 - u, most logarithms
  /// need not be taken.
  template <class Accept>
  [[nodiscard]] std::uint32_t best_by_weight(std::uint64_t client, Accept accept) const noexcept {
    std::uint32_t winner = kNoBackend;
    double least = HUGE_VAL;
    for (std::uint32_t i = 0; i < contenders_.size(); ++i) {
      const double u = (static_cast<double>(fraction_bits(client, contenders_[i].key)) + 1) * 0x1p-53;
      const double weight = contenders_[i].weight;
      if (1 - u >= least * weight) continue;
      if (!accept(contenders_[i])) continue;
      const double score = -std::log(u) / weight;
      if (winner != kNoBackend && score >= least) continue;
      winner = i;
      least = score;
    }
    return winner;
  }

  Roster roster_;
  std::vector<Contender> contenders_;
  bool equal_weights_ = true;
  WinnerCache cache_;
};

class SlottedIpHash final : public Balancer {
 public:
  SlottedIpHash(std::vector<BackendTraits> traits, std::span<BackendState> states)
      : Balancer(states), roster_(std::move(traits), states), race_(racers()) {}

  Pick pick(const PickContext& context) noexcept override {
    std::uint64_t hash = mix64(context.client_hash);
    for (int draw = 0; draw < kDrawsMax; ++draw) {
      const std::uint32_t backend = backends_[race_.owner(hash)];
      if (roster_.claim(backend, context)) return {PickResult::picked, backend};
      hash = mix64(hash);  // the same further choices for the same client
    }
    return roster_.pick_among_all(context, hash);
  }

 private:
  std::vector<SlotRace::Racer> racers() {
    std::vector<SlotRace::Racer> all;
    for (const Contender& contender : contenders_of(roster_)) {
      all.push_back({contender.key, contender.weight});
      backends_.push_back(contender.backend);
    }
    return all;
  }

  Roster roster_;
  std::vector<std::uint32_t> backends_;  // of the racers
  SlotRace race_;
};

}  // namespace

std::unique_ptr<Balancer> make_ip_hash(std::vector<BackendTraits> traits, std::span<BackendState> states) {
  const auto weighted = std::ranges::count_if(traits, [](const BackendTraits& t) { return t.weight > 0; });
  if (static_cast<std::size_t>(weighted) <= kScoredMax) {
    return std::make_unique<ScoredIpHash>(std::move(traits), states);
  }
  return std::make_unique<SlottedIpHash>(std::move(traits), states);
}

}  // namespace lb
