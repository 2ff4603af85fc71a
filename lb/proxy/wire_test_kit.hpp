// For tests: a client and a backend that speak raw bytes over real loopback sockets, and a Proxy between
// them. A test is the conversation on the wire. Every wait is bounded by kPatience and fails the test when it
// ends.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/config/model.hpp"
#include "lb/net/listener.hpp"
#include "lb/proxy/proxy.hpp"

namespace lb::wire {

inline constexpr int kPatienceMs = 10'000;

/// One end of a connection; blocking.
class Wire final {
 public:
  Wire() = default;
  explicit Wire(Fd fd) : fd_(std::move(fd)) {
    const int one = 1;
    ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    const timeval patience{.tv_sec = kPatienceMs / 1000, .tv_usec = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  }

  static Wire connect_to(std::uint16_t port) {
    Fd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(port);
    // One that is accepted and reset at once may be so before connect() has returned.
    const bool reached =
        ::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0 || errno == ECONNRESET;
    EXPECT_TRUE(reached) << std::strerror(errno);
    return Wire{std::move(fd)};
  }

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  /// Reads until what was read ends with `mark` (or holds it, for `anywhere`), the peer closes or patience
  /// ends.
  std::string read_until(std::string_view mark) {
    while (buffer_.find(mark) == std::string::npos && fill()) {
    }
    const std::size_t at = buffer_.find(mark);
    return take(at == std::string::npos ? buffer_.size() : at + mark.size());
  }
  std::string read_exactly(std::size_t n) {
    while (buffer_.size() < n && fill()) {
    }
    return take(std::min(n, buffer_.size()));
  }
  std::string read_to_end() {
    while (fill()) {
    }
    return take(buffer_.size());
  }
  /// True when the peer closed and nothing unread is left.
  bool at_end() { return buffer_.empty() && !fill() && eof_; }
  /// A head and the body its Content-Length announces.
  std::string read_message() {
    std::string message = read_until("\r\n\r\n");
    const std::size_t at = message.find("Content-Length: ");
    if (at == std::string::npos) return message;
    return message + read_exactly(std::stoul(message.substr(at + 16)));
  }

  void finish_sending() { ::shutdown(fd_.get(), SHUT_WR); }
  void reset() {
    const linger now{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    fd_.reset();
  }
  void close() { fd_.reset(); }
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  bool fill() {
    char bytes[65536];
    ssize_t n = 0;
    do {
      n = ::recv(fd_.get(), bytes, sizeof bytes, 0);
    } while (n < 0 && errno == EINTR);
    if (n == 0) eof_ = true;
    if (n <= 0) return false;
    buffer_.append(bytes, static_cast<std::size_t>(n));
    return true;
  }
  std::string take(std::size_t n) {
    std::string taken = buffer_.substr(0, n);
    buffer_.erase(0, n);
    return taken;
  }
  Fd fd_;
  std::string buffer_;
  bool eof_ = false;
};

/// Reads to the end; whether that is a reset.
inline bool ends_with_reset(const Wire& wire) {
  char bytes[4096];
  ssize_t n = 0;
  while ((n = ::recv(wire.fd(), bytes, sizeof bytes, 0)) > 0) {
  }
  return n < 0 && errno == ECONNRESET;
}

/// A backend on a port of its own; each connection is served by `script` on a thread of its own.
class ScriptedBackend final {
 public:
  using Script = std::function<void(Wire&)>;
  explicit ScriptedBackend(Script script) : script_(std::move(script)) {
    auto opened = open_listener_shards(Endpoint{.host = "127.0.0.1"}, 1, {});
    EXPECT_TRUE(opened.has_value());
    listener_ = std::move(opened->front().fd);
    const std::string text = *local_address_text(listener_.get());
    port_ = static_cast<std::uint16_t>(std::stoi(text.substr(text.rfind(':') + 1)));
    thread_ = std::thread{[this] { accept_all(); }};
  }
  ~ScriptedBackend() {
    stop_ = true;
    thread_.join();
    for (std::thread& t : serving_) t.join();
  }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] int connections() const { return connections_; }

 private:
  void accept_all() {
    while (!stop_) {
      pollfd p{.fd = listener_.get(), .events = POLLIN, .revents = 0};
      if (::poll(&p, 1, 20) <= 0) continue;
      Fd fd{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
      if (!fd) continue;
      ++connections_;
      serving_.emplace_back([this, wire = std::make_shared<Wire>(std::move(fd))] { script_(*wire); });
    }
  }
  Script script_;
  Fd listener_;
  std::uint16_t port_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<int> connections_{0};
  std::vector<std::thread> serving_;
  std::thread thread_;
};

/// Answers each request (head and Content-Length body) on a connection with what `answer` makes of it.
inline ScriptedBackend::Script answering(std::function<std::string(const std::string&)> answer) {
  return [answer = std::move(answer)](Wire& wire) {
    for (;;) {
      const std::string request = wire.read_message();
      if (request.empty() || !wire.send(answer(request))) return;
    }
  };
}

/// Answers each request with the same bytes.
inline ScriptedBackend::Script always(std::string_view response) {
  return answering([response = std::string{response}](const std::string&) { return response; });
}

inline BackendConfig backend_at(std::uint16_t port, std::string name = {}) {
  BackendConfig backend;
  backend.endpoint = Endpoint{.host = "127.0.0.1", .port = port};
  backend.name = name.empty() ? backend.endpoint.text() : std::move(name);
  return backend;
}

inline Config to_backend(std::uint16_t port) {
  Config config;
  config.backends = {backend_at(port)};
  return config;
}

/// What a test may want of its listening socket, and of names.
struct ListenerWishes {
  int receive_buffer_bytes = 0;  // of each accepted connection; 0: what the kernel thinks fit
  ResolveFunction resolve{};
  bool keep_open = false;  // hold a second descriptor, as the supervisor does, so that a drain resets nobody
  std::shared_ptr<tls::TicketKeys> ticket_keys{};
};

/// A Proxy on a port of the kernel's choice.
class ProxyUnderTest final {
 public:
  explicit ProxyUnderTest(Config config, ListenerWishes wishes = {}) {
    if (config.listen.empty()) config.listen.push_back({{.host = "127.0.0.1"}});
    if (config.workers == 0) config.workers = 1;
    auto opened = open_listener_shards(config.listen[0], config.workers, {});
    EXPECT_TRUE(opened.has_value());
    const std::string text = *local_address_text(opened->front().fd.get());
    port_ = static_cast<std::uint16_t>(std::stoi(text.substr(text.rfind(':') + 1)));
    for (const ListeningSocket& socket : *opened) {
      const int bytes = wishes.receive_buffer_bytes;
      if (bytes > 0) ::setsockopt(socket.fd.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
      if (wishes.keep_open) held_.push_back(socket.fd.duplicate());
    }
    start(std::move(config), std::move(*opened), std::move(wishes.ticket_keys), wishes.resolve);
  }
  /// The next generation, on the listening sockets that `before` keeps open.
  ProxyUnderTest(Config config, const ProxyUnderTest& before, ListenerWishes wishes = {})
      : port_(before.port_) {
    std::vector<ListeningSocket> listeners;
    for (const Fd& held : before.held_) {
      held_.push_back(held.duplicate());
      listeners.push_back({Endpoint{.host = "127.0.0.1"}, held.duplicate()});
    }
    if (config.listen.empty()) config.listen.push_back({{.host = "127.0.0.1"}});
    if (config.workers == 0) config.workers = 1;
    start(std::move(config), std::move(listeners), std::move(wishes.ticket_keys));
  }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  /// A listening socket that ListenerWishes::keep_open keeps.
  [[nodiscard]] int held_fd() const { return held_.front().get(); }
  [[nodiscard]] Wire connect() const { return Wire::connect_to(port_); }
  Proxy* operator->() { return proxy_.get(); }
  Proxy& operator*() { return *proxy_; }

  /// Waits until the drain is over.
  bool drained() { return readable(proxy_->drained_fd(), kPatienceMs); }
  [[nodiscard]] bool drained_now() const { return readable(proxy_->drained_fd(), 0); }
  /// Passes on to `successor` what is handed over, until that was `count` connections.
  bool hand_over_to(Proxy& successor, std::size_t count) {
    while (count > 0) {
      if (!readable(proxy_->handed_fd(), kPatienceMs)) return false;
      std::vector<HandedConnection> taken = proxy_->take_handed();
      if (taken.empty() || taken.size() > count) return false;
      count -= taken.size();
      successor.adopt(std::move(taken));
    }
    return true;
  }
  /// Waits until `reached` holds for the counters.
  template <class F>
  bool counted(F reached) {
    const Instant until = monotonic_now() + Milliseconds{kPatienceMs};
    while (!reached(proxy_->counters())) {
      if (monotonic_now() > until) return false;
      std::this_thread::yield();
    }
    return true;
  }

 private:
  void start(Config config, std::vector<ListeningSocket> listeners, std::shared_ptr<tls::TicketKeys> keys,
             ResolveFunction resolve = {}) {
    auto made = Proxy::create(ProxyOptions{.config = std::make_shared<const Config>(std::move(config)),
                                           .seed = 1,
                                           .listeners = std::move(listeners),
                                           .ticket_keys = std::move(keys),
                                           .resolve = std::move(resolve)});
    EXPECT_TRUE(made.has_value());
    proxy_ = std::move(*made);
    proxy_->start();
  }
  static bool readable(int fd, int patience_ms) {
    pollfd p{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&p, 1, patience_ms) == 1;
  }
  std::uint16_t port_ = 0;
  std::vector<Fd> held_;
  std::unique_ptr<Proxy> proxy_;
};

}  // namespace lb::wire
