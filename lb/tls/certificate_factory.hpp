// For tests: makes authorities, certificates and keys while the test runs, so that none is checked in to
// expire. P-256 keys: a millisecond each. Failures of OpenSSL end the test program.
#pragma once

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "lb/tls/certificate.hpp"

namespace lb::tls::testing {

inline std::string pem_of(X509* certificate) {
  const BioPtr bio{BIO_new(BIO_s_mem())};
  LB_ASSERT(PEM_write_bio_X509(bio.get(), certificate) == 1);
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &bytes);
  return {bytes, static_cast<std::size_t>(size)};
}

inline std::string pem_of(EVP_PKEY* key, const char* passphrase = nullptr) {
  const BioPtr bio{BIO_new(BIO_s_mem())};
  const EVP_CIPHER* const cipher = passphrase == nullptr ? nullptr : EVP_aes_128_cbc();
  LB_ASSERT(PEM_write_bio_PKCS8PrivateKey(
                bio.get(), key, cipher, passphrase,
                passphrase == nullptr ? 0 : static_cast<int>(std::string{passphrase}.size()), nullptr,
                nullptr) == 1);
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &bytes);
  return {bytes, static_cast<std::size_t>(size)};
}

struct Wish {
  std::string common_name;
  std::vector<std::string> dns{};
  std::vector<std::string> ips{};
  std::chrono::seconds valid_from{-3600};  // from now
  std::chrono::seconds valid_for{365 * 24 * 3600};
  bool authority = false;
  bool rsa = false;
};

/// A certificate with its key, both as PEM too.
struct Issued {
  X509Ptr certificate;
  KeyPtr key;
  std::string cert_pem;
  std::string key_pem;
};

/// Signed by `issuer`, or by itself.
inline Issued issue(const Wish& wish, const Issued* issuer = nullptr) {
  Issued made;
  made.key.reset(wish.rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256"));
  made.certificate.reset(X509_new());
  X509* const x = made.certificate.get();
  X509_set_version(x, 2);
  static int serial = 1000;
  ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
  const auto from = static_cast<long>(wish.valid_from.count());
  X509_gmtime_adj(X509_getm_notBefore(x), from);
  X509_gmtime_adj(X509_getm_notAfter(x), from + static_cast<long>(wish.valid_for.count()));
  X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(wish.common_name.c_str()), -1, -1, 0);
  X509* const signer = issuer == nullptr ? x : issuer->certificate.get();
  X509_set_issuer_name(x, X509_get_subject_name(signer));
  X509_set_pubkey(x, made.key.get());
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, signer, x, nullptr, nullptr, 0);
  const auto extend = [&](int nid, const std::string& value) {
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    LB_ASSERT(extension != nullptr);
    X509_add_ext(x, extension, -1);
    X509_EXTENSION_free(extension);
  };
  if (wish.authority) extend(NID_basic_constraints, "critical,CA:TRUE");
  std::string names;
  for (const std::string& dns : wish.dns) names += (names.empty() ? "DNS:" : ",DNS:") + dns;
  for (const std::string& ip : wish.ips) names += (names.empty() ? "IP:" : ",IP:") + ip;
  if (!names.empty()) extend(NID_subject_alt_name, names);
  EVP_PKEY* const signing = issuer == nullptr ? made.key.get() : issuer->key.get();
  LB_ASSERT(X509_sign(x, signing, EVP_sha256()) > 0);
  made.cert_pem = pem_of(x);
  made.key_pem = pem_of(made.key.get());
  return made;
}

/// A folder of its own, gone at the end.
class PemFolder final {
 public:
  PemFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lb-tls-XXXXXX").string();
    LB_ASSERT(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~PemFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  PemFolder(const PemFolder&) = delete;
  PemFolder& operator=(const PemFolder&) = delete;

  /// Writes the file; its whole path.
  std::string write(const std::string& name, const std::string& text) const {
    const std::filesystem::path file = path_ / name;
    std::ofstream{file} << text;
    return file.string();
  }
  [[nodiscard]] std::string path(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// Writes NAME.pem and NAME.key.
struct IssuedFiles {
  std::string cert;
  std::string key;
};
inline IssuedFiles save(const PemFolder& folder, const std::string& name, const Issued& issued) {
  return {folder.write(name + ".pem", issued.cert_pem), folder.write(name + ".key", issued.key_pem)};
}

}  // namespace lb::tls::testing
