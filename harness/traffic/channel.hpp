// A connected socket that speaks plain bytes or TLS, with the manners of recv and send: what would block is
// EAGAIN. The handshake of TLS happens within the first reads and writes. One thread; the owner watches the
// fd for both directions (edges) and, with TLS, tries both again after every event.
#pragma once

#include <openssl/ssl.h>
#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <string>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"

namespace lb::traffic {

struct SslFree {
  void operator()(SSL* p) const noexcept { SSL_free(p); }
  void operator()(SSL_CTX* p) const noexcept { SSL_CTX_free(p); }
  void operator()(SSL_SESSION* p) const noexcept { SSL_SESSION_free(p); }
};
using SslPtr = std::unique_ptr<SSL, SslFree>;
using SslContextPtr = std::unique_ptr<SSL_CTX, SslFree>;
using SslSessionPtr = std::unique_ptr<SSL_SESSION, SslFree>;

/// A client's context: ALPN http/1.1, TLS 1.2 and 1.3. `ca`: a PEM file that the server's certificate must
/// lead to; empty: whatever it shows is taken.
Result<SslContextPtr> tls_client_context(const std::string& ca);

/// A server's context with one certificate (PEM files). Sessions are resumed by tickets.
Result<SslContextPtr> tls_server_context(const std::string& certificate, const std::string& key);

class Channel final {
 public:
  Channel() = default;
  explicit Channel(Fd fd) noexcept : fd_(std::move(fd)) {}
  Channel(Channel&&) = default;
  Channel& operator=(Channel&&) = default;

  /// Speaks TLS from now on, as the client: `name` is sent as SNI and must be in the certificate, `resume`
  /// (may be null) is a session of an earlier connection. False when OpenSSL has no memory.
  [[nodiscard]] bool begin_client(SSL_CTX* context, const std::string& name, SSL_SESSION* resume);
  /// The same as the server.
  [[nodiscard]] bool begin_server(SSL_CTX* context);

  [[nodiscard]] int get() const noexcept { return fd_.get(); }
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(fd_); }
  [[nodiscard]] bool is_tls() const noexcept { return ssl_ != nullptr; }
  /// TLS: the handshake is over. Plain: always.
  [[nodiscard]] bool is_ready() const noexcept { return !ssl_ || SSL_is_init_finished(ssl_.get()) == 1; }
  [[nodiscard]] bool is_resumed() const noexcept { return ssl_ && SSL_session_reused(ssl_.get()) == 1; }
  /// A session for begin_client of a later connection, or null: none was given yet.
  [[nodiscard]] SslSessionPtr session() const;

  /// As ::recv: bytes, 0 at the end of what the peer sends (TLS: close_notify or FIN), -1 and errno.
  /// EPROTO: the peer's TLS is broken, or its certificate is not the one expected.
  ssize_t recv(void* to, std::size_t size);
  /// As ::send with MSG_NOSIGNAL.
  ssize_t send(const void* from, std::size_t size);
  /// No more will be sent: close_notify and FIN. -1 and errno as ::shutdown.
  int shut_write();
  /// Closes. TLS: a close_notify first, unless the handshake is not over.
  void reset();
  /// Closes, and says nothing before.
  void abort() noexcept {
    ssl_.reset();
    fd_.reset();
  }

 private:
  ssize_t failed(int result);

  Fd fd_;
  SslPtr ssl_;
};

}  // namespace lb::traffic
