#include "lb/supervisor/probe_run.hpp"

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <system_error>
#include <utility>

namespace lb {

bool ProbeRun::begin(Work work) {
  if (thread_.joinable()) return false;
  done_ = Fd{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
  if (!done_) return false;
  // Signals belong to the main thread's signalfd.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  try {
    thread_ = std::thread{[this, work = std::move(work)] {
      found_ = work();
      const std::uint64_t one = 1;
      [[maybe_unused]] const ssize_t n = ::write(done_.get(), &one, sizeof one);
    }};
  } catch (const std::system_error&) {
    done_.reset();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread_.joinable();
}

std::vector<ListenerProbe> ProbeRun::finish() {
  if (thread_.joinable()) thread_.join();
  done_.reset();
  return std::exchange(found_, {});
}

}  // namespace lb
