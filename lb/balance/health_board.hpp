// HealthBoard: which backends are down or ejected, and whether so many are that health is to be ignored
// (panic). Part of a Balancer; whoever checks health writes it through that. It is told of changes and takes
// a lock for them, which are rare; picking reads atomics only. Does not check anything itself.
//
// Panic: a few survivors must not get the load of all, or they fall too, and health checks that call almost
// everyone dead are rather wrong than right. So below a share of the weight health is ignored. As long as
// enough backups are available there is no panic: they are there for when nobody else is left. Source of the
// idea: Envoy, "Panic threshold".
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "lb/balance/backend_states.hpp"
#include "lb/base/time.hpp"

namespace lb {

/// A quarter: of up to four equal backends a single survivor serves alone.
inline constexpr double kPanicThresholdDefault = 0.25;

/// How much of a set of backends can serve. Weight 0 counts as a backend, not as weight; the weights are
/// those of the backends that are no backups.
struct Availability {
  std::uint64_t weight = 0;            // of all
  std::uint64_t available_weight = 0;  // of those neither down nor ejected
  std::size_t down = 0;                // backends
  std::size_t ejected = 0;             // backends, including those that are down as well
  bool panic = false;
};

class HealthBoard final {
 public:
  /// `states[i]` belongs to `traits[i]`; what they say already counts. `panic_threshold` from 0 (never) to 1.
  HealthBoard(std::span<const BackendTraits> traits, BackendStates states, double panic_threshold);

  /// See Balancer for these.
  void set_down(std::uint32_t backend, bool down, Instant now);
  void eject(std::uint32_t backend, Instant until, Instant now);
  [[nodiscard]] Availability availability(Instant now) const;

  [[nodiscard]] bool panic(Instant now) const noexcept {
    const std::int64_t now_ns = now.time_since_epoch().count();
    if (behind() && now_ns >= look_again_ns_.load(std::memory_order_relaxed)) catch_up(now_ns);
    return now_ns < panic_until_ns_.load(std::memory_order_relaxed);
  }

 private:
  /// Of another generation's changes no more than so many are followed one by one.
  static constexpr Duration kLookEvery = std::chrono::milliseconds{10};

  struct Ejection {
    std::int64_t until_ns = 0;
    std::uint32_t backend = 0;
  };

  /// Of the primaries [0] and the backups [1].
  using Weights = std::array<std::uint64_t, 2>;
  struct Member {
    std::uint32_t weight = 0;
    bool backup = false;
    bool down = false;  // counted as such
  };

  /// Another generation has changed the standing of a backend since we looked.
  [[nodiscard]] bool behind() const noexcept {
    return states_.shared().health_changes.load(std::memory_order_acquire) !=
           seen_changes_.load(std::memory_order_relaxed);
  }
  void catch_up(std::int64_t now_ns) const noexcept;
  void look_at_all(std::int64_t now_ns) const;
  void count_down(std::uint32_t backend, bool down) const;
  void note_change() const noexcept;
  void forget_ended(std::int64_t now_ns) const;
  [[nodiscard]] bool enough(const Weights& available) const noexcept;
  [[nodiscard]] Weights available(std::int64_t now_ns) const;
  /// Decides about panic anew, ahead of time too: when it ends by itself because ejections end.
  void appraise(std::int64_t now_ns) const;

  BackendStates states_;
  double panic_threshold_;
  Weights weights_{};  // of all

  // What follows from the states and is kept so that a change costs little. Whoever asks may bring it up to
  // date.
  mutable std::mutex mutex_;
  mutable std::vector<Member> members_;
  mutable Weights down_weights_{};
  mutable std::size_t down_count_ = 0;
  mutable std::vector<Ejection> ejections_;  // one a backend; ended ones are dropped at the next change
  mutable std::atomic<std::uint64_t> seen_changes_{0};
  mutable std::atomic<std::int64_t> look_again_ns_{0};

  alignas(64) mutable std::atomic<std::int64_t> panic_until_ns_{0};
};

}  // namespace lb
