#include "harness/traffic/loop.hpp"

#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>

namespace lb::traffic {

Result<Loop> Loop::make() {
  Loop loop;
  loop.epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!loop.epoll_) return std::unexpected(system_error("epoll_create1", "", errno));
  return loop;
}

bool Loop::watch_edges(int fd, Token token) noexcept {
  epoll_event event = {};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u64 = token;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

bool Loop::watch_readable(int fd, Token token) noexcept {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = token;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void Loop::forget(int fd) noexcept {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

int Loop::wait(Nanos until) noexcept {
  const Nanos next = timers_.empty() ? until : std::min(until, timers_.top().at);
  const Nanos now = now_ns();
  const Nanos left = next > now ? next - now : 0;
  const timespec timeout = {static_cast<time_t>(left / kSecond), static_cast<long>(left % kSecond)};
  const int count =
      ::epoll_pwait2(epoll_.get(), events_.data(), static_cast<int>(events_.size()), &timeout, nullptr);
  return count < 0 ? 0 : count;
}

Result<Fd> signal_descriptor(std::initializer_list<int> extra) {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  for (const int signal : extra) sigaddset(&set, signal);
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0)
    return std::unexpected(system_error("sigprocmask", "", errno));
  Fd fd(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd) return std::unexpected(system_error("signalfd", "", errno));
  return fd;
}

int next_signal(int fd) noexcept {
  signalfd_siginfo info = {};
  if (::read(fd, &info, sizeof info) != static_cast<ssize_t>(sizeof info)) return 0;
  return static_cast<int>(info.ssi_signo);
}

}  // namespace lb::traffic
