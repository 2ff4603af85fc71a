#include "lb/proxy/access_log_file.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

namespace lb {
namespace {

Result<Fd> open_log(const std::string& path) {
  Fd fd{path == "-" ? ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)
                    : ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640)};
  if (!fd) return std::unexpected(system_error("open access log", path, errno));
  return fd;
}

bool may_stall(const Fd& fd) noexcept {
  struct stat info{};
  return ::fstat(fd.get(), &info) == 0 && !S_ISREG(info.st_mode);
}

/// The descriptor may be shared, so O_NONBLOCK is not ours to set. A pipe that is writable takes PIPE_BUF
/// bytes without blocking (pipe(7)).
bool takes_bytes(const Fd& fd) noexcept {
  pollfd p{.fd = fd.get(), .events = POLLOUT, .revents = 0};
  return ::poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0;
}

/// As many whole lines as PIPE_BUF holds; of a longer line its first PIPE_BUF bytes.
std::string_view first_piece(std::string_view lines) noexcept {
  if (lines.size() <= PIPE_BUF) return lines;
  const std::size_t end = lines.rfind('\n', PIPE_BUF - 1);
  return lines.substr(0, end == std::string_view::npos ? PIPE_BUF : end + 1);
}

}  // namespace

AccessLogFile::AccessLogFile(std::string path, Fd fd)
    : path_(std::move(path)), fd_(std::move(fd)), may_stall_(may_stall(fd_)) {}

Result<std::unique_ptr<AccessLogFile>> AccessLogFile::open(const std::string& path) {
  auto fd = open_log(path);
  if (!fd) return std::unexpected(fd.error());
  return std::unique_ptr<AccessLogFile>{new AccessLogFile{path, std::move(*fd)}};
}

void AccessLogFile::write(std::string_view lines) noexcept {
  const std::scoped_lock lock{mutex_};
  while (!lines.empty()) {
    const std::string_view piece = may_stall_ ? first_piece(lines) : lines;
    const bool stalled = may_stall_ && !takes_bytes(fd_);
    const ssize_t n = stalled ? -1 : ::write(fd_.get(), piece.data(), piece.size());
    if (n < 0 && !stalled && errno == EINTR) continue;
    if (n <= 0) {
      lost_bytes_.fetch_add(lines.size(), std::memory_order_relaxed);
      return;
    }
    lines.remove_prefix(static_cast<std::size_t>(n));
  }
}

Result<void> AccessLogFile::reopen() {
  if (path_ == "-") return {};
  auto fd = open_log(path_);
  if (!fd) return std::unexpected(fd.error());
  const std::scoped_lock lock{mutex_};
  fd_ = std::move(*fd);
  may_stall_ = may_stall(fd_);
  return {};
}

}  // namespace lb
