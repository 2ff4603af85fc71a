#include "lb/proxy/access_log_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace lb {
namespace {

Result<Fd> open_log(const std::string& path) {
  Fd fd{path == "-" ? ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)
                    : ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640)};
  if (!fd) return std::unexpected(system_error("open access log", path, errno));
  return fd;
}

}  // namespace

Result<std::unique_ptr<AccessLogFile>> AccessLogFile::open(const std::string& path) {
  auto fd = open_log(path);
  if (!fd) return std::unexpected(fd.error());
  return std::unique_ptr<AccessLogFile>{new AccessLogFile{path, std::move(*fd)}};
}

void AccessLogFile::write(std::string_view lines) noexcept {
  const std::scoped_lock lock{mutex_};
  while (!lines.empty()) {
    const ssize_t n = ::write(fd_.get(), lines.data(), lines.size());
    if (n < 0 && errno == EINTR) continue;
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
  return {};
}

}  // namespace lb
