// UnixPath: the address of a Unix socket for bind(2) and connect(2), also when its path is longer than the
// 107 bytes of sockaddr_un: then by way of the folder's descriptor, /proc/self/fd/N/NAME. Keep it until the
// call.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"

namespace lb {

class UnixPath final {
 public:
  /// Fails when the folder cannot be opened, or the file's name alone is too long.
  static Result<UnixPath> of(const std::string& path);

  [[nodiscard]] const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&address_); }
  [[nodiscard]] static constexpr socklen_t size() noexcept { return sizeof(sockaddr_un); }

 private:
  sockaddr_un address_{};
  Fd folder_;
};

}  // namespace lb
