// EventLoop: one epoll set of one worker thread. Edge-triggered for connections, level-triggered for
// listeners. It only waits and reports; what an event means is the worker's business. A Token names the
// kind and the slab handle of its object, so an event for a retired object resolves to nothing.
// Sources: epoll(7); the rules about shared open file descriptions are in lb/README.md.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <span>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"
#include "lb/base/slab.hpp"
#include "lb/base/time.hpp"

namespace lb {

enum class TokenKind : std::uint8_t { wakeup, listener, client, upstream };

/// Packed into epoll_event.data.u64: 32 bits of index, 28 of generation, 4 of kind. The generation wraps
/// at 2^28: a stale event lives for one turn, an index is not reused that often within one.
struct Token {
  TokenKind kind = TokenKind::wakeup;
  Handle handle;

  [[nodiscard]] std::uint64_t pack() const noexcept {
    return std::uint64_t{handle.index} | (std::uint64_t{handle.generation} << 32U) |
           (std::uint64_t{static_cast<std::uint8_t>(kind)} << 60U);
  }
  static Token unpack(std::uint64_t bits) noexcept {
    return Token{static_cast<TokenKind>(bits >> 60U),
                 Handle{static_cast<std::uint32_t>(bits),
                        static_cast<std::uint32_t>(bits >> 32U) & Handle::kGenerationMask}};
  }
};

class EventLoop final {
 public:
  static constexpr std::size_t kEventsMax = 256;  // a turn

  static Result<EventLoop> create();

  /// Fails when out of memory or of watches (ENOMEM, ENOSPC).
  Result<void> add(int fd, std::uint32_t events, Token token) noexcept;
  void modify(int fd, std::uint32_t events, Token token) noexcept;
  /// Must come before close(2) for a descriptor whose open file description someone else holds too.
  void remove(int fd) noexcept;

  /// Waits until an event or `until` (kNever: for ever), seen from `now`. The span is valid until the next
  /// call. EINTR gives an empty span.
  std::span<const epoll_event> wait(Instant now, Instant until) noexcept;

 private:
  explicit EventLoop(Fd epoll) noexcept : epoll_(std::move(epoll)) {}
  Fd epoll_;
  std::array<epoll_event, kEventsMax> events_{};
};

}  // namespace lb
