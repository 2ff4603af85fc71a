#include "lb/tls/session.hpp"

#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

namespace lb::tls {

/// OpenSSL's own socket BIO raises SIGPIPE and does not tell whether a read came up short, which saves one
/// receive a request.
struct SocketBio {
  static int read(BIO* bio, char* into, int size) {
    auto* const session = static_cast<Session*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    ssize_t n = 0;
    do {
      n = ::recv(session->fd_, into, static_cast<std::size_t>(size), 0);
    } while (n < 0 && errno == EINTR);
    session->drained_ = n < size;
    if (n == 0) session->at_end_ = true;
    if (n < 0) would_block_or_fail(bio, *session, true);
    return static_cast<int>(n);
  }

  static int write(BIO* bio, const char* bytes, int size) {
    auto* const session = static_cast<Session*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    ssize_t n = 0;
    while (!session->preamble_.empty()) [[unlikely]] {
      n = send(*session, session->preamble_.data(), session->preamble_.size());
      if (n > 0) session->preamble_.erase(0, static_cast<std::size_t>(n));
      if (n < 0) break;
    }
    if (n >= 0) n = send(*session, bytes, static_cast<std::size_t>(size));
    if (n < 0) would_block_or_fail(bio, *session, false);
    return static_cast<int>(n);
  }

  static long control(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
    if (command == BIO_CTRL_EOF) return static_cast<Session*>(BIO_get_data(bio))->at_end_ ? 1 : 0;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
  }

  static BIO_METHOD* method() {
    static BIO_METHOD* const kMade = [] {
      BIO_METHOD* const fresh = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "lb socket");
      LB_ASSERT(fresh != nullptr);
      BIO_meth_set_read(fresh, read);
      BIO_meth_set_write(fresh, write);
      BIO_meth_set_ctrl(fresh, control);
      return fresh;
    }();
    return kMade;
  }

 private:
  static ssize_t send(const Session& session, const char* bytes, std::size_t size) noexcept {
    ssize_t n = 0;
    do {
      n = ::send(session.fd_, bytes, size, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n;
  }
  static void would_block_or_fail(BIO* bio, Session& session, bool reading) {
    if (errno == EAGAIN) {
      reading ? BIO_set_retry_read(bio) : BIO_set_retry_write(bio);
    } else {
      session.os_error_ = errno;
    }
  }
};

std::unique_ptr<Session> Session::make(SSL_CTX* context, int fd) {
  std::unique_ptr<Session> made{new Session};
  made->fd_ = fd;
  made->ssl_.reset(SSL_new(context));
  BIO* const bio = made->ssl_ ? BIO_new(SocketBio::method()) : nullptr;
  if (bio == nullptr) {
    ERR_clear_error();
    return nullptr;
  }
  BIO_set_data(bio, made.get());
  BIO_set_init(bio, 1);
  SSL_set_bio(made->ssl_.get(), bio, bio);
  return made;
}

std::unique_ptr<Session> Session::accept(const ServerContext& context, int fd) {
  auto made = make(context.get(), fd);
  if (made) SSL_set_accept_state(made->ssl_.get());
  return made;
}

std::unique_ptr<Session> Session::connect(ClientTarget& target, int fd, Resumption resumption) {
  auto made = make(target.context().get(), fd);
  if (!made) return nullptr;
  SSL_set_connect_state(made->ssl_.get());
  if (!target.prepare(made->ssl_.get(), resumption)) {
    ERR_clear_error();
    return nullptr;
  }
  return made;
}

/// A session that ends without close_notify counts as broken for OpenSSL, which would not let it be resumed.
/// RFC 5246 7.2.1 has dropped that demand, RFC 8446 never made it.
Session::~Session() {
  if (ssl_) SSL_set_shutdown(ssl_.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
}

Status Session::explain(int outcome) {
  const int kind = SSL_get_error(ssl_.get(), outcome);
  if (kind == SSL_ERROR_WANT_READ) return Status::want_read;
  if (kind == SSL_ERROR_WANT_WRITE) return Status::want_write;
  if (kind == SSL_ERROR_ZERO_RETURN) return Status::closed;
  dead_ = true;
  const unsigned long first = ERR_peek_error();
  const int reason = ERR_GET_LIB(first) == ERR_LIB_SSL ? ERR_GET_REASON(first) : 0;
  plain_http_ = reason == SSL_R_HTTP_REQUEST;
  error_ = take_errors();
  if (const long verified = SSL_get_verify_result(ssl_.get());
      verified != X509_V_OK && reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    error_ += std::string{" ("} + X509_verify_cert_error_string(verified) + ")";
  }
  const bool ended = reason == SSL_R_UNEXPECTED_EOF_WHILE_READING || (kind == SSL_ERROR_SYSCALL && at_end_);
  if (ended) {
    error_ = established_ ? "the connection ended without close_notify"
                          : "the connection ended within the handshake";
    return Status::truncated;
  }
  if (os_error_ != 0 && kind == SSL_ERROR_SYSCALL) error_ = std::strerror(os_error_);
  if (error_.empty()) error_ = "TLS failed without a reason";
  return Status::failed;
}

/// OpenSSL itself forgets after a failure that there was a handshake.
void Session::note_established() noexcept {
  if (!established_) established_ = SSL_is_init_finished(ssl_.get()) == 1;
}

Io Session::handshake() {
  if (dead_) return {Status::failed, 0};
  const int outcome = SSL_do_handshake(ssl_.get());
  note_established();
  if (outcome == 1) return {Status::ok, 0};
  return {explain(outcome), 0};
}

Io Session::read(char* into, std::size_t size) {
  if (dead_) return {Status::failed, 0};
  std::size_t n = 0;
  const int outcome = SSL_read_ex(ssl_.get(), into, size, &n);
  note_established();
  if (outcome == 1) {
    read_wants_write_ = false;
    return {Status::ok, n};
  }
  const Status status = explain(outcome);
  read_wants_write_ = status == Status::want_write;
  return {status, 0};
}

Io Session::write(std::string_view bytes) {
  if (dead_) return {Status::failed, 0};
  Io io;
  while (!bytes.empty()) {
    std::size_t n = 0;
    const int outcome = SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &n);
    note_established();
    if (outcome != 1) {
      io.status = explain(outcome);
      return io;
    }
    io.bytes += n;
    bytes.remove_prefix(n);
  }
  return io;
}

void Session::close_notify() {
  if (dead_ || !established_) return;
  if (SSL_shutdown(ssl_.get()) < 0) ERR_clear_error();
}

bool Session::more_to_read() const noexcept {
  return !drained_ || SSL_has_pending(ssl_.get()) == 1;
}

bool Session::resumed() const noexcept {
  return SSL_session_reused(ssl_.get()) == 1;
}
bool Session::of_server() const noexcept {
  return SSL_is_server(ssl_.get()) == 1;
}

std::string_view Session::version() const noexcept {
  return SSL_get_version(ssl_.get());
}
std::string_view Session::alpn() const noexcept {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}
std::string_view Session::server_name() const noexcept {
  const char* const name = SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name);
  return name == nullptr ? std::string_view{} : std::string_view{name};
}

}  // namespace lb::tls
