// TimerWheel: deadlines of one worker's connections. Intrusive nodes, O(1) schedule and cancel. A node may
// sit in its slot although its deadline was moved later: when its slot comes round it is put where it
// belongs, so a keep-alive request costs one store and no wheel operation. One thread.
// Source: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (1987), scheme 6.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "lb/base/result.hpp"
#include "lb/base/time.hpp"

namespace lb {

class TimerNode {
 public:
  TimerNode() noexcept = default;
  TimerNode(const TimerNode&) = delete;
  TimerNode& operator=(const TimerNode&) = delete;
  ~TimerNode() { unlink(); }
  [[nodiscard]] bool linked() const noexcept { return prev_ != this; }
  [[nodiscard]] Instant deadline() const noexcept { return deadline_; }

 private:
  friend class TimerWheel;
  void unlink() noexcept {
    prev_->next_ = next_;
    next_->prev_ = prev_;
    prev_ = next_ = this;
  }
  TimerNode* prev_ = this;
  TimerNode* next_ = this;
  Instant deadline_ = kNever;
  Instant placed_ = kNever;  // the time for which its slot was chosen; at most deadline_
};

class TimerWheel final {
 public:
  static constexpr Duration kTick = Milliseconds{8};
  static constexpr std::uint32_t kSlots = 4096;  // a turn of the wheel is 32.8 s

  explicit TimerWheel(Instant now) noexcept : now_tick_(tick_of(now)) {}

  /// Sets or moves the node's deadline. Fires at the first advance() at or after it, up to a tick late.
  /// Moving it later is one store; kNever disarms.
  void set(TimerNode& node, Instant deadline) noexcept {
    node.deadline_ = deadline;
    if (node.linked()) {
      if (deadline >= node.placed_) return;
      node.unlink();
    }
    if (deadline != kNever) place(node);
  }

  void cancel(TimerNode& node) noexcept {
    node.unlink();
    node.deadline_ = kNever;
  }

  /// Calls expire(TimerNode&) for every node whose deadline is not after `now`. The node is unlinked
  /// first; expire may set, cancel and destroy any node.
  template <class F>
  void advance(Instant now, F&& expire) {
    const std::int64_t target = tick_of(now);
    if (target < now_tick_) return;
    const std::int64_t first = now_tick_;
    const std::int64_t last = target - first >= kSlots ? first + kSlots - 1 : target;
    // From here on nodes are placed as seen from `now`. Placed as seen from the slot that is being visited
    // they would be out of reach by up to a turn once the wheel has moved on to `now`.
    now_tick_ = target;
    for (std::int64_t tick = first; tick <= last; ++tick) {
      if (!occupied(slot_of(tick))) continue;
      TimerNode& head = slots_[slot_of(tick)];
      clear_occupied(slot_of(tick));
      if (!head.linked()) continue;
      TimerNode due;  // take the slot's list over, so that re-placed nodes are not visited twice
      due.next_ = head.next_;
      due.prev_ = head.prev_;
      due.next_->prev_ = &due;
      due.prev_->next_ = &due;
      head.prev_ = head.next_ = &head;
      while (due.linked()) {
        TimerNode& node = *due.next_;
        node.unlink();
        if (node.deadline_ == kNever) continue;
        if (node.deadline_ <= now) {
          node.deadline_ = kNever;
          expire(node);
        } else {
          place(node);
        }
      }
    }
  }

  /// When advance() is next worth calling, seen from `now`: at most one turn of the wheel away; kNever when
  /// no node is armed. May be early: a cancelled node's slot is forgotten only when it comes round.
  [[nodiscard]] Instant next(Instant now) const noexcept {
    const std::uint32_t first = slot_of(now_tick_);
    for (std::uint32_t i = 0; i <= kWords; ++i) {
      std::uint64_t word = occupied_[(first / 64 + i) % kWords];
      if (i == 0) word &= ~std::uint64_t{0} << (first % 64);
      if (i == kWords) word &= ~(~std::uint64_t{0} << (first % 64));
      if (word == 0) continue;
      const std::int64_t ahead =
          static_cast<std::int64_t>(i * 64 + static_cast<std::uint32_t>(std::countr_zero(word))) - first % 64;
      const Instant at{kTick * (now_tick_ + ahead + 1)};
      return at > now ? at : now;
    }
    return kNever;
  }

 private:
  static std::int64_t tick_of(Instant at) noexcept { return at.time_since_epoch() / kTick; }
  static std::uint32_t slot_of(std::int64_t tick) noexcept {
    return static_cast<std::uint32_t>(tick) & (kSlots - 1);
  }

  static constexpr std::uint32_t kWords = kSlots / 64;
  [[nodiscard]] bool occupied(std::uint32_t slot) const noexcept {
    return (occupied_[slot / 64] >> (slot % 64) & 1U) != 0;
  }
  void clear_occupied(std::uint32_t slot) noexcept {
    occupied_[slot / 64] &= ~(std::uint64_t{1} << (slot % 64));
  }

  void place(TimerNode& node) noexcept {
    std::int64_t tick = tick_of(node.deadline_);
    if (tick < now_tick_) tick = now_tick_;
    if (tick >= now_tick_ + kSlots) tick = now_tick_ + kSlots - 1;
    node.placed_ = Instant{kTick * (tick + 1)};
    if (node.placed_ > node.deadline_) node.placed_ = node.deadline_;
    const std::uint32_t slot = slot_of(tick);
    occupied_[slot / 64] |= std::uint64_t{1} << (slot % 64);
    TimerNode& head = slots_[slot];
    node.prev_ = head.prev_;
    node.next_ = &head;
    head.prev_->next_ = &node;
    head.prev_ = &node;
  }

  std::int64_t now_tick_;
  std::array<TimerNode, kSlots> slots_;
  std::array<std::uint64_t, kWords> occupied_{};
};

}  // namespace lb
