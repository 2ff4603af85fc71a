#include "lb/tls/server_context.hpp"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace lb::tls {
namespace {

constexpr long kSessionSeconds =
    24L * 3600;  // how long a ticket is good for; bounded by the keys' rotation too
constexpr std::size_t kNameBytesMax = 255;  // RFC 1035 2.3.4

/// What ServerContext hangs on its SSL_CTXs, so that the ticket callback, which has no argument, finds it.
int context_index() {
  static const int kIndex = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return kIndex;
}

/// Sessions are taken only by a listener that demands the same of its clients' certificates.
std::array<unsigned char, 32> session_context(const ServerOptions& options) {
  std::string identity = "lb-tls-1 " + std::to_string(static_cast<int>(options.client_certificates));
  if (options.client_certificates != ClientCertificates::none) {
    for (const X509Ptr& authority : options.client_authorities) {
      std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
      unsigned size = 0;
      X509_digest(authority.get(), EVP_sha256(), digest.data(), &size);
      identity.append(reinterpret_cast<const char*>(digest.data()), size);
    }
  }
  std::array<unsigned char, 32> result{};
  unsigned size = 0;
  EVP_Digest(identity.data(), identity.size(), result.data(), &size, EVP_sha256(), nullptr);
  return result;
}

int number_of(Version version) noexcept {
  return version == Version::tls1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;
}

Result<void> use_certificate(SSL_CTX* context, Certificate& certificate) {
  if (SSL_CTX_use_certificate(context, certificate.leaf.get()) != 1)
    return std::unexpected(config_rejected("certificate"));
  if (SSL_CTX_use_PrivateKey(context, certificate.key.get()) != 1)
    return std::unexpected(config_rejected("private key"));
  for (const X509Ptr& issuer : certificate.chain) {
    if (SSL_CTX_add1_chain_cert(context, issuer.get()) != 1)
      return std::unexpected(config_rejected("certificate chain"));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<ServerContext>> ServerContext::create(ServerOptions options) {
  LB_ASSERT(!options.certificates.empty());
  std::unique_ptr<ServerContext> made{new ServerContext};
  made->ticket_keys_ = options.ticket_keys ? options.ticket_keys : std::make_shared<TicketKeys>();
  for (const std::string& protocol : options.alpn) {
    LB_ASSERT(!protocol.empty() && protocol.size() < 256);
    made->alpn_ += static_cast<char>(protocol.size());
    made->alpn_ += protocol;
  }
  for (Certificate& certificate : options.certificates) {
    if (auto added = made->add(certificate, options); !added) return std::unexpected(added.error());
  }
  return made;
}

Result<void> ServerContext::add(Certificate& certificate, const ServerOptions& options) {
  SslCtxPtr context{SSL_CTX_new(TLS_server_method())};
  if (!context) return std::unexpected(openssl_error("SSL_CTX_new"));
  SSL_CTX* const raw = context.get();
  SSL_CTX_set_ex_data(raw, context_index(), this);
  SSL_CTX_set_min_proto_version(raw, number_of(options.min_version));
  SSL_CTX_set_max_proto_version(raw, number_of(options.max_version));
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(
      raw, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(raw, 1);
  const char* const ciphers = options.ciphers.empty() ? kCiphersDefault : options.ciphers.c_str();
  if (SSL_CTX_set_cipher_list(raw, ciphers) != 1) return std::unexpected(config_rejected("ciphers"));
  if (SSL_CTX_set1_groups_list(raw, kGroupsDefault) != 1) return std::unexpected(config_rejected("groups"));
  if (auto used = use_certificate(raw, certificate); !used) return used;

  // Sessions live in tickets alone: a cache would be one process's.
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_timeout(raw, kSessionSeconds);
  const auto identity = session_context(options);
  SSL_CTX_set_session_id_context(raw, identity.data(), identity.size());
  SSL_CTX_set_tlsext_ticket_key_evp_cb(raw, on_ticket);
  if (auto set = require_client_certificates(raw, options); !set) return set;

  SSL_CTX_set_tlsext_servername_callback(raw, on_server_name);
  SSL_CTX_set_tlsext_servername_arg(raw, this);
  if (!alpn_.empty()) SSL_CTX_set_alpn_select_cb(raw, on_alpn, this);

  for (const std::string& name : certificate.names) {  // the first bearer of a name has it
    if (name.starts_with("*.")) {
      wildcards_.try_emplace(name.substr(1), raw);
    } else {
      exact_.try_emplace(name, raw);
    }
  }
  contexts_.push_back(std::move(context));
  ERR_clear_error();
  return {};
}

Result<void> ServerContext::require_client_certificates(SSL_CTX* context, const ServerOptions& options) {
  if (options.client_certificates == ClientCertificates::none) return {};
  X509_STORE* const store = SSL_CTX_get_cert_store(context);
  for (const X509Ptr& authority : options.client_authorities) {
    if (X509_STORE_add_cert(store, authority.get()) != 1 ||
        SSL_CTX_add_client_CA(context, authority.get()) != 1) {
      return std::unexpected(config_rejected("client_ca"));
    }
  }
  const bool required = options.client_certificates == ClientCertificates::required;
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), nullptr);
  return {};
}

/// RFC 6125 6.4.3: a wildcard stands for exactly one label, the leftmost; an exact name goes before it.
SSL_CTX* ServerContext::find(std::string_view server_name) const {
  if (server_name.size() > kNameBytesMax) return nullptr;
  if (server_name.ends_with('.')) server_name.remove_suffix(1);
  std::string name{server_name};
  std::ranges::transform(name, name.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (const auto found = exact_.find(name); found != exact_.end()) return found->second;
  const std::size_t dot = name.find('.');
  if (dot == std::string::npos || dot == 0) return nullptr;
  const auto found = wildcards_.find(name.substr(dot));
  return found == wildcards_.end() ? nullptr : found->second;
}

int ServerContext::on_server_name(SSL* ssl, int* /*alert*/, void* self) {
  const char* const name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (name == nullptr) return SSL_TLSEXT_ERR_NOACK;
  SSL_CTX* const found = static_cast<ServerContext*>(self)->find(name);
  // RFC 6066 3 lets a server go on for a name that it does not know; the client judges the certificate.
  if (found == nullptr) return SSL_TLSEXT_ERR_NOACK;
  if (found != SSL_get_SSL_CTX(ssl)) SSL_set_SSL_CTX(ssl, found);
  return SSL_TLSEXT_ERR_OK;
}

int ServerContext::on_alpn(SSL* /*ssl*/, const unsigned char** out, unsigned char* out_size,
                           const unsigned char* in, unsigned in_size, void* self) {
  const std::string& ours = static_cast<ServerContext*>(self)->alpn_;
  unsigned char* chosen = nullptr;
  const int outcome =
      SSL_select_next_proto(&chosen, out_size, reinterpret_cast<const unsigned char*>(ours.data()),
                            static_cast<unsigned>(ours.size()), in, in_size);
  // RFC 7301 3.2: with nothing in common the handshake ends in no_application_protocol.
  if (outcome != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

/// 1: use it; 2: use it and give the client a new ticket; 0: unknown, handshake in full; -1: cannot.
int ServerContext::on_ticket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                             EVP_MAC_CTX* mac, int sealing) {
  const auto* const self =
      static_cast<ServerContext*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), context_index()));
  const std::shared_ptr<const TicketKeys::Ring> ring = self->ticket_keys_->get();
  const TicketKey* key = &ring->front();
  if (sealing == 1) {
    if (RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1) return -1;
    std::memcpy(name, key->name.data(), key->name.size());
  } else {
    const auto found = std::ranges::find_if(*ring, [&](const TicketKey& one) {
      return std::memcmp(name, one.name.data(), one.name.size()) == 0;
    });
    if (found == ring->end()) return 0;
    key = &*found;
  }
  char digest[] = "SHA256";
  const std::array<OSSL_PARAM, 3> parameters{
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, const_cast<unsigned char*>(key->mac.data()),
                                        key->mac.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_construct_end()};
  if (EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key->cipher.data(), iv, sealing) != 1 ||
      EVP_MAC_CTX_set_params(mac, parameters.data()) != 1) {
    return -1;
  }
  if (sealing == 1) return 1;
  // A client of TLS 1.3 uses a ticket once (RFC 8446 C.4): without a new one only every other connection
  // resumes.
  return key == &ring->front() && SSL_version(ssl) < TLS1_3_VERSION ? 1 : 2;
}

std::string ciphers_fault(const std::string& ciphers) {
  const SslCtxPtr context{SSL_CTX_new(TLS_server_method())};
  const bool good = context && SSL_CTX_set_cipher_list(context.get(), ciphers.c_str()) == 1;
  const std::string reasons = take_errors();
  return good ? "" : reasons;
}

}  // namespace lb::tls
