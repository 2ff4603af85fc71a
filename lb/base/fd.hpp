// Fd: the one owner of a file descriptor. Move-only; closes at destruction. Any thread, one at a time.
// It does not delete the descriptor from an epoll set: with shared descriptions that must happen first
// (see net/event_loop.hpp).
#pragma once

#include <utility>

namespace lb {

class Fd final {
 public:
  Fd() noexcept = default;
  explicit Fd(int fd) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  /// Closes the present descriptor, if any, and takes `fd`. errno is preserved.
  void reset(int fd = -1) noexcept;
  /// A second descriptor for the same open file description, close-on-exec; empty when out of fds.
  [[nodiscard]] Fd duplicate() const noexcept;

 private:
  int fd_ = -1;
};

}  // namespace lb
