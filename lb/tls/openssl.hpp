// Owners of OpenSSL's objects, and its error queue as text. Only lb/tls includes OpenSSL's headers. OpenSSL
// keeps one error queue a thread; what is left in it is taken for the failure of a later call, so whoever
// calls a function that may fail takes the queue afterwards.
#pragma once

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

#include "lb/base/result.hpp"

namespace lb::tls {

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* object) const noexcept {
    Free(object);
  }
};

using SslPtr = std::unique_ptr<SSL, Freed<SSL_free>>;
using SslCtxPtr = std::unique_ptr<SSL_CTX, Freed<SSL_CTX_free>>;
using SessionPtr = std::unique_ptr<SSL_SESSION, Freed<SSL_SESSION_free>>;
using X509Ptr = std::unique_ptr<X509, Freed<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using BioPtr = std::unique_ptr<BIO, Freed<BIO_free_all>>;

/// Empties this thread's error queue. One line: the reasons, the first cause first; "" when it was empty.
std::string take_errors();

/// "CALL: reasons", and empties the queue.
Error openssl_error(const std::string& call, Fault fault = Fault::self);

/// The same, of a call whose arguments come from the configuration.
inline Error config_rejected(const std::string& call) {
  return openssl_error(call, Fault::config);
}

}  // namespace lb::tls
