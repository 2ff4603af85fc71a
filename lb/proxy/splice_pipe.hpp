// SplicePipe: a kernel pipe through which splice(2) moves bytes from one socket to another without copying
// them into the process. PipePool: the pipes of one worker. A pipe is empty while it is in the pool; one that
// holds bytes for a socket that would not take them waits in that socket's Outbox, and is closed with it. One
// thread. The pool outlives its pipes.
// Sources: splice(2), pipe(7).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/base/time.hpp"

namespace lb {

class PipePool;

class SplicePipe final {
 public:
  static constexpr int kCapacityBytes = 256 * 1024;  // asked for; the kernel's limits may allow less
  static constexpr int kCapacityBytesMin = 64 * 1024;

  /// nullptr when out of descriptors, or when the kernel grants less than kCapacityBytesMin (a user without
  /// privileges has /proc/sys/fs/pipe-user-pages-soft for all pipes).
  static std::unique_ptr<SplicePipe> open();
  SplicePipe(const SplicePipe&) = delete;
  SplicePipe& operator=(const SplicePipe&) = delete;
  ~SplicePipe();

  /// Takes at most `bytes_max` bytes from a non-blocking socket; only for an empty pipe. As splice(2): 0 is
  /// the socket's end of file, -1 with EAGAIN that it has nothing.
  std::ptrdiff_t fill_from(int socket, std::size_t bytes_max) noexcept;
  /// Gives the socket what it takes now. False, with errno: it is broken, or splice(2) does not work with it.
  bool drain_into(int socket) noexcept;
  /// Copies out at most `size` bytes; as read(2).
  std::ptrdiff_t read_into(char* buffer, std::size_t size) noexcept;
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

  /// Whether errno says that splice(2) itself is not to be had, rather than that a peer is gone.
  static bool unsupported(int os_error) noexcept;

 private:
  friend class PipePool;
  SplicePipe(Fd read_end, Fd write_end) noexcept
      : read_end_(std::move(read_end)), write_end_(std::move(write_end)) {}
  Fd read_end_;
  Fd write_end_;
  std::size_t bytes_ = 0;
  PipePool* waits_in_ = nullptr;  // counted there among those that wait
};

class PipePool final {
 public:
  static constexpr std::size_t kIdleMax = 16;  // kept open for reuse
  /// Pipes that hold bytes for a slow peer: two descriptors and up to kCapacityBytes of the kernel's memory
  /// each. What would be one more is copied into the process.
  static constexpr std::uint32_t kWaitingMax = 64;
  static constexpr Duration kPauseAfterFailure = Milliseconds{1000};

  /// An empty pipe. nullptr: there is none to be had (not asked again for kPauseAfterFailure), or disabled.
  std::unique_ptr<SplicePipe> acquire(Instant now);
  /// Takes an empty pipe back.
  void release(std::unique_ptr<SplicePipe> pipe) noexcept;
  /// Counts `pipe` among those that wait, until it is released or destroyed. False: there are enough.
  bool let_wait(SplicePipe& pipe) noexcept;
  /// Closes what is idle: descriptors are wanted for something better.
  void shed(Instant now) noexcept;
  /// splice(2) does not work here.
  void disable() noexcept { not_before_ = kNever; }

  [[nodiscard]] std::size_t idle() const noexcept { return idle_.size(); }
  [[nodiscard]] std::uint32_t waiting() const noexcept { return waiting_; }

 private:
  friend class SplicePipe;
  std::vector<std::unique_ptr<SplicePipe>> idle_;
  std::uint32_t waiting_ = 0;
  Instant not_before_ = Instant::min();
};

}  // namespace lb
