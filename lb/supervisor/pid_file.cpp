#include "lb/supervisor/pid_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <string_view>

#include "lb/base/file.hpp"

namespace lb {
namespace {

constexpr std::size_t kPidBytesMax = 32;
constexpr int kClaimTries = 100;  // each lost try means another process came or went meanwhile

/// The file's pid; 0 for an empty file; nothing when it holds something else.
std::optional<pid_t> pid_in(int fd) {
  const auto bytes = read_fd(fd, "pid file", kPidBytesMax);
  if (!bytes) return std::nullopt;
  std::string_view text{*bytes};
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  if (text.empty()) return 0;
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (error != std::errc{} || end != text.data() + text.size() || pid < 0) return std::nullopt;
  return pid;
}

bool same_file(int fd, const std::string& path) {
  struct stat held{}, named{};
  return ::fstat(fd, &held) == 0 && ::stat(path.c_str(), &named) == 0 && held.st_dev == named.st_dev &&
         held.st_ino == named.st_ino;
}

Error held_by_another(const std::string& path, std::optional<pid_t> pid, const char* what) {
  const std::string who = pid && *pid > 0 ? "pid " + std::to_string(*pid) : std::string{"another process"};
  return Error{.message = what + std::string{": "} + who + " holds the pid file " + path,
               .os_error = EWOULDBLOCK};
}

Result<void> write_pid(int fd, const std::string& path) {
  const std::string text = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd, 0) != 0 ||
      ::pwrite(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return std::unexpected(system_error("write the pid file", path, errno));
  }
  return {};
}

/// Creates and locks `path`; verified to be the file of that name still, since the last holder may have
/// renamed or removed it between open and lock.
Result<Fd> lock_starting_file(const std::string& path) {
  for (int i = 0; i < kClaimTries; ++i) {
    Fd fd{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644)};
    if (!fd) return std::unexpected(system_error("create the pid file", path, errno));
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return std::unexpected(system_error("lock the pid file", path, errno));
      const auto pid = pid_in(fd.get());
      if (!same_file(fd.get(), path)) continue;
      return std::unexpected(held_by_another(path, pid, "already starting"));
    }
    if (same_file(fd.get(), path)) return fd;
  }
  return std::unexpected(
      Error{.message = "lock the pid file " + path + ": it keeps changing hands", .retryable = true});
}

/// Whether `path` is free to be replaced: absent, or a pid file that nobody holds. Its pid, if one was there.
Result<std::optional<pid_t>> check_existing(const std::string& path) {
  const Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd && errno == ENOENT) return std::optional<pid_t>{};
  if (!fd) return std::unexpected(system_error("open the pid file", path, errno));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return std::unexpected(system_error("stat the pid file", path, errno));
  const auto pid = S_ISREG(info.st_mode) ? pid_in(fd.get()) : std::nullopt;
  if (::flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return std::unexpected(held_by_another(path, pid, "already running"));
  }
  if (!pid) {
    return std::unexpected(
        Error{.message = "pid file " + path + ": the file exists and holds no pid; it is left alone",
              .os_error = EEXIST});
  }
  return pid;
}

}  // namespace

Result<PidFile> PidFile::claim(const std::string& path) {
  auto fd = lock_starting_file(path + ".starting");
  if (!fd) return std::unexpected(fd.error());
  PidFile file{path, std::move(*fd)};
  auto existing = check_existing(path);
  if (!existing) return std::unexpected(existing.error());
  file.stale_ = *existing;
  if (auto written = write_pid(file.fd_.get(), path); !written) return std::unexpected(written.error());
  return file;
}

PidFile::PidFile(PidFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::move(other.fd_)),
      published_(other.published_),
      stale_(other.stale_) {}

PidFile::~PidFile() {
  if (!fd_) return;  // moved from
  const std::string path = published_ ? path_ : starting_path();
  if (same_file(fd_.get(), path)) ::unlink(path.c_str());
}

Result<void> PidFile::publish() {
  if (published_) return {};
  if (::fsync(fd_.get()) != 0) return std::unexpected(system_error("fsync the pid file", path_, errno));
  if (::rename(starting_path().c_str(), path_.c_str()) != 0) {
    return std::unexpected(system_error("rename the pid file to", path_, errno));
  }
  published_ = true;
  return {};
}

}  // namespace lb
