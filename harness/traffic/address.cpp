#include "harness/traffic/address.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

namespace lb::traffic {
namespace {

std::unexpected<Error> bad(std::string_view text, std::string_view why) {
  return std::unexpected(
      Error{Fault::config, "address '" + std::string(text) + "': " + std::string(why), 0, false});
}

void set_option(int fd, int level, int name, int value) noexcept {
  ::setsockopt(fd, level, name, &value, sizeof value);
}

Result<Address> parse_unix(std::string_view text, std::string_view path) {
  sockaddr_un un = {};
  un.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof un.sun_path)
    return bad(text, "the path must have 1 to 107 bytes");
  std::memcpy(un.sun_path, path.data(), path.size());
  Address address;
  std::memcpy(&address.storage, &un, sizeof un);
  address.length = sizeof un;
  address.text = text;
  return address;
}

}  // namespace

bool Address::is_loopback_v4() const noexcept {
  if (family() != AF_INET) return false;
  sockaddr_in in = {};
  std::memcpy(&in, &storage, sizeof in);
  return (ntohl(in.sin_addr.s_addr) >> 24U) == 127;
}

Result<Address> parse_address(std::string_view text) {
  if (text.starts_with("unix:")) return parse_unix(text, text.substr(5));
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad(text, "expected HOST:PORT, [V6]:PORT or unix:PATH");
  std::string_view host = text.substr(0, colon);
  const std::string_view port_text = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  if (error != std::errc{} || end != port_text.data() + port_text.size())
    return bad(text, "the port is not 0..65535");
  Address address;
  address.text = text;
  if (host.starts_with('[') && host.ends_with(']')) {
    sockaddr_in6 in6 = {};
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(port);
    host = host.substr(1, host.size() - 2);
    if (::inet_pton(AF_INET6, std::string(host).c_str(), &in6.sin6_addr) != 1)
      return bad(text, "not an IPv6 address");
    std::memcpy(&address.storage, &in6, sizeof in6);
    address.length = sizeof in6;
    return address;
  }
  sockaddr_in in = {};
  in.sin_family = AF_INET;
  in.sin_port = htons(port);
  if (host == "localhost") host = "127.0.0.1";
  if (::inet_pton(AF_INET, std::string(host).c_str(), &in.sin_addr) != 1)
    return bad(text, "not an IPv4 address");
  std::memcpy(&address.storage, &in, sizeof in);
  address.length = sizeof in;
  return address;
}

Result<Listening> listen_on(const Address& address, bool reuse_port) {
  constexpr int kBacklog = 4096;
  Listening made;
  made.fd.reset(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int fd = made.fd.get();
  if (fd < 0) return std::unexpected(system_error("socket", address.text, errno));
  if (address.is_unix()) {
    sockaddr_un un = {};
    std::memcpy(&un, &address.storage, sizeof un);
    ::unlink(un.sun_path);
  } else {
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (reuse_port) set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  }
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) != 0) {
    return std::unexpected(system_error("bind", address.text, errno));
  }
  if (::listen(fd, kBacklog) != 0) return std::unexpected(system_error("listen", address.text, errno));
  made.port = local_port(fd);
  return made;
}

Connecting connect_to(const Address& address, int source, int receive_buffer) noexcept {
  Connecting made;
  made.fd.reset(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int fd = made.fd.get();
  if (fd < 0) {
    made.os_error = errno;
    return made;
  }
  if (!address.is_unix()) set_no_delay(fd);
  if (receive_buffer > 0) set_option(fd, SOL_SOCKET, SO_RCVBUF, receive_buffer);
  if (source >= 0 && address.is_loopback_v4()) {
    // The port is chosen at connect, by the whole four-tuple, not at bind.
    set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    sockaddr_in from = {};
    from.sin_family = AF_INET;
    const auto host = static_cast<std::uint32_t>(source % 250 + 1 + 256 * (1 + source / 250 % 250));
    from.sin_addr.s_addr = htonl(0x7f000000U + host);
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&from), sizeof from) != 0) {
      made.os_error = errno;
      return made;
    }
  }
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) != 0)
    made.os_error = errno;
  return made;
}

std::uint16_t local_port(int fd) noexcept {
  sockaddr_storage storage = {};
  socklen_t length = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return 0;
  if (storage.ss_family == AF_INET) {
    sockaddr_in in = {};
    std::memcpy(&in, &storage, sizeof in);
    return ntohs(in.sin_port);
  }
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 in6 = {};
    std::memcpy(&in6, &storage, sizeof in6);
    return ntohs(in6.sin6_port);
  }
  return 0;
}

int socket_error(int fd) noexcept {
  int value = 0;
  socklen_t length = sizeof value;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &length) != 0) return errno;
  return value;
}

void set_reset_on_close(int fd) noexcept {
  const linger hard{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
}

void set_no_delay(int fd) noexcept {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

void raise_fd_limit() noexcept {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::size_t fd_limit() noexcept {
  rlimit limit = {};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

}  // namespace lb::traffic
