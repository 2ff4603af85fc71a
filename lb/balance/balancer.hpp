// Choosing a backend. One Balancer a set of backends, shared by all workers of a generation: every method
// is thread-safe and lock-free or nearly so. Knows weights, load and who is put aside; knows no sockets.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lb/balance/backend_state.hpp"
#include "lb/balance/health_board.hpp"
#include "lb/base/time.hpp"

namespace lb {

inline constexpr std::uint32_t kNoBackend = ~0U;
inline constexpr std::size_t kBackendsMax = 100'000;
inline constexpr Duration kAsideMin = std::chrono::seconds{1};
inline constexpr Duration kAsideMax = std::chrono::seconds{30};

struct PickContext {
  Instant now;
  std::uint64_t client_hash = 0;              // of the client's address, for ip_hash
  std::uint64_t random = 0;                   // a fresh number, for random and least_connections
  std::span<const std::uint32_t> tried = {};  // backends that failed this request already
};

enum class PickResult : std::uint8_t {
  picked,
  busy,  // every backend that could serve is at max_connections: 503
  none,  // all were tried, are down or ejected, or none has weight: 502/503
};

struct Pick {
  PickResult result = PickResult::none;
  std::uint32_t backend = kNoBackend;
};

enum class BalanceAlgorithm : std::uint8_t {
  round_robin,
  weighted_round_robin,
  least_connections,
  ip_hash,
  random
};

struct BalanceOptions {
  /// When less than this share of the weight is neither down nor ejected, all are used. 0: never.
  double panic_threshold = kPanicThresholdDefault;
};

/// Where a backend stands, the gravest first.
enum class Standing : std::uint8_t { down, ejected, aside, up };

class Balancer {
 public:
  virtual ~Balancer() = default;

  /// At most kBackendsMax backends. `states[i]` belongs to `traits[i]` and outlives the balancer.
  ///
  /// round_robin           in turn; a weight other than 0 makes no difference.
  /// weighted_round_robin  smooth (nginx's order: 3,2 gives a b a b a; 5,1,1 gives a a b a c a a) and exact
  ///                       over all workers. See smooth_schedule.hpp for weights without a small common sum.
  /// least_connections     the least in_flight/weight, ties by rotation; above kFullScanMax backends the
  ///                       best of kSamples drawn by weight.
  /// ip_hash               by client_hash and identity, weighted; the order of the list does not matter and
  ///                       a backend that leaves moves only its own clients. See slot_owners.hpp.
  /// random                by weight.
  ///
  /// A pick costs O(1) (least_connections and ip_hash: O(n) for small n, bounded) while most of the weight
  /// can serve. Otherwise, when 64 candidates in a row cannot, one pass over all backends decides.
  static std::unique_ptr<Balancer> create(BalanceAlgorithm algorithm, std::vector<BackendTraits> traits,
                                          std::span<BackendState> states, const BalanceOptions& options = {});

  /// Chooses and, when picked, has incremented in_flight already (so that two workers cannot pass
  /// max_connections together); the caller calls release(). A backend that is down or ejected is not chosen,
  /// unless in panic. A backend set aside is chosen only when every
  /// untried one is aside (then the one whose time ends first); as long as another one is merely full the
  /// answer is `busy`.
  virtual Pick pick(const PickContext& context) noexcept = 0;

  void release(std::uint32_t backend) noexcept {
    states_[backend].in_flight.fetch_sub(1, std::memory_order_relaxed);
  }

  /// Connecting failed: aside for kAsideMin, doubled for each further failure in a row, at most kAsideMax.
  /// Failures reported while the backend is aside already change nothing: forty requests that are refused in
  /// the same millisecond are one failure.
  void report_failure(std::uint32_t backend, Instant now) noexcept;
  /// Connecting worked: the row of failures ends, and so does the time aside that it caused.
  void report_success(std::uint32_t backend) noexcept;

  /// Health. Each of these is for rare events: they take a lock and cost O(backends ejected now). Nothing
  /// else changes what they set; a time aside, above, is apart from it and they leave that alone.
  ///
  /// Active checks failed (`down`) or succeed again. Told what is known already it does nothing.
  void set_down(std::uint32_t backend, bool down, Instant now) { health_.set_down(backend, down, now); }
  /// An outlier: not picked before `until`, which replaces what was said before. `until` = `now` ends it.
  void eject(std::uint32_t backend, Instant until, Instant now) { health_.eject(backend, until, now); }
  [[nodiscard]] Availability availability(Instant now) const { return health_.availability(now); }
  /// Lock-free.
  [[nodiscard]] bool panic(Instant now) const noexcept { return health_.panic(now); }
  [[nodiscard]] Standing standing(std::uint32_t backend, Instant now) const noexcept;

 protected:
  Balancer(std::span<const BackendTraits> traits, std::span<BackendState> states,
           const BalanceOptions& options)
      : states_(states), health_(traits, states, options.panic_threshold) {}
  std::span<BackendState> states_;
  HealthBoard health_;
};

}  // namespace lb
