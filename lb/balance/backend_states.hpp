// BackendStates: the states of a set of backends, by position, as one generation uses them: it reads the load
// of all generations and changes that of its own. A view that is copied freely; what it shows outlives it.
// Private to balance, but for those who make one. Any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lb/balance/backend_state.hpp"

namespace lb {

/// Where the state of a set of backends lives: `at[i]` of backend i. All of it outlives the balancer.
struct StatesInUse {
  std::vector<BackendState*> at{};
  SharedBalance* shared = nullptr;  // null: nobody shares them
  unsigned lane = 0;                // of this generation
};

class BackendStates final {
 public:
  /// `at[i]` is the state of backend i; `lane` is this generation's, below kLoadLanes.
  BackendStates(std::span<BackendState* const> at, SharedBalance& shared, unsigned lane) noexcept
      : at_(at), shared_(&shared), lane_(lane) {}

  [[nodiscard]] std::size_t size() const noexcept { return at_.size(); }
  [[nodiscard]] BackendState& operator[](std::size_t i) const noexcept { return *at_[i]; }
  [[nodiscard]] SharedBalance& shared() const noexcept { return *shared_; }

  /// Requests and tunnels now, over all generations.
  [[nodiscard]] std::uint32_t in_flight(std::size_t i) const noexcept {
    return alone() ? own_in_flight(i) : at_[i]->in_flight();
  }
  /// Of this generation.
  [[nodiscard]] std::uint32_t own_in_flight(std::size_t i) const noexcept {
    return at_[i]->lanes[lane_].load(std::memory_order_relaxed);
  }

  /// One more in flight, unless there are `limit` already (0: no limit). However many ask at once, in
  /// whatever generation, there are never more.
  [[nodiscard]] bool acquire(std::size_t i, std::uint32_t limit) const noexcept {
    std::atomic<std::uint32_t>& own = at_[i]->lanes[lane_];
    if (limit == 0) {
      own.fetch_add(1, std::memory_order_relaxed);
      return true;
    }
    if (!alone()) return acquire_beside(i, limit);
    std::uint32_t seen = own.load(std::memory_order_relaxed);
    while (seen < limit) {
      if (own.compare_exchange_weak(seen, seen + 1, std::memory_order_relaxed)) return true;
    }
    return false;
  }
  void release(std::size_t i) const noexcept { at_[i]->lanes[lane_].fetch_sub(1, std::memory_order_relaxed); }

 private:
  [[nodiscard]] bool alone() const noexcept {
    return shared_->lanes_used.load(std::memory_order_relaxed) <= 1;
  }
  /// Counts first and looks then: of two generations that want the last place one sees the other. Both may
  /// step back; then they try again.
  [[nodiscard]] bool acquire_beside(std::size_t i, std::uint32_t limit) const noexcept {
    constexpr int kTriesMax = 4;
    BackendState& state = *at_[i];
    for (int tries = 0; tries < kTriesMax && state.in_flight() < limit; ++tries) {
      state.lanes[lane_].fetch_add(1, std::memory_order_seq_cst);
      if (state.in_flight(std::memory_order_seq_cst) <= limit) return true;
      state.lanes[lane_].fetch_sub(1, std::memory_order_seq_cst);
    }
    return false;
  }

  std::span<BackendState* const> at_;
  SharedBalance* shared_;
  unsigned lane_;
};

}  // namespace lb
