// AccessLogFile: where access lines go. Shared by the workers, each of which collects lines in a buffer of
// its own and hands over many at once; opened O_APPEND, so that generations can share it. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"

namespace lb {

class AccessLogFile final {
 public:
  /// `path` "-" is standard output.
  static Result<std::unique_ptr<AccessLogFile>> open(const std::string& path);

  /// Whole lines. What cannot be written (a full disk, a pipe that nobody empties) is lost and counted:
  /// logging never stops traffic.
  void write(std::string_view lines) noexcept;
  Result<void> reopen();
  [[nodiscard]] std::uint64_t lost_bytes() const noexcept {
    return lost_bytes_.load(std::memory_order_relaxed);
  }

 private:
  AccessLogFile(std::string path, Fd fd);
  std::string path_;
  std::mutex mutex_;
  Fd fd_;
  bool may_stall_ = false;  // a pipe or terminal, whose reader may have stopped
  std::atomic<std::uint64_t> lost_bytes_{0};
};

}  // namespace lb
