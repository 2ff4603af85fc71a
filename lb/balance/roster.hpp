// Roster: what all algorithms share. Traits and states of the backends, claiming one of them, and the last
// resort: a pass over all of them when the algorithm's own candidates could not serve. Private to balance;
// immutable but for the states, so any thread may use it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lb/balance/backend_states.hpp"
#include "lb/balance/chooser.hpp"
#include "lb/balance/health_board.hpp"
#include "lb/balance/slow_start.hpp"

namespace lb {

__extension__ using Uint128 = unsigned __int128;

/// Maps a uniform `random` to [0, bound) without division (Lemire, "Fast random integer generation in an
/// interval", 2019); the bias of bound/2^64 is accepted.
constexpr std::uint64_t scale_to(std::uint64_t random, std::uint64_t bound) noexcept {
  return static_cast<std::uint64_t>((Uint128{random} * bound) >> 64U);
}

/// How many candidates an algorithm may draw before it asks pick_among_all().
inline constexpr int kDrawsMax = 64;

class Roster final {
 public:
  /// `health` and `turns`, whose turn it is, outlive it.
  Roster(std::vector<BackendTraits> traits, BackendStates states, const HealthBoard& health,
         SlowStart slow_start, std::atomic<std::uint64_t>& turns);

  /// Backends with a weight, in the order of the list.
  [[nodiscard]] std::span<const std::uint32_t> eligible() const noexcept { return eligible_; }
  [[nodiscard]] std::span<const BackendTraits> all_traits() const noexcept { return traits_; }
  [[nodiscard]] const BackendTraits& traits(std::uint32_t backend) const noexcept { return traits_[backend]; }
  /// Requests in flight there, over all generations, and of this one alone.
  [[nodiscard]] std::uint32_t in_flight(std::uint32_t backend) const noexcept {
    return states_.in_flight(backend);
  }
  [[nodiscard]] std::uint32_t own_in_flight(std::uint32_t backend) const noexcept {
    return states_.own_in_flight(backend);
  }
  /// The next turn, for algorithms that go round. All workers and generations take from the same ones.
  [[nodiscard]] std::uint64_t next_turn() const noexcept {
    return turns_->fetch_add(1, std::memory_order_relaxed);
  }
  /// Its weight times its share in slow start, in units of 1/SlowStart::kFull.
  [[nodiscard]] std::uint64_t present_weight(std::uint32_t backend, Instant now) const noexcept {
    return std::uint64_t{traits_[backend].weight} * slow_start_.share(states_[backend], now);
  }

  /// Untried, not out, not aside, below its limit, and not declining for its slow start, which `chance`
  /// decides: as seen now, without claiming it.
  [[nodiscard]] bool usable(std::uint32_t backend, const PickContext& context,
                            std::uint64_t chance) const noexcept {
    return may_serve(backend, context) && slow_start_.takes(states_[backend], context.now, chance) &&
           has_room(backend);
  }
  /// The same, and in_flight was incremented.
  [[nodiscard]] bool claim(std::uint32_t backend, const PickContext& context,
                           std::uint64_t chance) const noexcept {
    return may_serve(backend, context) && slow_start_.takes(states_[backend], context.now, chance) &&
           acquire(backend);
  }
  /// Without asking about slow start again.
  [[nodiscard]] bool claim(std::uint32_t backend, const PickContext& context) const noexcept {
    return may_serve(backend, context) && acquire(backend);
  }

  /// Decides by a pass over all backends: a usable one by present weight (`spread` chooses), else `busy` when
  /// one is merely full, else, as a last resort, of those not out the one whose time aside ends first, else
  /// `none`.
  [[nodiscard]] Pick pick_among_all(const PickContext& context, Aside aside,
                                    std::uint64_t spread) const noexcept;

 private:
  struct Survey {
    std::uint64_t usable_weight = 0;  // present weight
    bool any_full = false;
    bool any_aside_full = false;
    std::uint32_t first_back = kNoBackend;  // of those aside, the one whose time ends first
  };

  [[nodiscard]] static bool tried(std::uint32_t backend, const PickContext& context) noexcept {
    return std::ranges::find(context.tried, backend) != context.tried.end();
  }
  /// Down or ejected, unless in panic. The board is asked only about those, so that it costs the others
  /// nothing.
  [[nodiscard]] bool out(std::uint32_t backend, const PickContext& context) const noexcept {
    const BackendState& state = states_[backend];
    return (state.down.load(std::memory_order_relaxed) ||
            state.ejected_until_ns.load(std::memory_order_relaxed) >
                context.now.time_since_epoch().count()) &&
           !health_.panic(context.now);
  }
  [[nodiscard]] bool aside(std::uint32_t backend, const PickContext& context) const noexcept {
    return states_[backend].aside_until_ns.load(std::memory_order_relaxed) >
           context.now.time_since_epoch().count();
  }
  [[nodiscard]] bool may_serve(std::uint32_t backend, const PickContext& context) const noexcept {
    return !tried(backend, context) && !aside(backend, context) && !out(backend, context);
  }
  [[nodiscard]] bool has_room(std::uint32_t backend) const noexcept {
    const std::uint32_t limit = traits_[backend].max_connections;
    return limit == 0 || states_.in_flight(backend) < limit;
  }
  /// Counts one more in flight if that is below the limit.
  [[nodiscard]] bool acquire(std::uint32_t backend) const noexcept {
    return states_.acquire(backend, traits_[backend].max_connections);
  }
  [[nodiscard]] Survey survey(const PickContext& context) const noexcept;
  /// The usable backend at `position` of the line in which each takes its present weight's length.
  [[nodiscard]] std::uint32_t usable_at(std::uint64_t position, const PickContext& context) const noexcept;

  std::vector<BackendTraits> traits_;
  BackendStates states_;
  const HealthBoard& health_;
  SlowStart slow_start_;
  std::atomic<std::uint64_t>* turns_;
  std::vector<std::uint32_t> eligible_;
};

}  // namespace lb
