// One epoll set and one heap of timers: all that a tool's single thread waits on. Tokens are the caller's
// (slab handles, mostly): an event for an object that is gone resolves to nothing there. Timers are never
// cancelled; the caller recognises a stale one by token and tag. Stop signals arrive through it too.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <queue>
#include <vector>

#include "harness/traffic/clock.hpp"
#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"
#include "lb/base/slab.hpp"

namespace lb::traffic {

using Token = std::uint64_t;

/// Handles of connections; indices stay below 2^31, so that tokens with the top bit set are the caller's own.
inline Token token_of(Handle handle) noexcept {
  return (static_cast<Token>(handle.index) << 32U) | handle.generation;
}
inline Handle handle_of(Token token) noexcept {
  return {static_cast<std::uint32_t>(token >> 32U), static_cast<std::uint32_t>(token)};
}
inline constexpr Token kOwnToken = Token{1} << 63U;
inline constexpr std::uint32_t kConnectionsMax = 1U << 20U;

struct Timer {
  Nanos at;
  Token token;
  std::uint32_t tag;
  friend bool operator<(const Timer& a, const Timer& b) noexcept { return a.at > b.at; }  // earliest on top
};

class Loop final {
 public:
  static Result<Loop> make();

  /// Edge-triggered, both directions and RDHUP: the owner tries first, and reads to the end on a hang-up.
  [[nodiscard]] bool watch_edges(int fd, Token token) noexcept;
  /// Level-triggered readability: listeners, stdin, signals.
  [[nodiscard]] bool watch_readable(int fd, Token token) noexcept;
  void forget(int fd) noexcept;

  void at(Nanos when, Token token, std::uint32_t tag) { timers_.push(Timer{when, token, tag}); }
  [[nodiscard]] std::size_t timers() const noexcept { return timers_.size(); }

  /// Waits at most until the first timer or `until`, then calls on_io(token, events) for each event and
  /// on_timer(token, tag) for each timer that is due.
  template <class OnIo, class OnTimer>
  void turn(Nanos until, OnIo&& on_io, OnTimer&& on_timer) {
    const int count = wait(until);
    for (int i = 0; i < count; ++i) on_io(events_[i].data.u64, events_[i].events);
    const Nanos now = now_ns();
    while (!timers_.empty() && timers_.top().at <= now) {
      const Timer due = timers_.top();
      timers_.pop();
      on_timer(due.token, due.tag);
    }
  }

 private:
  Loop() = default;
  int wait(Nanos until) noexcept;

  Fd epoll_;
  std::priority_queue<Timer> timers_;
  std::array<epoll_event, 256> events_ = {};
};

/// SIGTERM, SIGINT and those in `extra` as a descriptor (signalfd), blocked otherwise; SIGPIPE is ignored.
Result<Fd> signal_descriptor(std::initializer_list<int> extra = {});

/// The next signal waiting on it, or 0.
int next_signal(int fd) noexcept;

}  // namespace lb::traffic
