// lb_relay: the floor for a proxy's CPU per request: one epoll loop that pairs each client with a backend
// connection of its own and moves bytes, edge-triggered, four system calls a request, no HTTP at all.
//   lb_relay LISTEN_PORT BACKEND_PORT   (127.0.0.1; port 0: any; prints the port; ends with its standard
//   input)
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"

namespace {

constexpr std::size_t kBufferBytes = 256 * 1024;

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

class Relay {
 public:
  Relay(int listen_port, int backend_port) : backend_(loopback(backend_port)) {
    const int one = 1;
    sockaddr_in address = loopback(listen_port);
    ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    ::setsockopt(listener_.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    LB_ASSERT(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    LB_ASSERT(::listen(listener_.get(), 4096) == 0);
    socklen_t size = sizeof address;
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    std::printf("%d\n", ntohs(address.sin_port));
    std::fflush(stdout);
    watch(listener_.get(), EPOLLIN);
    watch(STDIN_FILENO, EPOLLIN);
  }

  void run() {
    std::array<epoll_event, 256> events;
    for (;;) {
      const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i) {
        const int fd = events[static_cast<std::size_t>(i)].data.fd;
        if (fd == STDIN_FILENO) return;
        if (fd == listener_.get()) {
          accept_one();
        } else {
          move_bytes(fd);
        }
      }
    }
  }

 private:
  void watch(int fd, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }

  void accept_one() {
    const int client = ::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return;
    const int upstream = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int one = 1;
    ::setsockopt(upstream, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (upstream < 0 || ::connect(upstream, reinterpret_cast<sockaddr*>(&backend_), sizeof backend_) != 0) {
      ::close(client);
      if (upstream >= 0) ::close(upstream);
      return;
    }
    const auto needed = static_cast<std::size_t>(client > upstream ? client : upstream) + 1;
    if (peer_.size() < needed) peer_.resize(needed * 2, -1);
    peer_[static_cast<std::size_t>(client)] = upstream;
    peer_[static_cast<std::size_t>(upstream)] = client;
    watch(client, EPOLLIN | EPOLLET);
    watch(upstream, EPOLLIN | EPOLLET);
  }

  /// The sending side blocks: with the small messages of a benchmark it never has to.
  void move_bytes(int from) {
    int& to = peer_[static_cast<std::size_t>(from)];
    if (to < 0) return;  // closed earlier in this turn
    for (;;) {
      const ssize_t n = ::recv(from, buffer_.get(), kBufferBytes, MSG_DONTWAIT);
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) break;
      ssize_t sent = 0;
      while (sent < n) {
        const ssize_t m = ::send(to, buffer_.get() + sent, static_cast<std::size_t>(n - sent), MSG_NOSIGNAL);
        if (m < 0 && errno == EAGAIN) continue;
        if (m < 0) break;
        sent += m;
      }
      if (static_cast<std::size_t>(n) < kBufferBytes) return;
    }
    ::close(to);
    ::close(from);
    peer_[static_cast<std::size_t>(to)] = -1;
    to = -1;
  }

  lb::Fd epoll_{::epoll_create1(EPOLL_CLOEXEC)};
  lb::Fd listener_{::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  sockaddr_in backend_;
  std::vector<int> peer_;
  std::unique_ptr<char[]> buffer_ = std::make_unique<char[]>(kBufferBytes);
};

/// A port from the command line; the programs that start this one are its only users.
int port_of(const char* text) {
  return static_cast<int>(std::strtol(text, nullptr, 10));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: lb_relay LISTEN_PORT BACKEND_PORT\n");
    return 2;
  }
  Relay{port_of(argv[1]), port_of(argv[2])}.run();
  return 0;
}
