// lb_origin: the backend of the benchmark: as cheap as a correct answer can be, so that on few processors the
// proxy is what is measured. GET with `size=N` in its target is answered with N bytes; requests have no body.
//   lb_origin LISTEN_PORT   (127.0.0.1; port 0: any; prints the port; ends with its standard input)
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "harness/bench/sockets.hpp"

namespace lb::bench {
namespace {

constexpr std::size_t kBodyBytesMax = 16 * 1024 * 1024;
constexpr std::size_t kHeadBytesMax = 16 * 1024;
constexpr std::uint64_t kListener = ~0ULL;
constexpr std::uint64_t kInput = ~1ULL;

struct Connection {
  Fd fd;
  std::string input;
  std::string head;      // of the response being sent
  std::size_t sent = 0;  // of head and body together
  std::size_t body_bytes = 0;
  bool answering = false;
  bool close = false;
};

std::size_t size_asked(std::string_view head) {
  const std::size_t at = head.find("size=");
  if (at == std::string_view::npos) return 0;
  return std::min<std::size_t>(std::strtoul(head.data() + at + 5, nullptr, 10), kBodyBytesMax);
}

class Origin {
 public:
  explicit Origin(int port) : listener_(listen_and_tell(port)), body_(kBodyBytesMax, 'x') {
    watch(epoll_, listener_.get(), EPOLLIN, kListener);
    watch(epoll_, STDIN_FILENO, EPOLLIN, kInput);
  }

  void run() {
    std::array<epoll_event, 256> events;
    for (;;) {
      const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i) {
        const std::uint64_t token = events[static_cast<std::size_t>(i)].data.u64;
        if (token == kInput) return;
        if (token == kListener) {
          accept_all();
        } else if (auto& connection = connections_[token]; connection && !serve(*connection)) {
          connection.reset();
        }
      }
    }
  }

 private:
  void accept_all() {
    for (int n = 0; n < 64; ++n) {
      Fd fd{::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
      if (!fd) return;
      const auto index = static_cast<std::size_t>(fd.get());
      if (connections_.size() <= index) connections_.resize(index * 2 + 1);
      watch(epoll_, fd.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, index);
      connections_[index] = std::make_unique<Connection>();
      connections_[index]->fd = std::move(fd);
    }
  }

  /// Answers what is here until one side has to wait. False: the connection is over.
  bool serve(Connection& connection) {
    std::array<char, 8192> buffer;
    for (;;) {
      if (connection.answering) {
        if (!send_some(connection)) return false;
        if (connection.answering) return true;
        if (connection.close) return false;
      }
      if (next_request(connection)) continue;
      if (connection.input.size() > kHeadBytesMax) return false;
      const ssize_t n = ::recv(connection.fd.get(), buffer.data(), buffer.size(), 0);
      if (n < 0) return errno == EAGAIN;
      if (n == 0) return false;
      connection.input.append(buffer.data(), static_cast<std::size_t>(n));
      if (static_cast<std::size_t>(n) < buffer.size() && !next_request(connection)) return true;
    }
  }

  static bool next_request(Connection& connection) {
    if (connection.answering) return true;
    const std::size_t end = connection.input.find("\r\n\r\n");
    if (end == std::string::npos) return false;
    const std::string_view head{connection.input.data(), end};
    connection.body_bytes = size_asked(head);
    connection.close = head.find("onnection: close") != std::string_view::npos;
    connection.head = "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(connection.body_bytes) +
                      (connection.close ? "\r\nConnection: close\r\n\r\n" : "\r\n\r\n");
    connection.input.erase(0, end + 4);
    connection.sent = 0;
    connection.answering = true;
    return true;
  }

  bool send_some(Connection& connection) {
    const std::size_t total = connection.head.size() + connection.body_bytes;
    while (connection.sent < total) {
      std::array<iovec, 2> pieces{};
      const std::size_t in_head = std::min(connection.sent, connection.head.size());
      const std::size_t in_body = connection.sent - in_head;
      pieces[0] = {connection.head.data() + in_head, connection.head.size() - in_head};
      pieces[1] = {body_.data() + in_body, connection.body_bytes - in_body};
      msghdr message{};
      message.msg_iov = pieces.data();
      message.msg_iovlen = pieces.size();
      const ssize_t n = ::sendmsg(connection.fd.get(), &message, MSG_NOSIGNAL);
      if (n < 0) return errno == EAGAIN;
      connection.sent += static_cast<std::size_t>(n);
    }
    connection.answering = false;
    return true;
  }

  Fd epoll_{::epoll_create1(EPOLL_CLOEXEC)};
  Fd listener_;
  std::string body_;
  std::vector<std::unique_ptr<Connection>> connections_;  // by descriptor
};

}  // namespace
}  // namespace lb::bench

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: lb_origin LISTEN_PORT\n");
    return 2;
  }
  lb::bench::Origin{static_cast<int>(std::strtol(argv[1], nullptr, 10))}.run();
  return 0;
}
