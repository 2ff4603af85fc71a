// Choosing a backend. One Balancer a set of backends, shared by all workers of a generation: every method
// is thread-safe and lock-free or nearly so. Knows weights, load, health and who is put aside; knows no
// sockets and checks nobody's health itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lb/balance/backend_states.hpp"
#include "lb/balance/chooser.hpp"
#include "lb/balance/health_board.hpp"
#include "lb/balance/load_bound.hpp"
#include "lb/balance/slow_start.hpp"
#include "lb/base/time.hpp"

namespace lb {

inline constexpr Duration kAsideMin = std::chrono::seconds{1};
inline constexpr Duration kAsideMax = std::chrono::seconds{30};

enum class BalanceAlgorithm : std::uint8_t {
  round_robin,
  weighted_round_robin,
  least_connections,
  ip_hash,
  random,
  weighted_least_connections,
  power_of_two,
  consistent_hash,
};

struct BalanceOptions {
  /// When less than this share of the weight is neither down nor ejected, all are used. 0: never.
  double panic_threshold = kPanicThresholdDefault;
  /// How long a backend that comes back takes to get its whole weight again; a day at most. 0: no time.
  Duration slow_start{0};
  /// consistent_hash: a backend may have this many times its fair share of the requests in flight, rounded
  /// up; what is beyond goes where its keys would go without it. Above 1, or 0: no bound.
  double balance_factor = 0;
};

/// Where a backend stands, the gravest first.
enum class Standing : std::uint8_t { down, ejected, aside, up };

class Balancer final {
 public:
  /// At most kBackendsMax backends. `states[i]` belongs to `traits[i]`. Several generations may use the same
  /// states at once.
  ///
  /// round_robin           in turn; a weight other than 0 makes no difference.
  /// weighted_round_robin  smooth (nginx's order: 3,2 gives a b a b a; 5,1,1 gives a a b a c a a) and exact
  ///                       over all workers. See smooth_schedule.hpp for weights without a small common sum.
  /// least_connections     the least in_flight/weight, ties by rotation; above 256 backends the best of four
  ///                       drawn by weight.
  /// weighted_least_connections
  ///                       the same, but ties go by weight, at random. So weights are kept when nobody is
  ///                       busy too: least_connections spreads a trickle of requests evenly.
  /// power_of_two          of two drawn by weight the one with less in_flight/weight.
  /// ip_hash               by client_hash and identity, weighted; the order of the list does not matter and
  ///                       a backend that leaves moves only its own clients. See slot_owners.hpp.
  /// consistent_hash       the same promises for any key, in O(1): Maglev. A backend that leaves moves a few
  ///                       more keys than its own. See maglev_table.hpp.
  /// random                by weight.
  ///
  /// A pick costs O(1) (least connections and ip_hash: O(n) for small n, bounded) while most of the weight
  /// can serve. Otherwise, when 64 candidates in a row cannot, one pass over all backends decides.
  static std::unique_ptr<Balancer> create(BalanceAlgorithm algorithm, std::vector<BackendTraits> traits,
                                          StatesInUse states, const BalanceOptions& options = {});
  /// The same with states that this balancer alone uses.
  static std::unique_ptr<Balancer> create(BalanceAlgorithm algorithm, std::vector<BackendTraits> traits,
                                          std::span<BackendState> states, const BalanceOptions& options = {});

  /// Chooses and, when picked, has incremented in_flight already (so that two workers cannot pass
  /// max_connections together); the caller calls release(). A backend that is down or ejected is not chosen,
  /// unless in panic. Backups are chosen by the same algorithm when every other untried backend is out or
  /// aside; one that is merely full makes the answer `busy`. A backend set aside is chosen only when every
  /// untried one, backups too, is aside (then the one whose time ends first); as long as another one is
  /// merely full the answer is `busy`.
  Pick pick(const PickContext& context) noexcept {
    const Pick pick = primaries_->choose(context, backups_ == nullptr ? Aside::last_resort : Aside::refused);
    if (pick.result == PickResult::picked) {
      bound_.picked();
      return pick;
    }
    return backups_ == nullptr || pick.result == PickResult::busy ? pick : pick_backup(context);
  }

  /// Counts one more in flight that no pick chose, whatever its limit: a tunnel of another generation.
  void occupy(std::uint32_t backend) noexcept {
    static_cast<void>(states_.acquire(backend, 0));
    bound_.picked();
  }

  void release(std::uint32_t backend) noexcept {
    states_.release(backend);
    bound_.released();
  }

  /// Connecting failed: aside for kAsideMin, doubled for each further failure in a row, at most kAsideMax.
  /// Failures reported while the backend is aside already change nothing: forty requests that are refused in
  /// the same millisecond are one failure.
  void report_failure(std::uint32_t backend, Instant now) noexcept;
  /// Connecting worked: the row of failures ends, and so does the time aside that it caused; slow start
  /// begins.
  void report_success(std::uint32_t backend, Instant now) noexcept;

  /// Health. Each of these is for rare events: they take a lock and cost O(backends ejected now). Nothing
  /// else changes what they set; a time aside, above, is apart from it and they leave that alone.
  ///
  /// They are for all generations that share the states: the last word counts.
  ///
  /// Active checks failed (`down`) or succeed again. Told what is known already it does nothing.
  void set_down(std::uint32_t backend, bool down, Instant now) { health_.set_down(backend, down, now); }
  /// An outlier: not picked before `until`, which replaces what was said before. `until` = `now` ends it.
  void eject(std::uint32_t backend, Instant until, Instant now) { health_.eject(backend, until, now); }
  [[nodiscard]] Availability availability(Instant now) const { return health_.availability(now); }
  /// Lock-free.
  [[nodiscard]] bool panic(Instant now) const noexcept { return health_.panic(now); }
  /// Requests and tunnels there now, over all generations.
  [[nodiscard]] std::uint32_t in_flight(std::uint32_t backend) const noexcept {
    return states_.in_flight(backend);
  }
  [[nodiscard]] Standing standing(std::uint32_t backend, Instant now) const noexcept;
  /// The part of its weight that it has by its slow start, above 0 and at most 1; whatever its standing.
  [[nodiscard]] double share(std::uint32_t backend, Instant now) const noexcept {
    return slow_start_.share(states_[backend], now) / static_cast<double>(SlowStart::kFull);
  }

 private:
  Balancer(std::span<const BackendTraits> traits, StatesInUse states, const BalanceOptions& options);
  Pick pick_backup(const PickContext& context) noexcept;

  SharedBalance own_;  // where nothing is shared
  StatesInUse memory_;
  BackendStates states_;
  SlowStart slow_start_;
  std::unique_ptr<Chooser> primaries_;
  std::unique_ptr<Chooser> backups_;  // null: there are none
  LoadBound bound_;
  HealthBoard health_;
};

}  // namespace lb
