// reuseport_server: the smallest server that can be reloaded, in each of the ways that balancers use, so that
// what each of them loses can be counted. Driven by reuseport.py; see chapter 10.
//
//   reuseport_server --way WAY [--shards N] [--to N] [--accept-us N] [--start-ms N] [--backlog N]
//
// One controller process; each generation is a child process with one thread a shard. "reload" on standard
// input replaces the generation, end of file ends the program. Standard output tells:
//   port N               where it listens
//   reloaded G QUEUED    generation G serves, the one before has ended; QUEUED connections waited in the
//   queues
//                        of the old sockets at the moment they were left or closed
//
//   way       the next generation ...                            the old one ...
//   restart   starts when the old one has ended                  closes its sockets
//   rebind    binds sockets of its own beside the old ones       closes its sockets
//   drain     the same                                           accepts until EAGAIN, closes its sockets
//   share     inherits the controller's sockets                  stops polling them
//   shrink    inherits, alternately, --shards and --to of them; what is too many is closed
//   adopt     inherits all of them, whatever its number of threads: --shards and --to alternately
//
// Every answer is a line with the generation's number. Each accept takes --accept-us, as a busy server's
// would, so that connections wait in the queue. TCP_DEFER_ACCEPT lets the kernel treat a handshake as
// unfinished until the client's first byte comes, so that a client that waits before it sends is like one far
// away.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

enum class Way : std::uint8_t { restart, rebind, drain, share, shrink, adopt };

struct Options {
  Way way = Way::rebind;
  int shards = 2;
  int to = 1;  // shrink, adopt: shards, or threads, of every other generation
  int accept_us = 2000;
  int start_ms = 20;  // what reading a configuration takes
  int backlog = 1024;
};

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "reuseport_server: %s: %s\n", what, std::strerror(errno));
  std::_Exit(1);
}

int must(int result, const char* what) {
  if (result < 0) fail(what);
  return result;
}

// ---- sockets ----

int listening_socket(std::uint16_t port, int backlog) {
  const int fd = must(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  const int on = 1;
  const int defer_s = 5;
  must(::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "SO_REUSEADDR");
  must(::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), "SO_REUSEPORT");
  must(::setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer_s, sizeof defer_s), "TCP_DEFER_ACCEPT");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  must(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), "bind");
  must(::listen(fd, backlog), "listen");
  return fd;
}

std::uint16_t port_of(int fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  must(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
  return ntohs(address.sin_port);
}

/// How many established connections wait to be accepted: for a listening socket that is tcpi_unacked.
int queue_length(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  must(::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size), "TCP_INFO");
  return static_cast<int>(info.tcpi_unacked);
}

/// The request has come already (TCP_DEFER_ACCEPT). It is read, so that closing sends FIN and not RST.
void answer_and_close(int connection, const std::string& reply) {
  std::array<char, 512> request{};
  (void)::recv(connection, request.data(), request.size(), 0);
  (void)::send(connection, reply.data(), reply.size(), MSG_NOSIGNAL);
  ::close(connection);
}

// ---- a generation: one process, one thread a group of shards ----

struct Worker {
  std::vector<int> listeners;
  int stop_fd = -1;
  int queued = 0;  // at the end
  bool readable = false;
};

bool accept_one(int listener, const std::string& reply) {
  const int connection = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (connection < 0) return false;  // EAGAIN: another generation, or a thread of this one, was faster
  answer_and_close(connection, reply);
  return true;
}

void leave(int epoll, Worker& worker, Way way, const std::string& reply) {
  for (const int fd : worker.listeners) {
    // Always first: a shared socket that is closed here lives on elsewhere, and would go on reporting events.
    must(::epoll_ctl(epoll, EPOLL_CTL_DEL, fd, nullptr), "EPOLL_CTL_DEL");
    worker.queued += queue_length(fd);
  }
  for (const int fd : worker.listeners) {
    std::vector<int> rescued;
    if (way == Way::drain) {
      for (int c = 0; (c = ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) rescued.push_back(c);
    }
    ::close(fd);
    for (const int connection : rescued) answer_and_close(connection, reply);
  }
}

void work(Worker& worker, const Options& options, const std::string& reply) {
  const int epoll = must(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const auto watch = [&](int fd) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    must(::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "EPOLL_CTL_ADD");
  };
  watch(worker.stop_fd);
  for (const int fd : worker.listeners) watch(fd);
  for (;;) {
    std::array<epoll_event, 16> events{};
    const int count = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd == worker.stop_fd) {
        leave(epoll, worker, options.way, reply);
        return;
      }
      if (accept_one(fd, reply)) ::usleep(static_cast<useconds_t>(options.accept_us));
    }
  }
}

/// Serves `listeners` with `threads` threads; says 'R' on `up`, and at the end how long the queues were. A
/// byte on `down`, or its end, is the end.
[[noreturn]] void run_generation(int number, std::vector<int> listeners, std::size_t threads, int down,
                                 int up, const Options& options) {
  const int stop_fd = must(::eventfd(0, EFD_CLOEXEC), "eventfd");
  const std::string reply = std::to_string(number) + "\n";
  std::vector<Worker> workers(threads);
  for (std::size_t i = 0; i < listeners.size(); ++i) workers[i % threads].listeners.push_back(listeners[i]);
  std::vector<std::thread> running;
  for (Worker& worker : workers) {
    worker.stop_fd = stop_fd;
    running.emplace_back([&] { work(worker, options, reply); });
  }
  char byte = 'R';
  must(static_cast<int>(::write(up, &byte, 1)), "write");
  (void)::read(down, &byte, 1);
  const std::uint64_t all = 1;  // never read, so every thread sees it
  must(static_cast<int>(::write(stop_fd, &all, sizeof all)), "write");
  int queued = 0;
  for (std::size_t i = 0; i < threads; ++i) {
    running[i].join();
    queued += workers[i].queued;
  }
  must(static_cast<int>(::write(up, &queued, sizeof queued)), "write");
  std::_Exit(0);
}

// ---- the controller ----

struct Generation {
  pid_t pid = -1;
  int down = -1;  // closing it ends the generation
  int up = -1;
};

class Controller final {
 public:
  explicit Controller(const Options& options) : options_(options) {
    const int first = listening_socket(0, options.backlog);
    port_ = port_of(first);
    held_.push_back(first);
    open_shards(options.shards);
    current_ = start();
    if (!shares()) close_down_to(0);  // its sockets are the generation's alone
    std::printf("port %d\n", port_);
  }

  void reload() {
    int queued = 0;
    if (options_.way == Way::restart) {
      queued = stop(current_);
      ++number_;
      current_ = start();
    } else {
      const std::size_t wanted = sockets_of(++number_);
      if (options_.way == Way::shrink) open_shards(static_cast<int>(wanted));
      const Generation next = start();
      if (options_.way == Way::shrink) close_down_to(wanted);
      queued = stop(current_);
      current_ = next;
    }
    std::printf("reloaded %d %d\n", number_, queued);
  }

  void end() { (void)stop(current_); }

 private:
  [[nodiscard]] bool shares() const { return options_.way >= Way::share; }
  [[nodiscard]] bool alternates() const { return options_.way == Way::shrink || options_.way == Way::adopt; }
  [[nodiscard]] std::size_t threads_of(int number) const {
    return static_cast<std::size_t>(alternates() && number % 2 == 1 ? options_.to : options_.shards);
  }
  [[nodiscard]] std::size_t sockets_of(int number) const {
    return options_.way == Way::shrink ? threads_of(number) : static_cast<std::size_t>(options_.shards);
  }

  void open_shards(int count) {
    while (static_cast<int>(held_.size()) < count) held_.push_back(listening_socket(port_, options_.backlog));
  }
  void close_down_to(std::size_t count) {
    for (; held_.size() > count; held_.pop_back()) ::close(held_.back());
  }

  /// Starts generation `number_`; returns when it serves.
  Generation start() {
    std::array<int, 2> down{};
    std::array<int, 2> up{};
    must(::pipe2(down.data(), O_CLOEXEC), "pipe2");
    must(::pipe2(up.data(), O_CLOEXEC), "pipe2");
    const pid_t pid = must(::fork(), "fork");
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::close(down[1]);
      ::close(up[0]);
      if (current_.down >= 0) ::close(current_.down);
      be_generation(down[0], up[1]);
    }
    ::close(down[0]);
    ::close(up[1]);
    char byte = 0;
    if (::read(up[0], &byte, 1) != 1) fail("a generation did not start");
    return Generation{.pid = pid, .down = down[1], .up = up[0]};
  }

  [[noreturn]] void be_generation(int down, int up) {
    std::vector<int> sockets = held_;
    if (number_ > 0) {
      ::usleep(static_cast<useconds_t>(options_.start_ms) * 1000);
      if (!shares()) {
        for (int i = 0; i < options_.shards; ++i)
          sockets.push_back(listening_socket(port_, options_.backlog));
      }
    }
    while (sockets.size() > sockets_of(number_)) {
      ::close(sockets.back());
      sockets.pop_back();
    }
    run_generation(number_, std::move(sockets), threads_of(number_), down, up, options_);
  }

  /// Ends a generation, waits for it; returns how many connections were in its queues.
  static int stop(Generation& generation) {
    ::close(generation.down);
    int queued = 0;
    (void)::read(generation.up, &queued, sizeof queued);
    ::close(generation.up);
    ::waitpid(generation.pid, nullptr, 0);
    generation.down = -1;
    return queued;
  }

  Options options_;
  std::uint16_t port_ = 0;
  std::vector<int> held_;  // shared ways only, once the first generation serves
  int number_ = 0;
  Generation current_;
};

Options parse(int argc, char** argv) {
  Options options;
  constexpr std::array<std::string_view, 6> kWays{"restart", "rebind", "drain", "share", "shrink", "adopt"};
  const auto usage = [&] {
    std::fputs(
        "usage: reuseport_server --way WAY [--shards N] [--to N] [--accept-us N] [--start-ms N] "
        "[--backlog N]\n",
        stderr);
    std::exit(2);
  };
  if (argc % 2 == 0) usage();
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const std::string_view value = argv[i + 1];
    const int number = static_cast<int>(std::strtol(argv[i + 1], nullptr, 10));
    if (name == "--way") {
      std::size_t way = 0;
      while (way < kWays.size() && kWays[way] != value) ++way;
      if (way == kWays.size()) usage();
      options.way = static_cast<Way>(way);
    } else if (name == "--shards" && number >= 1 && number <= 64) {
      options.shards = number;
    } else if (name == "--to" && number >= 1 && number <= 64) {
      options.to = number;
    } else if (name == "--accept-us" && number >= 0 && number <= 100'000) {
      options.accept_us = number;
    } else if (name == "--start-ms" && number >= 0 && number <= 10'000) {
      options.start_ms = number;
    } else if (name == "--backlog" && number >= 1 && number <= 4096) {
      options.backlog = number;
    } else {
      usage();
    }
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  std::signal(SIGPIPE, SIG_IGN);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  Controller controller{options};
  std::array<char, 64> line{};
  while (std::fgets(line.data(), line.size(), stdin) != nullptr) {
    if (std::string_view{line.data()} == "reload\n") controller.reload();
  }
  controller.end();
}
