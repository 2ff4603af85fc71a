#include "lb/net/event_loop.hpp"

#include <algorithm>
#include <cerrno>
#include <limits>

namespace lb {

Result<EventLoop> EventLoop::create() {
  Fd epoll{::epoll_create1(EPOLL_CLOEXEC)};
  if (!epoll) return std::unexpected(system_error("epoll_create1", "", errno));
  return EventLoop{std::move(epoll)};
}

Result<void> EventLoop::add(int fd, std::uint32_t events, Token token) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.u64 = token.pack();
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return {};
  return std::unexpected(system_error("epoll_ctl", "add", errno));
}

void EventLoop::modify(int fd, std::uint32_t events, Token token) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.u64 = token.pack();
  const int status = ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
  LB_ASSERT(status == 0);
}

void EventLoop::remove(int fd) noexcept {
  const int status = ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  LB_ASSERT(status == 0);
}

std::span<const epoll_event> EventLoop::wait(Instant now, Instant until) noexcept {
  int timeout_ms = -1;
  if (until <= now) {
    timeout_ms = 0;
  } else if (until != kNever) {
    const auto wait = std::chrono::ceil<Milliseconds>(until - now).count();
    timeout_ms = static_cast<int>(std::min<std::int64_t>(wait, std::numeric_limits<int>::max()));
  }
  const int count = ::epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_.size()), timeout_ms);
  if (count < 0) {
    LB_ASSERT(errno == EINTR);
    return {};
  }
  return {events_.data(), static_cast<std::size_t>(count)};
}

}  // namespace lb
