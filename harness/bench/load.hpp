// Load: the client side of the benchmark, one thread: many connections, requests as fast as answers come
// (closed loop) or on a fixed schedule (open loop: the latency of a request counts from when it was due, so a
// proxy that stalls cannot hide behind requests that were never sent). TLS by OpenSSL, with or without
// resumption. Every response is checked: status 200 and the length asked for.
//
//   prepare()  opens what is to be open before the measurement   (kept-alive and idle connections)
//   run()      the measurement; ends after `seconds`, or when `requests_max` were answered
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lb/base/fd.hpp"

namespace lb::bench {

struct LoadOptions {
  enum class Tls : std::uint8_t { none, full, resume };
  int port = 0;
  std::uint32_t connections = 1;
  double seconds = 1;
  std::uint64_t requests_max = ~0ULL;
  double rate = 0;     // requests a second in an open loop; 0: closed loop
  bool close = false;  // a connection for each request
  Tls tls = Tls::none;
  std::string target = "/x?size=128";
  std::uint64_t body_bytes = 128;  // that the target is answered with
};

struct LoadResult {
  std::uint64_t requests = 0;  // answered as expected
  std::uint64_t errors = 0;    // anything else; the first one in `error`
  std::uint64_t connections = 0;
  std::uint64_t resumed = 0;  // TLS handshakes that resumed a session
  std::uint64_t unsent = 0;   // open loop: due within the run and not even sent at its end
  double seconds = 0;
  std::string error;
  std::vector<std::uint32_t> latency_ns_64;  // of each request, in units of 64 ns; open loop only
};

class Load final {
 public:
  explicit Load(LoadOptions options);
  ~Load();
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  /// Opens every connection and has one request answered on each. With `close` one alone, which is over then:
  /// it brings the session that others resume.
  LoadResult prepare();
  LoadResult run();

 private:
  struct Connection;
  enum class Step : std::uint8_t { wait, ended };

  void open(std::uint32_t index);
  void send_request(Connection& connection, std::int64_t due_ns);
  void on_event(std::uint32_t index);
  Step advance(Connection& connection);
  Step read_response(Connection& connection);
  bool take_head(Connection& connection);
  void answered(Connection& connection);
  void failed(Connection& connection, const char* what);
  void connection_over(Connection& connection);
  void launch_due(std::int64_t now_ns);
  void turn(std::int64_t now_ns, std::int64_t until_ns);
  [[nodiscard]] bool finished(std::int64_t now_ns) const;
  [[nodiscard]] std::int64_t due_ns(std::uint64_t number) const;

  LoadOptions options_;
  std::string request_;
  Fd epoll_;
  struct SslCtxFree {
    void operator()(SSL_CTX* context) const { ::SSL_CTX_free(context); }
  };
  struct SessionFree {
    void operator()(SSL_SESSION* session) const { ::SSL_SESSION_free(session); }
  };
  std::unique_ptr<SSL_CTX, SslCtxFree> tls_;
  std::unique_ptr<SSL_SESSION, SessionFree> session_;  // the newest ticket
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::uint32_t> free_;  // open loop: connections without a request
  std::unique_ptr<char[]> buffer_;
  LoadResult result_;
  bool preparing_ = false;
  std::int64_t start_ns_ = 0;
  std::int64_t end_ns_ = 0;
  std::uint64_t launched_ = 0;
  std::uint64_t in_flight_ = 0;
};

}  // namespace lb::bench
