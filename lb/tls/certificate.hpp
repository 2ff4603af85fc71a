// Certificate: a certificate with its chain and its private key, read from PEM files and checked. A value
// that owns OpenSSL objects; move-only. Reading blocks: control plane only.
#pragma once

#include <chrono>
#include <expected>
#include <string>
#include <vector>

#include "lb/tls/openssl.hpp"

namespace lb::tls {

using WallTime = std::chrono::system_clock::time_point;

inline constexpr std::size_t kPemBytesMax = 4U << 20U;

/// Why a certificate cannot be used, and which of its two files is to blame.
struct CertificateFault {
  bool in_key = false;
  std::string message;  // says what was found, without the file's name where the caller shows it
};

struct Certificate final {
  X509Ptr leaf;
  std::vector<X509Ptr> chain;  // what follows the leaf in its file, in that order
  KeyPtr key;
  std::vector<std::string> names;  // DNS names it is valid for, lower case, wildcards as they stand
  WallTime not_before;
  WallTime not_after;

  /// Reads both files (they may be one) and checks that the key belongs to the certificate. The dates are not
  /// judged: date_fault() does.
  static std::expected<Certificate, CertificateFault> load(const std::string& cert_file,
                                                           const std::string& key_file);
};

/// "expired on 2026-01-01 ...", "is not valid before ...", or "" when the certificate is good at `now`.
std::string date_fault(const Certificate& certificate, WallTime now);

/// Reads a file of CA certificates. Fails when it cannot be read or holds none.
Result<std::vector<X509Ptr>> load_authorities(const std::string& file);

/// "2026-11-23 10:00:00 UTC".
std::string time_text(WallTime time);

}  // namespace lb::tls
