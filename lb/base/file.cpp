#include "lb/base/file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace lb {
namespace {

Result<void> write_all(int fd, std::string_view bytes, std::string_view name) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return std::unexpected(system_error("write", name, errno));
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

}  // namespace

Result<std::string> read_file(const std::string& path, std::size_t bytes_max) {
  const Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd) return std::unexpected(system_error("open", path, errno));
  return read_fd(fd.get(), path, bytes_max);
}

Result<std::string> read_fd(int fd, std::string_view name, std::size_t bytes_max) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return std::unexpected(system_error("stat", name, errno));
  if (S_ISDIR(info.st_mode)) return std::unexpected(system_error("read", name, EISDIR));
  const bool seekable = S_ISREG(info.st_mode);
  std::string bytes;
  for (;;) {
    constexpr std::size_t kStep = 64 * 1024;
    const std::size_t have = bytes.size();
    bytes.resize(have + kStep);
    const ssize_t n = seekable ? ::pread(fd, bytes.data() + have, kStep, static_cast<off_t>(have))
                               : ::read(fd, bytes.data() + have, kStep);
    if (n < 0 && errno == EINTR) {
      bytes.resize(have);
      continue;
    }
    if (n < 0) return std::unexpected(system_error("read", name, errno));
    bytes.resize(have + static_cast<std::size_t>(n));
    if (n == 0) return bytes;
    if (bytes.size() > bytes_max) {
      return std::unexpected(Error{.fault = Fault::config,
                                   .message = "read " + std::string{name} + ": larger than the limit of " +
                                              std::to_string(bytes_max) + " bytes",
                                   .os_error = EFBIG});
    }
  }
}

Result<void> write_file_atomic(const std::string& path, std::string_view bytes, unsigned mode) {
  std::string temporary = path + ".XXXXXX";
  const Fd fd{::mkostemp(temporary.data(), O_CLOEXEC)};
  if (!fd) return std::unexpected(system_error("create", temporary, errno));
  auto fail = [&](Error error) -> Result<void> {
    ::unlink(temporary.c_str());
    return std::unexpected(std::move(error));
  };
  if (auto written = write_all(fd.get(), bytes, temporary); !written) return fail(written.error());
  if (::fchmod(fd.get(), mode) != 0) return fail(system_error("chmod", temporary, errno));
  if (::fsync(fd.get()) != 0) return fail(system_error("fsync", temporary, errno));
  if (::rename(temporary.c_str(), path.c_str()) != 0) return fail(system_error("rename to", path, errno));
  return {};
}

Result<Fd> memory_file(const char* name, std::string_view bytes) {
  Fd fd{::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (!fd) return std::unexpected(system_error("memfd_create", name, errno));
  if (auto written = write_all(fd.get(), bytes, name); !written) return std::unexpected(written.error());
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
    return std::unexpected(system_error("seal", name, errno));
  }
  return fd;
}

}  // namespace lb
