// HealthChecker: when each target of active health checks is looked at, and what the results make of it.
// Pure: it is handed the time and seeded, opens no socket and knows no protocol. One thread.
//
//               first pass                  `rise` passes in a row
//   untested ---------------> up <------------------------------------ down
//      |                       |                                        ^ ^
//      |                       +-------- `fall` failures in a row ------+ |
//      +--------------------------- first failure ------------------------+
//
// A target may begin as down, known to be so from another checker: then it takes `rise` passes.
//
// The first result decides alone: whoever waits for the first checks before it takes traffic must not
// send any to a server that is plainly dead. Until then a target counts as up.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <queue>
#include <vector>

#include "lb/base/random.hpp"
#include "lb/base/time.hpp"

namespace lb {

struct HealthRules {
  Duration interval = std::chrono::seconds{5};
  double jitter = 0.1;  // each interval is longer or shorter by up to this share of it; 0 to 1
  Duration timeout = std::chrono::seconds{2};
  std::uint32_t rise = 2;
  std::uint32_t fall = 3;
  std::uint32_t at_once_max = 256;  // checks that run at the same time
};

enum class Health : std::uint8_t { untested, up, down };

class HealthChecker final {
 public:
  static constexpr std::uint32_t kNone = ~0U;

  /// Targets are 0 to `targets` - 1. The first check of each is due at `now`; the second one at a random
  /// point of the interval that follows, so that targets do not stay in step.
  HealthChecker(const HealthRules& rules, std::uint32_t targets, std::uint64_t seed, Instant now);

  /// Before its first check: it is known to be down.
  void begin_down(std::uint32_t index);

  /// A target whose check is due and runs from now on; kNone when there is none, or at_once_max run. A check
  /// that could not begin in time is not made up for: the next interval counts from its begin.
  std::uint32_t start_due(Instant now);

  /// A target whose check has run for the timeout; kNone when there is none. It still runs: the caller gives
  /// it up and says finish(failed).
  [[nodiscard]] std::uint32_t expired(Instant now);

  enum class Change : std::uint8_t { none, up, down };
  /// The check of target `index`, which runs, has ended. `up` and `down` tell that its standing is another
  /// now; from untested to up is `none`, as it counted as up already.
  Change finish(std::uint32_t index, bool passed);
  /// The check of target `index`, which runs, could not be made, for a reason of our own: it tells nothing.
  void abandon(std::uint32_t index);

  [[nodiscard]] Health health(std::uint32_t target) const noexcept { return targets_[target].health; }
  [[nodiscard]] bool running(std::uint32_t target) const noexcept { return targets_[target].running; }
  [[nodiscard]] std::uint32_t untested() const noexcept { return untested_; }

  /// When start_due() or expired() have something next; kNever when nothing is.
  [[nodiscard]] Instant next_wakeup();

 private:
  struct Target {
    Health health = Health::untested;
    bool running = false;
    std::uint32_t in_row = 0;  // results that speak against the present standing
    std::uint32_t round = 0;   // checks begun
    Instant began{};
  };
  struct Due {
    Instant at;
    std::uint32_t target = 0;
    friend bool operator>(const Due& a, const Due& b) noexcept { return a.at > b.at; }
  };
  struct Deadline {
    Instant at;
    std::uint32_t target = 0;
    std::uint32_t round = 0;
  };

  void plan(std::uint32_t index);
  void forget_finished();

  HealthRules rules_;
  Random random_;
  std::vector<Target> targets_;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;  // those that do not run
  std::deque<Deadline> deadlines_;  // in order, for all have the same timeout; of ended checks as well
  std::uint32_t running_ = 0;
  std::uint32_t untested_ = 0;
};

}  // namespace lb
