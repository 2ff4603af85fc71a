#include "lb/proxy/self_probe.hpp"

#include <netinet/in.h>
#include <poll.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "lb/base/fd.hpp"

namespace lb {
namespace {

/// Binds the probing socket to an address of its own before it connects, so that it can be announced: the
/// one it connects to with a free port; of a Unix socket an abstract name that the kernel makes up.
Result<std::string> bind_own(int fd, const ProbeTarget& target) {
  sockaddr_storage own = target.address;
  socklen_t size = target.size;
  if (own.ss_family == AF_INET) {
    reinterpret_cast<sockaddr_in*>(&own)->sin_port = 0;
  } else if (own.ss_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(&own)->sin6_port = 0;
  } else {
    size = sizeof(sa_family_t);  // unix(7): autobind
  }
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&own), size) != 0) {
    return std::unexpected(system_error("bind", "", errno));
  }
  size = sizeof own;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&own), &size) != 0) {
    return std::unexpected(system_error("getsockname", "", errno));
  }
  return std::string{reinterpret_cast<const char*>(&own), size};
}

/// 0, or the error that the connection ended with.
int connect_until(int fd, const ProbeTarget& target, Instant until) {
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&target.address), target.size) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  pollfd entry{fd, POLLOUT, 0};
  const auto left = std::max<std::int64_t>(0, to_ms(until - monotonic_now()));
  if (::poll(&entry, 1, static_cast<int>(left)) != 1) return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

}  // namespace

Result<ProbeTarget> probe_target(std::string listener, int listening_fd) {
  ProbeTarget target{.listener = std::move(listener), .size = sizeof(sockaddr_storage)};
  if (::getsockname(listening_fd, reinterpret_cast<sockaddr*>(&target.address), &target.size) != 0) {
    return std::unexpected(system_error("getsockname", target.listener, errno));
  }
  if (target.address.ss_family == AF_INET) {
    auto& in = reinterpret_cast<sockaddr_in&>(target.address);
    if (in.sin_addr.s_addr == htonl(INADDR_ANY)) in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  } else if (target.address.ss_family == AF_INET6) {
    auto& in6 = reinterpret_cast<sockaddr_in6&>(target.address);
    if (IN6_IS_ADDR_UNSPECIFIED(&in6.sin6_addr)) in6.sin6_addr = in6addr_loopback;
  }
  return target;
}

ListenerProbe probe_listener(ProbeDesk& desk, const ProbeTarget& target, Instant until) {
  ListenerProbe probe{.listener = target.listener};
  const Instant begin = monotonic_now();
  const Fd fd{::socket(target.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  const auto own = fd ? bind_own(fd.get(), target)
                      : Result<std::string>{std::unexpected(system_error("socket", "", errno))};
  if (!own) {
    // Nothing is known of the listener by that: it is we who cannot ask.
    probe.ok = true;
    probe.error = "not probed: " + own.error().message;
    return probe;
  }
  desk.expect(*own);
  if (const int error = connect_until(fd.get(), target, until); error != 0) {
    probe.error = system_error("connect", target.listener, error).message;
  } else if (!desk.wait(*own, until)) {
    probe.error = target.listener + " took the connection, and none of its workers accepted it";
  } else {
    probe.ok = true;
  }
  desk.forget(*own);
  probe.us = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(monotonic_now() - begin).count());
  return probe;
}

}  // namespace lb
