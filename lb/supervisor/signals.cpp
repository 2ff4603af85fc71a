#include "lb/supervisor/signals.hpp"

#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace lb {

Result<SignalFd> SignalFd::create(std::initializer_list<int> signals) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : signals) ::sigaddset(&set, signal);
  // What the parent blocked is none of our business: exactly these are blocked.
  if (const int error = ::pthread_sigmask(SIG_SETMASK, &set, nullptr); error != 0) {
    return std::unexpected(system_error("pthread_sigmask", "", error));
  }
  std::signal(SIGPIPE, SIG_IGN);
  Fd fd{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
  if (!fd) return std::unexpected(system_error("signalfd", "", errno));
  return SignalFd{std::move(fd)};
}

std::optional<ReceivedSignal> SignalFd::next() {
  signalfd_siginfo info{};
  for (;;) {
    const ssize_t n = ::read(fd_.get(), &info, sizeof info);
    if (n == static_cast<ssize_t>(sizeof info)) {
      return ReceivedSignal{static_cast<int>(info.ssi_signo), static_cast<int>(info.ssi_pid)};
    }
    if (n < 0 && errno == EINTR) continue;
    return std::nullopt;
  }
}

const char* signal_name(int number) noexcept {
  switch (number) {
    case SIGHUP:
      return "SIGHUP";
    case SIGINT:
      return "SIGINT";
    case SIGTERM:
      return "SIGTERM";
    case SIGUSR1:
      return "SIGUSR1";
    case SIGUSR2:
      return "SIGUSR2";
    case SIGCHLD:
      return "SIGCHLD";
    default:
      return "signal";
  }
}

}  // namespace lb
