#include "lb/admin/control_client.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "lb/base/fd.hpp"
#include "lb/base/unix_path.hpp"

namespace lb {
namespace {

Error timed_out(Duration timeout) {
  return {.message = "no answer within " + std::to_string(to_ms(timeout)) + " ms",
          .os_error = ETIMEDOUT,
          .retryable = true};
}

bool wait_for(int fd, short events, Instant until) {
  for (;;) {
    const auto left = std::min<std::int64_t>(to_ms(until - monotonic_now()) + 1, 60'000);
    if (left <= 0) return false;
    pollfd entry{fd, events, 0};
    const int n = ::poll(&entry, 1, static_cast<int>(left));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return false;
  }
}

/// connect() to a listener whose queue is full waits for as long as a send may (unix(7), socket(7):
/// SO_SNDTIMEO).
void limit_sending(int fd, Duration timeout) {
  const auto us =
      std::max<std::int64_t>(std::chrono::duration_cast<std::chrono::microseconds>(timeout).count(), 1);
  const timeval limit{.tv_sec = us / 1'000'000, .tv_usec = us % 1'000'000};
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

}  // namespace

Result<std::string> ask_control(const std::string& path, const ControlQuery& query, Duration timeout) {
  const Instant until = monotonic_now() + timeout;
  const auto address = UnixPath::of(path);
  if (!address) return std::unexpected(address.error());
  const Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!fd) return std::unexpected(system_error("socket", "", errno));
  limit_sending(fd.get(), timeout);
  if (::connect(fd.get(), address->get(), UnixPath::size()) != 0) {
    if (errno == EAGAIN) return std::unexpected(timed_out(timeout));
    return std::unexpected(system_error("connect to", path, errno));
  }
  const std::string line = control_request_line(query);
  if (::send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) {
    if (errno == EAGAIN) return std::unexpected(timed_out(timeout));
    return std::unexpected(system_error("write to", path, errno));
  }
  std::string answer;
  std::size_t end = std::string::npos;
  char buffer[64 * 1024];
  while (end == std::string::npos) {
    if (!wait_for(fd.get(), POLLIN, until)) return std::unexpected(timed_out(timeout));
    const ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return std::unexpected(system_error("read from", path, errno));
    if (n == 0) return std::unexpected(Error{.message = path + ": the balancer ended without an answer"});
    const auto newline = std::string_view{buffer, static_cast<std::size_t>(n)}.find('\n');
    if (newline != std::string_view::npos) end = answer.size() + newline;
    answer.append(buffer, static_cast<std::size_t>(n));
    if (answer.size() > kControlAnswerBytesMax)
      return std::unexpected(Error{.message = path + ": the answer is too long"});
  }
  answer.resize(end);
  return answer;
}

}  // namespace lb
