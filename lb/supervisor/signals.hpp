// SignalFd: the signals of a process as events of its main loop (signalfd(2)). Blocks them in the calling
// thread, so it is made before any other thread is started and all of them inherit the mask. One thread.
#pragma once

#include <initializer_list>
#include <optional>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"

namespace lb {

struct ReceivedSignal {
  int number = 0;
  int sender_pid = 0;  // 0: the kernel
};

class SignalFd final {
 public:
  /// Also ignores SIGPIPE: a peer that is gone is an error of write(2), not the end of the process.
  static Result<SignalFd> create(std::initializer_list<int> signals);
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  /// The next pending one; lower numbers come first.
  std::optional<ReceivedSignal> next();

 private:
  explicit SignalFd(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

/// "SIGHUP".
const char* signal_name(int number) noexcept;

}  // namespace lb
