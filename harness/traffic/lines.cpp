#include "harness/traffic/lines.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "harness/traffic/clock.hpp"

namespace lb::traffic {

bool LineReader::read_some(int fd, const std::function<void(std::string_view)>& on_line) {
  char chunk[1U << 16U];
  const ssize_t n = ::read(fd, chunk, sizeof chunk);
  if (n < 0) return errno == EINTR || errno == EAGAIN;
  if (n == 0) return false;
  buffer_.append(chunk, static_cast<std::size_t>(n));
  std::size_t start = 0;
  for (std::size_t end = 0; (end = buffer_.find('\n', start)) != std::string::npos; start = end + 1) {
    std::string_view line(buffer_.data() + start, end - start);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) on_line(line);
  }
  buffer_.erase(0, start);
  return buffer_.size() <= kLineBytesMax;
}

void LineWriter::line(std::string_view text, bool droppable) {
  if (broken_ || (droppable && backlog_.size() - sent_ > kBacklogBytesMax)) return;
  backlog_.append(text);
  backlog_.push_back('\n');
  flush();
}

bool LineWriter::write_ready(int wait_ms) {
  // A pipe that poll calls writable takes PIPE_BUF bytes without blocking; so does a terminal, in practice.
  constexpr std::size_t kAtOnce = 4096;
  pollfd ready = {fd_, POLLOUT, 0};
  if (::poll(&ready, 1, wait_ms) <= 0) return false;
  const std::size_t n = std::min(kAtOnce, backlog_.size() - sent_);
  const ssize_t wrote = ::write(fd_, backlog_.data() + sent_, n);
  if (wrote < 0) {
    broken_ = errno != EINTR && errno != EAGAIN;
    return false;
  }
  sent_ += static_cast<std::size_t>(wrote);
  return true;
}

void LineWriter::flush() {
  while (!broken_ && pending() && write_ready(0)) {
  }
  if (!pending() || broken_) {
    backlog_.clear();
    sent_ = 0;
  } else if (sent_ > kBacklogBytesMax) {
    backlog_.erase(0, sent_);
    sent_ = 0;
  }
}

void LineWriter::finish(int wait_ms) {
  const Nanos end = now_ns() + static_cast<Nanos>(wait_ms) * kMilli;
  while (!broken_ && pending() && now_ns() < end) write_ready(50);
}

}  // namespace lb::traffic
