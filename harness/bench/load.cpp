#include "harness/bench/load.hpp"

#include <openssl/err.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "harness/bench/sockets.hpp"

namespace lb::bench {
namespace {

constexpr std::size_t kBufferBytes = 256 * 1024;
constexpr std::size_t kHeadBytesMax = 16 * 1024;
constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kGraceNs = 5 * kSecond;  // for answers that are under way when the time is over

std::int64_t now() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * kSecond + t.tv_nsec;
}

/// The number behind `name` in a response head, which begins a line. -1: there is none.
std::int64_t header_number(std::string_view head, std::string_view name) {
  for (std::size_t at = head.find("\r\n"); at != std::string_view::npos; at = head.find("\r\n", at + 2)) {
    const std::string_view line = head.substr(at + 2);
    if (line.size() > name.size() && ::strncasecmp(line.data(), name.data(), name.size()) == 0) {
      return std::strtoll(line.data() + name.size(), nullptr, 10);
    }
  }
  return -1;
}

}  // namespace

struct Load::Connection {
  enum class State : std::uint8_t { closed, connecting, handshake, idle, waiting, draining };
  std::uint32_t index = 0;
  Fd fd;
  struct SslFree {
    void operator()(SSL* ssl) const { ::SSL_free(ssl); }
  };
  std::unique_ptr<SSL, SslFree> ssl;
  State state = State::closed;
  bool pending = false;  // a request waits for the connection to be there
  std::int64_t due_ns = 0;
  std::string head;
  bool head_done = false;
  std::uint64_t body_left = 0;
};

Load::Load(LoadOptions options)
    : options_(std::move(options)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      buffer_(std::make_unique_for_overwrite<char[]>(kBufferBytes)) {
  request_ = "GET " + options_.target + " HTTP/1.1\r\nHost: bench.test\r\n" +
             (options_.close ? "Connection: close\r\n\r\n" : "\r\n");
  for (std::uint32_t i = 0; i < options_.connections; ++i) {
    connections_.push_back(std::make_unique<Connection>());
    connections_.back()->index = i;
  }
  if (options_.tls == LoadOptions::Tls::none) return;
  tls_.reset(::SSL_CTX_new(TLS_client_method()));
  ::SSL_CTX_set_verify(tls_.get(), SSL_VERIFY_NONE, nullptr);  // the certificate is the benchmark's own
  ::SSL_CTX_set_options(tls_.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_app_data(tls_.get(), this);
  if (options_.tls == LoadOptions::Tls::resume) {
    ::SSL_CTX_set_session_cache_mode(tls_.get(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    ::SSL_CTX_sess_set_new_cb(tls_.get(), [](SSL* ssl, SSL_SESSION* session) {
      auto* load = static_cast<Load*>(SSL_CTX_get_app_data(::SSL_get_SSL_CTX(ssl)));
      load->session_.reset(session);
      return 1;  // the reference is ours now
    });
  }
}

Load::~Load() = default;

void Load::open(std::uint32_t index) {
  Connection& connection = *connections_[index];
  connection.ssl.reset();
  connection.head.clear();
  connection.head_done = false;
  connection.fd = connect_to(options_.port);
  if (!connection.fd) die("connect");
  ++result_.connections;
  watch(epoll_, connection.fd.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, index);
  connection.state = Connection::State::connecting;
  if (options_.tls == LoadOptions::Tls::none) return;
  connection.ssl.reset(::SSL_new(tls_.get()));
  ::SSL_set_fd(connection.ssl.get(), connection.fd.get());
  ::SSL_set_tlsext_host_name(connection.ssl.get(), "bench.test");
  if (options_.tls == LoadOptions::Tls::resume && session_) {
    ::SSL_set_session(connection.ssl.get(), session_.get());
  }
  ::SSL_set_connect_state(connection.ssl.get());
}

void Load::send_request(Connection& connection, std::int64_t due) {
  connection.due_ns = due;
  connection.pending = true;
  ++launched_;
  ++in_flight_;
  if (connection.state == Connection::State::closed) open(connection.index);
  on_event(connection.index);
}

void Load::on_event(std::uint32_t index) {
  Connection& connection = *connections_[index];
  while (connection.state != Connection::State::closed && advance(connection) != Step::wait) {
  }
}

/// One step of the connection's life. `wait`: nothing more to do before the next event.
Load::Step Load::advance(Connection& connection) {
  using S = Connection::State;
  switch (connection.state) {
    case S::closed:
      return Step::wait;
    case S::connecting: {
      // Writing is tried before the connection is known to be there; ENOTCONN and EAGAIN say "not yet".
      connection.state = connection.ssl ? S::handshake : S::idle;
      return Step::ended;
    }
    case S::handshake: {
      ::ERR_clear_error();
      const int done = ::SSL_do_handshake(connection.ssl.get());
      if (done == 1) {
        if (::SSL_session_reused(connection.ssl.get()) == 1) ++result_.resumed;
        connection.state = S::idle;
        return Step::ended;
      }
      const int error = ::SSL_get_error(connection.ssl.get(), done);
      if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return Step::wait;
      if (error == SSL_ERROR_SYSCALL && errno == ENOTCONN) return Step::wait;
      failed(connection, "TLS handshake");
      return Step::ended;
    }
    case S::idle: {
      if (!connection.pending) return read_response(connection);
      ssize_t n = 0;
      if (connection.ssl) {
        n = ::SSL_write(connection.ssl.get(), request_.data(), static_cast<int>(request_.size()));
      } else {
        n = ::send(connection.fd.get(), request_.data(), request_.size(), MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == ENOTCONN)) return Step::wait;
      }
      if (n != static_cast<ssize_t>(request_.size())) {
        failed(connection, "send");
        return Step::ended;
      }
      connection.pending = false;
      connection.head.clear();
      connection.head_done = false;
      connection.state = S::waiting;
      return Step::wait;
    }
    case S::waiting:
    case S::draining:
      return read_response(connection);
  }
  return Step::wait;
}

Load::Step Load::read_response(Connection& connection) {
  using S = Connection::State;
  for (;;) {
    ssize_t n = 0;
    bool again = false;
    if (connection.ssl) {
      ::ERR_clear_error();
      n = ::SSL_read(connection.ssl.get(), buffer_.get(), static_cast<int>(kBufferBytes));
      const int error = n > 0 ? SSL_ERROR_NONE : ::SSL_get_error(connection.ssl.get(), static_cast<int>(n));
      again = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
    } else {
      n = ::recv(connection.fd.get(), buffer_.get(), kBufferBytes, 0);
      again = n < 0 && (errno == EAGAIN || errno == ENOTCONN);
    }
    if (again) return Step::wait;
    if (n <= 0) {
      if (connection.state == S::draining) {
        connection_over(connection);
      } else {
        failed(connection,
               connection.state == S::idle ? "closed while idle" : "closed before the answer's end");
      }
      return Step::ended;
    }
    if (connection.state != S::waiting) {
      failed(connection, "bytes that nobody asked for");
      return Step::ended;
    }
    std::string_view bytes{buffer_.get(), static_cast<std::size_t>(n)};
    if (!connection.head_done) {
      const std::size_t before = connection.head.size();
      connection.head.append(bytes.substr(0, kHeadBytesMax));
      const std::size_t end = connection.head.find("\r\n\r\n");
      if (end == std::string::npos) continue;
      connection.head.resize(end + 2);
      bytes.remove_prefix(end + 4 - before);
      if (!take_head(connection)) {
        failed(connection, "an unexpected response");
        return Step::ended;
      }
    }
    if (bytes.size() > connection.body_left) {
      failed(connection, "bytes that nobody asked for");
      return Step::ended;
    }
    connection.body_left -= bytes.size();
    if (connection.body_left > 0) continue;
    answered(connection);
    if (connection.state == S::idle) return connection.pending ? Step::ended : Step::wait;
  }
}

bool Load::take_head(Connection& connection) {
  connection.head_done = true;
  connection.body_left = options_.body_bytes;
  return connection.head.starts_with("HTTP/1.1 200 ") &&
         header_number(connection.head, "content-length:") == static_cast<std::int64_t>(options_.body_bytes);
}

void Load::answered(Connection& connection) {
  const std::int64_t at = now();
  ++result_.requests;
  --in_flight_;
  if (options_.rate > 0 && !preparing_) {
    result_.latency_ns_64.push_back(
        static_cast<std::uint32_t>(std::max<std::int64_t>(at - connection.due_ns, 0) / 64));
  }
  if (options_.close) {
    connection.state = Connection::State::draining;  // the server closes; TIME_WAIT is not ours
    return;
  }
  connection.state = Connection::State::idle;
  if (preparing_) return;
  if (options_.rate > 0) {
    free_.push_back(connection.index);
  } else if (!finished(at)) {
    connection.due_ns = at;
    connection.pending = true;
    ++launched_;
    ++in_flight_;
  }
}

void Load::failed(Connection& connection, const char* what) {
  const bool had_request = connection.pending || connection.state == Connection::State::waiting;
  if (had_request) --in_flight_;
  connection.pending = false;
  if (++result_.errors == 1) result_.error = what;
  connection_over(connection);
}

void Load::connection_over(Connection& connection) {
  // Without a close_notify OpenSSL takes the connection for a bad one and would not resume its session.
  if (connection.ssl) ::SSL_set_shutdown(connection.ssl.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  connection.ssl.reset();
  connection.fd.reset();
  connection.state = Connection::State::closed;
  if (options_.rate > 0) {
    free_.push_back(connection.index);
  } else if (!preparing_ && result_.errors < 100 && !finished(now())) {
    connection.due_ns = now();
    connection.pending = true;
    ++launched_;
    ++in_flight_;
    open(connection.index);
  }
}

bool Load::finished(std::int64_t now_ns) const {
  return now_ns >= end_ns_ || launched_ >= options_.requests_max || result_.errors >= 100;
}

std::int64_t Load::due_ns(std::uint64_t number) const {
  return start_ns_ +
         static_cast<std::int64_t>(std::llround(static_cast<double>(number) * 1e9 / options_.rate));
}

/// Open loop: sends what is due, as far as there are connections; the rest waits, and its latency grows.
void Load::launch_due(std::int64_t now_ns) {
  while (!free_.empty() && launched_ < options_.requests_max && due_ns(launched_) <= now_ns &&
         due_ns(launched_) < end_ns_) {
    Connection& connection = *connections_[free_.back()];
    free_.pop_back();
    send_request(connection, due_ns(launched_));
  }
}

void Load::turn(std::int64_t now_ns, std::int64_t until_ns) {
  std::array<epoll_event, 256> events;
  const std::int64_t left = std::max<std::int64_t>(until_ns - now_ns, 0);
  const timespec timeout{.tv_sec = left / kSecond, .tv_nsec = left % kSecond};
  const int count =
      ::epoll_pwait2(epoll_.get(), events.data(), static_cast<int>(events.size()), &timeout, nullptr);
  for (int i = 0; i < count; ++i)
    on_event(static_cast<std::uint32_t>(events[static_cast<std::size_t>(i)].data.u64));
}

LoadResult Load::prepare() {
  preparing_ = true;
  result_ = {};
  end_ns_ = now() + 120 * kSecond;
  std::uint64_t opened = 0;
  const std::uint64_t wanted = options_.close ? 1 : connections_.size();
  const auto over = [&] { return connections_[0]->state == Connection::State::closed; };
  while (now() < end_ns_ && (result_.requests + result_.errors < wanted || (options_.close && !over()))) {
    // A hundred handshakes at a time: a listener's queue must not be what is measured.
    while (opened < wanted && opened - result_.requests - result_.errors < 100) {
      send_request(*connections_[opened++], 0);
    }
    turn(now(), now() + kSecond);
  }
  preparing_ = false;
  return result_;
}

LoadResult Load::run() {
  result_ = {};
  launched_ = 0;
  if (options_.rate > 0) {
    result_.latency_ns_64.reserve(static_cast<std::size_t>(options_.rate * options_.seconds) + 1);
  }
  start_ns_ = now();
  end_ns_ = start_ns_ + static_cast<std::int64_t>(options_.seconds * 1e9);
  free_.clear();
  for (const auto& connection : connections_) {
    if (options_.rate > 0) {
      free_.push_back(connection->index);
    } else if (launched_ < options_.requests_max) {
      send_request(*connection, start_ns_);
    }
  }
  for (std::int64_t at = now(); at < end_ns_ + kGraceNs; at = now()) {
    if (options_.rate > 0) launch_due(at);
    if (finished(at) && in_flight_ == 0) break;
    std::int64_t until = at < end_ns_ ? end_ns_ : end_ns_ + kGraceNs;
    if (options_.rate > 0 && !free_.empty()) until = std::min(until, std::max(due_ns(launched_), at));
    turn(at, until);
  }
  result_.seconds = static_cast<double>(now() - start_ns_) / 1e9;
  if (in_flight_ > 0) {
    result_.errors += in_flight_;
    if (result_.error.empty()) result_.error = "no answer in time";
  }
  if (options_.rate > 0) {
    while (launched_ + result_.unsent < options_.requests_max &&
           due_ns(launched_ + result_.unsent) < end_ns_) {
      ++result_.unsent;
    }
  }
  return result_;
}

}  // namespace lb::bench
