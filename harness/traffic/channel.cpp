#include "harness/traffic/channel.hpp"

#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>

namespace lb::traffic {
namespace {

constexpr unsigned char kAlpn[] = "\x08http/1.1";

Error tls_error(const std::string& what) {
  char text[256] = "unknown";
  if (const unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof text);
  ERR_clear_error();
  return {Fault::environment, what + ": " + text, 0, false};
}

SslContextPtr make_context(const SSL_METHOD* method) {
  // OpenSSL writes without MSG_NOSIGNAL.
  std::signal(SIGPIPE, SIG_IGN);
  SslContextPtr context(SSL_CTX_new(method));
  if (!context) return context;
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_options(context.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
  return context;
}

int choose_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                unsigned int in_size, void*) {
  unsigned char* chosen = nullptr;
  const int found = SSL_select_next_proto(&chosen, out_size, kAlpn, sizeof kAlpn - 1, in, in_size);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

}  // namespace

Result<SslContextPtr> tls_client_context(const std::string& ca) {
  SslContextPtr context = make_context(TLS_client_method());
  if (!context) return std::unexpected(tls_error("TLS client"));
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_alpn_protos(context.get(), kAlpn, sizeof kAlpn - 1);
  if (ca.empty()) return context;
  if (SSL_CTX_load_verify_file(context.get(), ca.c_str()) != 1) return std::unexpected(tls_error(ca));
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  return context;
}

Result<SslContextPtr> tls_server_context(const std::string& certificate, const std::string& key) {
  SslContextPtr context = make_context(TLS_server_method());
  if (!context) return std::unexpected(tls_error("TLS server"));
  if (SSL_CTX_use_certificate_chain_file(context.get(), certificate.c_str()) != 1)
    return std::unexpected(tls_error(certificate));
  if (SSL_CTX_use_PrivateKey_file(context.get(), key.c_str(), SSL_FILETYPE_PEM) != 1)
    return std::unexpected(tls_error(key));
  SSL_CTX_set_alpn_select_cb(context.get(), choose_alpn, nullptr);
  return context;
}

bool Channel::begin_client(SSL_CTX* context, const std::string& name, SSL_SESSION* resume) {
  ssl_.reset(SSL_new(context));
  if (!ssl_ || SSL_set_fd(ssl_.get(), fd_.get()) != 1) return false;
  SSL_set_connect_state(ssl_.get());
  SSL_set_tlsext_host_name(ssl_.get(), name.c_str());
  SSL_set1_host(ssl_.get(), name.c_str());
  if (resume != nullptr) SSL_set_session(ssl_.get(), resume);
  return true;
}

bool Channel::begin_server(SSL_CTX* context) {
  ssl_.reset(SSL_new(context));
  if (!ssl_ || SSL_set_fd(ssl_.get(), fd_.get()) != 1) return false;
  SSL_set_accept_state(ssl_.get());
  return true;
}

SslSessionPtr Channel::session() const {
  if (!ssl_) return nullptr;
  SslSessionPtr session(SSL_get1_session(ssl_.get()));
  if (session && SSL_SESSION_is_resumable(session.get()) != 1) session.reset();
  return session;
}

/// What a call of OpenSSL that brought nothing means, in the words of recv and send.
ssize_t Channel::failed(int result) {
  const int os_error = errno;
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      errno = EAGAIN;
      return -1;
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    case SSL_ERROR_SYSCALL:
      if (os_error == 0) return 0;
      errno = os_error;
      return -1;
    default:
      errno = EPROTO;
      return -1;
  }
}

ssize_t Channel::recv(void* to, std::size_t size) {
  if (!ssl_) return ::recv(fd_.get(), to, size, 0);
  ERR_clear_error();
  errno = 0;
  const int n = SSL_read(ssl_.get(), to, static_cast<int>(std::min<std::size_t>(size, INT_MAX)));
  return n > 0 ? n : failed(n);
}

ssize_t Channel::send(const void* from, std::size_t size) {
  if (!ssl_) return ::send(fd_.get(), from, size, MSG_NOSIGNAL);
  ERR_clear_error();
  errno = 0;
  const int n = SSL_write(ssl_.get(), from, static_cast<int>(std::min<std::size_t>(size, INT_MAX)));
  if (n > 0) return n;
  const ssize_t result = failed(n);
  if (result == 0) errno = EPIPE;
  return -1;
}

int Channel::shut_write() {
  if (ssl_ && is_ready()) {
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
  }
  return ::shutdown(fd_.get(), SHUT_WR);
}

void Channel::reset() {
  if (ssl_ && is_ready()) {
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
  }
  ssl_.reset();
  fd_.reset();
}

}  // namespace lb::traffic
