// ClientContext: how connections to backends are secured: whom to trust, what to show. One may serve many
// backends; making one that trusts the system's authorities costs about a megabyte. Immutable once made; any
// thread.
//
// ClientTarget: one backend as seen by TLS: the name it must prove, and the session to resume.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "lb/tls/certificate.hpp"
#include "lb/tls/openssl.hpp"

namespace lb::tls {

struct ClientOptions {
  bool verify = true;
  std::string ca_file;                     // empty: the system's authorities
  std::optional<Certificate> certificate;  // to show when the backend asks for one
  std::string alpn = "http/1.1";           // empty: none offered
};

class ClientContext final {
 public:
  static Result<std::unique_ptr<ClientContext>> create(const ClientOptions& options);
  ClientContext(const ClientContext&) = delete;
  ClientContext& operator=(const ClientContext&) = delete;
  [[nodiscard]] SSL_CTX* get() const noexcept { return context_.get(); }
  [[nodiscard]] bool verifies() const noexcept { return verify_; }

 private:
  ClientContext() = default;
  SslCtxPtr context_;
  bool verify_ = true;
};

/// A resumed session proves that the backend is the one it was, and says nothing of its certificate today.
enum class Resumption : std::uint8_t { allowed, never };

class ClientTarget final {
 public:
  /// `name` is a DNS name, an IPv4 or an IPv6 address (without brackets); empty only where nothing is
  /// verified.
  ClientTarget(std::shared_ptr<const ClientContext> context, std::string name)
      : context_(std::move(context)), name_(std::move(name)) {}

  [[nodiscard]] const ClientContext& context() const noexcept { return *context_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  /// Makes the handshake of `ssl`, which is one of context(), prove the name and, unless it is to be a full
  /// one, resume the last session. False: the name cannot be asked for, or no memory.
  [[nodiscard]] bool prepare(SSL* ssl, Resumption resumption = Resumption::allowed);

 private:
  friend class ClientContext;
  static int on_new_session(SSL* ssl, SSL_SESSION* session);

  std::shared_ptr<const ClientContext> context_;
  std::string name_;
  std::mutex mutex_;
  SessionPtr session_;  // the newest that the backend offered; never used itself, but copied
};

}  // namespace lb::tls
