// Addresses as text, and the sockets made from them. Blocking name resolution is never done: numbers only.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"

namespace lb::traffic {

struct Address {
  sockaddr_storage storage = {};
  socklen_t length = 0;
  std::string text;
  [[nodiscard]] int family() const noexcept { return storage.ss_family; }
  [[nodiscard]] bool is_unix() const noexcept { return family() == AF_UNIX; }
  /// 127.0.0.0/8: any source address of it may be used.
  [[nodiscard]] bool is_loopback_v4() const noexcept;
};

/// "127.0.0.1:80", "[::1]:80", "unix:/path".
Result<Address> parse_address(std::string_view text);

struct Listening {
  Fd fd;
  std::uint16_t port = 0;  // 0 for a Unix socket
};
/// Non-blocking, SO_REUSEADDR, backlog 4096. A Unix socket's path is unlinked first.
Result<Listening> listen_on(const Address& address, bool reuse_port = false);

struct Connecting {
  Fd fd;
  int os_error = 0;  // 0 connected, EINPROGRESS, EAGAIN (Unix socket with a full queue), or why it failed
};
/// A non-blocking connect with TCP_NODELAY. source >= 0: from 127.0.1.1 + source (loopback v4 only), so that
/// many connections do not share one address's ports. receive_buffer > 0 sets SO_RCVBUF.
Connecting connect_to(const Address& address, int source = -1, int receive_buffer = 0) noexcept;

/// 0 for Unix sockets.
std::uint16_t local_port(int fd) noexcept;

/// SO_ERROR of a socket whose connect was in progress.
int socket_error(int fd) noexcept;

/// Makes the next close send RST.
void set_reset_on_close(int fd) noexcept;

void set_no_delay(int fd) noexcept;

/// Raises the soft limit of descriptors to the hard one.
void raise_fd_limit() noexcept;
/// The soft limit.
std::size_t fd_limit() noexcept;

}  // namespace lb::traffic
