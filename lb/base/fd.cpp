#include "lb/base/fd.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace lb {

void Fd::reset(int fd) noexcept {
  if (fd_ >= 0) {
    const int saved = errno;
    ::close(fd_);
    errno = saved;
  }
  fd_ = fd;
}

Fd Fd::duplicate() const noexcept {
  return Fd{::fcntl(fd_, F_DUPFD_CLOEXEC, 0)};
}

}  // namespace lb
