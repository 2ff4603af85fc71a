#include "lb/net/listener.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace lb {
namespace {

Result<void> set_option(int fd, int level, int name, int value, const char* what) {
  if (::setsockopt(fd, level, name, &value, sizeof value) == 0) return {};
  return std::unexpected(system_error("setsockopt", what, errno));
}

Result<SocketAddress> local_address(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
    return std::unexpected(system_error("getsockname", "", errno));
  }
  return SocketAddress{reinterpret_cast<const sockaddr*>(&storage), size};
}

Result<Fd> bound_socket(const SocketAddress& address, bool reuse_port) {
  Fd fd{::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (!fd) return std::unexpected(system_error("socket", "", errno));
  if (address.family() != AF_UNIX) {
    if (auto set = set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR"); !set) {
      return std::unexpected(set.error());
    }
    if (reuse_port) {
      if (auto set = set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT"); !set) {
        return std::unexpected(set.error());
      }
    }
    if (auto set = set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY"); !set) {
      return std::unexpected(set.error());
    }
  }
  if (address.family() == AF_INET6) {
    // "[::]:80" and "0.0.0.0:80" stand beside each other in one configuration.
    if (auto set = set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY"); !set) {
      return std::unexpected(set.error());
    }
  }
  if (::bind(fd.get(), address.get(), address.size()) != 0) {
    return std::unexpected(system_error("bind", address.text(), errno));
  }
  return fd;
}

Result<Fd> listening_socket(const SocketAddress& address, int backlog) {
  auto fd = bound_socket(address, true);
  if (!fd) return fd;
  if (::listen(fd->get(), backlog) != 0)
    return std::unexpected(system_error("listen", address.text(), errno));
  return fd;
}

/// Removes the file of a Unix socket that nobody listens on any more; keeps anything else.
Result<void> remove_stale_socket_file(const SocketAddress& address, const std::string& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return {};
  if (!S_ISSOCK(info.st_mode)) {
    return std::unexpected(
        Error{.message = "bind unix:" + path + ": the file exists and is not a socket", .os_error = EEXIST});
  }
  const Fd probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (!probe) return std::unexpected(system_error("socket", "", errno));
  if (::connect(probe.get(), address.get(), address.size()) == 0 || errno == EAGAIN) {
    return std::unexpected(system_error("bind", "unix:" + path, EADDRINUSE));
  }
  if (errno == ECONNREFUSED) ::unlink(path.c_str());
  return {};
}

Result<std::vector<ListeningSocket>> open_shards_at(const Endpoint& endpoint, SocketAddress address,
                                                    std::uint32_t shards, int backlog) {
  std::vector<ListeningSocket> sockets;
  for (std::uint32_t i = 0; i < shards; ++i) {
    auto fd = listening_socket(address, backlog);
    if (!fd) return std::unexpected(fd.error());
    if (i == 0) {
      auto local = local_address(fd->get());
      if (!local) return std::unexpected(local.error());
      address = *local;
    }
    sockets.push_back(ListeningSocket{.endpoint = endpoint, .fd = std::move(*fd)});
  }
  return sockets;
}

}  // namespace

Result<std::vector<ListeningSocket>> open_listener_shards(const Endpoint& endpoint, std::uint32_t shards,
                                                          const ListenOptions& options) {
  LB_ASSERT(shards >= 1 && shards <= kShardsMax);
  auto address = SocketAddress::from_literal(endpoint);
  if (!address) return std::unexpected(address.error());
  if (endpoint.unix_socket) {
    if (auto removed = remove_stale_socket_file(*address, endpoint.host); !removed) {
      return std::unexpected(removed.error());
    }
    return open_shards_at(endpoint, *address, 1, options.backlog);
  }
  if (options.probe_in_use && endpoint.port != 0) {
    // Without SO_REUSEPORT a bind fails beside any listener; never listening, the trial takes no connection.
    if (auto trial = bound_socket(*address, false); !trial) return std::unexpected(trial.error());
  }
  return open_shards_at(endpoint, *address, shards, options.backlog);
}

Result<std::vector<ListeningSocket>> open_more_shards(const Endpoint& endpoint, int existing,
                                                      std::uint32_t shards, const ListenOptions& options) {
  if (endpoint.unix_socket || shards == 0) return std::vector<ListeningSocket>{};
  auto address = local_address(existing);
  if (!address) return std::unexpected(address.error());
  return open_shards_at(endpoint, *address, shards, options.backlog);
}

Result<std::string> local_address_text(int fd) {
  auto address = local_address(fd);
  if (!address) return std::unexpected(address.error());
  return address->text();
}

}  // namespace lb
