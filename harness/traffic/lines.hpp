// Line-wise talk with the driver: commands in, answers and events out. Neither direction ever blocks the
// load: a driver that does not read loses progress events, never answers. One thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace lb::traffic {

class LineReader final {
 public:
  static constexpr std::size_t kLineBytesMax = 4U << 20U;

  /// Reads what is there (at most 64 KiB) from `fd` and calls on_line for each whole line. False at EOF or
  /// error, and for a line beyond the limit. Call only when `fd` is readable: it may be a blocking
  /// descriptor.
  bool read_some(int fd, const std::function<void(std::string_view)>& on_line);

 private:
  std::string buffer_;
};

class LineWriter final {
 public:
  static constexpr std::size_t kBacklogBytesMax = 1U << 20U;

  explicit LineWriter(int fd) noexcept : fd_(fd) {}

  /// Queues a line. `droppable` lines are left out while the backlog is large.
  void line(std::string_view text, bool droppable = false);
  /// Writes what can be written without blocking.
  void flush();
  /// Before exit: waits for the reader, at most `wait_ms`.
  void finish(int wait_ms = 2000);
  [[nodiscard]] bool pending() const noexcept { return sent_ < backlog_.size(); }

 private:
  bool write_ready(int wait_ms);
  int fd_;
  std::string backlog_;
  std::size_t sent_ = 0;
  bool broken_ = false;
};

}  // namespace lb::traffic
