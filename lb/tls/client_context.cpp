#include "lb/tls/client_context.hpp"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <array>

#include "lb/tls/server_context.hpp"

namespace lb::tls {
namespace {

int target_index() {
  static const int kIndex = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return kIndex;
}

bool is_address(const std::string& name) {
  std::array<unsigned char, 16> bytes{};
  return ::inet_pton(AF_INET, name.c_str(), bytes.data()) == 1 ||
         ::inet_pton(AF_INET6, name.c_str(), bytes.data()) == 1;
}

}  // namespace

Result<std::unique_ptr<ClientContext>> ClientContext::create(const ClientOptions& options) {
  std::unique_ptr<ClientContext> made{new ClientContext};
  made->verify_ = options.verify;
  made->context_.reset(SSL_CTX_new(TLS_client_method()));
  SSL_CTX* const raw = made->context_.get();
  if (raw == nullptr) return std::unexpected(openssl_error("SSL_CTX_new"));
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(
      raw, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(raw, 1);
  if (SSL_CTX_set_cipher_list(raw, kCiphersDefault) != 1) return std::unexpected(config_rejected("ciphers"));
  if (options.verify) {
    SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, nullptr);
    const int trusted = options.ca_file.empty() ? SSL_CTX_set_default_verify_paths(raw)
                                                : SSL_CTX_load_verify_file(raw, options.ca_file.c_str());
    if (trusted != 1) return std::unexpected(config_rejected("authorities " + options.ca_file));
  }
  if (options.certificate) {
    const Certificate& own = *options.certificate;
    if (SSL_CTX_use_certificate(raw, own.leaf.get()) != 1 ||
        SSL_CTX_use_PrivateKey(raw, own.key.get()) != 1) {
      return std::unexpected(config_rejected("certificate"));
    }
    for (const X509Ptr& issuer : own.chain) {
      if (SSL_CTX_add1_chain_cert(raw, issuer.get()) != 1)
        return std::unexpected(config_rejected("certificate chain"));
    }
  }
  if (!options.alpn.empty()) {
    const std::string wire = static_cast<char>(options.alpn.size()) + options.alpn;
    SSL_CTX_set_alpn_protos(raw, reinterpret_cast<const unsigned char*>(wire.data()),
                            static_cast<unsigned>(wire.size()));
  }
  // Each target keeps its own session; OpenSSL's cache would only hold them a second time.
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(raw, ClientTarget::on_new_session);
  ERR_clear_error();
  return made;
}

bool ClientTarget::prepare(SSL* ssl, Resumption resumption) {
  const bool may_resume = resumption == Resumption::allowed;
  if (may_resume && SSL_set_ex_data(ssl, target_index(), this) != 1) return false;
  const bool address = is_address(name_);
  if (!name_.empty() && !address && SSL_set_tlsext_host_name(ssl, name_.c_str()) != 1) return false;
  if (context_->verifies()) {
    X509_VERIFY_PARAM* const demands = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(demands, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    const int set = address ? X509_VERIFY_PARAM_set1_ip_asc(demands, name_.c_str())
                            : X509_VERIFY_PARAM_set1_host(demands, name_.c_str(), name_.size());
    if (set != 1 || name_.empty()) return false;
  }
  if (!may_resume) return true;
  const std::scoped_lock lock{mutex_};
  if (session_) {
    const SessionPtr copy{SSL_SESSION_dup(session_.get())};
    if (copy) SSL_set_session(ssl, copy.get());
  }
  return true;
}

/// OpenSSL 3.0 marks a session of TLS 1.3 that was used as not to be used again, and passes the mark on to
/// those that come from tickets of the resumed connection. What is kept is therefore a copy by way of its
/// bytes, and each connection is given a copy of that.
int ClientTarget::on_new_session(SSL* ssl, SSL_SESSION* session) {
  auto* const target = static_cast<ClientTarget*>(SSL_get_ex_data(ssl, target_index()));
  if (target == nullptr) return 0;
  unsigned char* bytes = nullptr;
  const int size = i2d_SSL_SESSION(session, &bytes);
  const unsigned char* next = bytes;
  SessionPtr kept{size > 0 ? d2i_SSL_SESSION(nullptr, &next, size) : nullptr};
  OPENSSL_free(bytes);
  if (kept) {
    const std::scoped_lock lock{target->mutex_};
    target->session_.swap(kept);
  }
  return 0;  // the reference stays OpenSSL's
}

}  // namespace lb::tls
