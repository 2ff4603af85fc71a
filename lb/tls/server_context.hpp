// ServerContext: how a TLS listener answers handshakes: its certificates, chosen by the name that the client
// asks for, versions, ciphers, tickets, client certificates. Immutable once made but for the ticket keys;
// shared by all workers. Any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lb/tls/certificate.hpp"
#include "lb/tls/openssl.hpp"
#include "lb/tls/ticket_keys.hpp"

namespace lb::tls {

enum class Version : std::uint8_t { tls1_2, tls1_3 };
enum class ClientCertificates : std::uint8_t { none, optional, required };

/// Mozilla's "intermediate" list (version 5.7) without its finite-field suites, which no client needs that
/// speaks TLS 1.2: for TLS 1.2; those of TLS 1.3 are all good and not configurable.
inline constexpr const char* kCiphersDefault =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
inline constexpr const char* kGroupsDefault = "X25519:P-256:P-384";

struct ServerOptions {
  std::vector<Certificate> certificates;  // at least one; the first answers names that nobody bears
  Version min_version = Version::tls1_2;
  Version max_version = Version::tls1_3;
  std::string ciphers;  // OpenSSL's notation, for TLS 1.2; empty: kCiphersDefault
  std::vector<X509Ptr> client_authorities;
  ClientCertificates client_certificates = ClientCertificates::none;
  std::vector<std::string> alpn{"http/1.1"};  // most wanted first; empty: the extension is ignored
  std::shared_ptr<TicketKeys> ticket_keys;    // null: keys of its own
};

class ServerContext final {
 public:
  static Result<std::unique_ptr<ServerContext>> create(ServerOptions options);
  ServerContext(const ServerContext&) = delete;
  ServerContext& operator=(const ServerContext&) = delete;

  /// For a new connection.
  [[nodiscard]] SSL_CTX* get() const noexcept { return contexts_.front().get(); }

 private:
  ServerContext() = default;
  static int on_server_name(SSL* ssl, int* alert, void* self);
  static int on_alpn(SSL* ssl, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                     unsigned in_size, void* self);
  static int on_ticket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                       EVP_MAC_CTX* mac, int sealing);
  Result<void> add(Certificate& certificate, const ServerOptions& options);
  Result<void> require_client_certificates(SSL_CTX* context, const ServerOptions& options);
  [[nodiscard]] SSL_CTX* find(std::string_view server_name) const;

  std::vector<SslCtxPtr> contexts_;                      // one a certificate
  std::unordered_map<std::string, SSL_CTX*> exact_;      // by whole name
  std::unordered_map<std::string, SSL_CTX*> wildcards_;  // "*.example.com" by ".example.com"
  std::string alpn_;                                     // as on the wire: RFC 7301 3.1
  std::shared_ptr<TicketKeys> ticket_keys_;
};

/// Why OpenSSL does not take `ciphers`, or "".
std::string ciphers_fault(const std::string& ciphers);

}  // namespace lb::tls
