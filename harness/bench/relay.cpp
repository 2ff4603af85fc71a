// lb_relay: the floor for a proxy's CPU per request: one epoll loop that pairs each client with a backend
// connection of its own and moves bytes, edge-triggered, four system calls a request, no HTTP at all. With
// "splice" the bytes go through a pipe and are never copied into the process.
//   lb_relay LISTEN_PORT BACKEND_PORT [splice]   (127.0.0.1; port 0: any; prints the port; ends with its
//   standard input)
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string_view>
#include <vector>

#include "harness/bench/sockets.hpp"

namespace lb::bench {
namespace {

constexpr std::size_t kBufferBytes = 256 * 1024;
constexpr int kPipeBytes = 256 * 1024;
constexpr std::uint32_t kEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
constexpr std::uint64_t kListener = ~0ULL;
constexpr std::uint64_t kInput = ~1ULL;

/// One direction: what was taken from the source and not yet by the target. While there is any, the source is
/// not read.
struct Direction {
  std::vector<char> kept;
  std::size_t kept_begin = 0;
  Fd pipe_in;  // splice only: opened at the first use
  Fd pipe_out;
  std::size_t in_pipe = 0;
  [[nodiscard]] std::size_t pending() const { return kept.size() - kept_begin + in_pipe; }
};

struct Pair {
  std::array<Fd, 2> sides;              // client, backend
  std::array<Direction, 2> directions;  // [i]: from sides[i]
  std::array<bool, 2> ended{};          // the side has closed: read until the end of file
};

class Relay {
 public:
  Relay(int listen_port, int backend_port, bool splice)
      : listener_(listen_and_tell(listen_port)), backend_port_(backend_port), splice_(splice) {
    watch(epoll_, listener_.get(), EPOLLIN, kListener);
    watch(epoll_, STDIN_FILENO, EPOLLIN, kInput);
  }

  void run() {
    std::array<epoll_event, 256> events;
    for (;;) {
      const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i) {
        const epoll_event& event = events[static_cast<std::size_t>(i)];
        if (event.data.u64 == kInput) return;
        if (event.data.u64 == kListener) {
          accept_one();
        } else {
          on_event(event.data.u64, event.events);
        }
      }
      closed_.clear();  // tokens of this turn may still have named them
    }
  }

 private:
  void accept_one() {
    Fd client{::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
    if (!client) return;
    Fd backend = connect_to(backend_port_);
    if (!backend) return;
    std::size_t slot = pairs_.size();
    if (free_.empty()) {
      pairs_.emplace_back();
    } else {
      slot = free_.back();
      free_.pop_back();
    }
    pairs_[slot] = std::make_unique<Pair>();
    // Bytes are tried first: a connection to loopback is established by the time the client's are here.
    watch(epoll_, client.get(), kEvents, slot * 2);
    watch(epoll_, backend.get(), kEvents, slot * 2 + 1);
    pairs_[slot]->sides = {std::move(client), std::move(backend)};
  }

  void on_event(std::uint64_t token, std::uint32_t events) {
    const std::size_t slot = token / 2;
    const std::size_t side = token % 2;
    if (!pairs_[slot]) return;  // closed earlier in this turn
    Pair& pair = *pairs_[slot];
    const std::size_t other = 1 - side;
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) pair.ended[side] = true;
    // Room on this side: what waits for it goes first, and its source is read again.
    const bool room = (events & EPOLLOUT) != 0 && pair.directions[other].pending() > 0;
    if (room && !move_bytes(pair, other)) return close(slot);
    if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0 && !move_bytes(pair, side)) close(slot);
  }

  void close(std::size_t slot) {
    closed_.push_back(std::move(pairs_[slot]));
    for (Fd& fd : closed_.back()->sides) fd.reset();
    free_.push_back(slot);
  }

  /// False: the direction has ended, and with it the pair.
  bool move_bytes(Pair& pair, std::size_t from) {
    Direction& direction = pair.directions[from];
    const int source = pair.sides[from].get();
    const int target = pair.sides[1 - from].get();
    return splice_ && from == 1 ? splice_bytes(direction, source, target)
                                : copy_bytes(direction, source, target, pair.ended[from]);
  }

  bool copy_bytes(Direction& direction, int source, int target, bool ended) {
    if (direction.pending() > 0) {
      const ssize_t n =
          ::send(target, direction.kept.data() + direction.kept_begin, direction.pending(), MSG_NOSIGNAL);
      if (n < 0) return errno == EAGAIN;
      direction.kept_begin += static_cast<std::size_t>(n);
      if (direction.pending() > 0) return true;
      direction.kept.clear();
      direction.kept_begin = 0;
    }
    for (;;) {
      const ssize_t n = ::recv(source, buffer_.get(), kBufferBytes, 0);
      if (n < 0) return errno == EAGAIN || errno == ENOTCONN;
      if (n == 0) return false;
      ssize_t sent = ::send(target, buffer_.get(), static_cast<std::size_t>(n), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) return false;
      if (sent < 0) sent = 0;
      if (sent < n) {
        direction.kept.assign(buffer_.get() + sent, buffer_.get() + n);
        return true;
      }
      if (static_cast<std::size_t>(n) < kBufferBytes && !ended) return true;  // drained
    }
  }

  static bool open_pipe(Direction& direction) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) != 0) die("pipe2");
    direction.pipe_out.reset(ends[0]);
    direction.pipe_in.reset(ends[1]);
    ::fcntl(ends[1], F_SETPIPE_SZ, kPipeBytes);
    return true;
  }

  static bool splice_bytes(Direction& direction, int source, int target) {
    if (!direction.pipe_in) open_pipe(direction);
    constexpr unsigned kFlags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
    for (;;) {
      if (direction.in_pipe > 0) {
        const ssize_t n =
            ::splice(direction.pipe_out.get(), nullptr, target, nullptr, direction.in_pipe, kFlags);
        if (n < 0) return errno == EAGAIN;
        direction.in_pipe -= static_cast<std::size_t>(n);
        if (direction.in_pipe > 0) continue;
      }
      const ssize_t n = ::splice(source, nullptr, direction.pipe_in.get(), nullptr, kBufferBytes, kFlags);
      if (n < 0) return errno == EAGAIN || errno == ENOTCONN;
      if (n == 0) return false;
      direction.in_pipe += static_cast<std::size_t>(n);
    }
  }

  Fd epoll_{::epoll_create1(EPOLL_CLOEXEC)};
  Fd listener_;
  int backend_port_;
  bool splice_;
  std::vector<std::unique_ptr<Pair>> pairs_;
  std::vector<std::size_t> free_;
  std::vector<std::unique_ptr<Pair>> closed_;
  std::unique_ptr<char[]> buffer_ = std::make_unique_for_overwrite<char[]>(kBufferBytes);
};

/// A port from the command line; the programs that start this one are its only users.
int port_of(const char* text) {
  return static_cast<int>(std::strtol(text, nullptr, 10));
}

}  // namespace
}  // namespace lb::bench

int main(int argc, char** argv) {
  const bool splice = argc == 4 && std::string_view{argv[3]} == "splice";
  if (argc != 3 && !splice) {
    std::fprintf(stderr, "usage: lb_relay LISTEN_PORT BACKEND_PORT [splice]\n");
    return 2;
  }
  lb::bench::Relay{lb::bench::port_of(argv[1]), lb::bench::port_of(argv[2]), splice}.run();
  return 0;
}
