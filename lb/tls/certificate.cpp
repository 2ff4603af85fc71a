#include "lb/tls/certificate.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "lb/base/file.hpp"

namespace lb::tls {
namespace {

using NamesPtr = std::unique_ptr<GENERAL_NAMES, Freed<GENERAL_NAMES_free>>;

BioPtr memory_bio(const std::string& bytes) {
  return BioPtr{BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size()))};
}

/// Nobody is there to be asked for a passphrase.
int no_passphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

WallTime wall_time(const ASN1_TIME* time) {
  std::tm parts{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

std::string lower(std::string_view text) {
  std::string result{text};
  std::ranges::transform(result, result.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return result;
}

/// RFC 6125 6.4.4: the common name speaks only where there is no DNS name beside it.
std::vector<std::string> names_of(X509* leaf) {
  std::vector<std::string> names;
  const NamesPtr found{
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(leaf, NID_subject_alt_name, nullptr, nullptr))};
  for (int i = 0; found && i < sk_GENERAL_NAME_num(found.get()); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(found.get(), i);
    if (name->type != GEN_DNS) continue;
    const auto* const bytes = reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName));
    names.push_back(lower({bytes, static_cast<std::size_t>(ASN1_STRING_length(name->d.dNSName))}));
  }
  if (names.empty()) {
    std::array<char, 256> common{};
    const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(leaf), NID_commonName, common.data(),
                                               static_cast<int>(common.size()));
    if (size > 0) names.push_back(lower({common.data(), static_cast<std::size_t>(size)}));
  }
  return names;
}

/// All certificates of a PEM text. What else stands in it, a key say, is passed over.
Result<std::vector<X509Ptr>> read_certificates(const std::string& pem) {
  const BioPtr bio = memory_bio(pem);
  std::vector<X509Ptr> found;
  for (;;) {
    X509Ptr one{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)};
    if (!one) break;
    found.push_back(std::move(one));
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (!at_end) return std::unexpected(openssl_error("cannot read its certificates", Fault::config));
  ERR_clear_error();
  if (found.empty()) {
    return std::unexpected(Error{.fault = Fault::config, .message = "holds no certificate in PEM format"});
  }
  return found;
}

std::expected<KeyPtr, std::string> read_key(const std::string& pem) {
  const BioPtr bio = memory_bio(pem);
  bool asked = false;
  KeyPtr key{PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, &asked)};
  const bool none = pem.find("PRIVATE KEY-----") == std::string::npos;
  const std::string reasons = take_errors();
  if (key) return key;
  if (asked) return std::unexpected("holds an encrypted private key, expected one without a passphrase");
  if (none) return std::unexpected("holds no private key in PEM format");
  return std::unexpected("cannot read its private key: " + reasons);
}

}  // namespace

std::expected<Certificate, CertificateFault> Certificate::load(const std::string& cert_file,
                                                               const std::string& key_file) {
  const auto cert_text = read_file(cert_file, kPemBytesMax);
  if (!cert_text) return std::unexpected(CertificateFault{false, "cannot " + cert_text.error().message});
  auto certificates = read_certificates(*cert_text);
  if (!certificates) {
    return std::unexpected(CertificateFault{false, cert_file + " " + certificates.error().message});
  }
  const auto key_text = read_file(key_file, kPemBytesMax);
  if (!key_text) return std::unexpected(CertificateFault{true, "cannot " + key_text.error().message});
  auto key = read_key(*key_text);
  if (!key) return std::unexpected(CertificateFault{true, key_file + " " + key.error()});

  Certificate result;
  result.leaf = std::move(certificates->front());
  certificates->erase(certificates->begin());
  result.chain = std::move(*certificates);
  result.key = std::move(*key);
  const bool match = X509_check_private_key(result.leaf.get(), result.key.get()) == 1;
  ERR_clear_error();
  if (!match) {
    return std::unexpected(
        CertificateFault{true, key_file + " holds the key of another certificate than " + cert_file});
  }
  result.names = names_of(result.leaf.get());
  result.not_before = wall_time(X509_get0_notBefore(result.leaf.get()));
  result.not_after = wall_time(X509_get0_notAfter(result.leaf.get()));
  return result;
}

std::string date_fault(const Certificate& certificate, WallTime now) {
  if (now >= certificate.not_after) return "expired on " + time_text(certificate.not_after);
  if (now < certificate.not_before) return "is not valid before " + time_text(certificate.not_before);
  return {};
}

Result<std::vector<X509Ptr>> load_authorities(const std::string& file) {
  const auto text = read_file(file, kPemBytesMax);
  if (!text)
    return std::unexpected(Error{.fault = Fault::config, .message = "cannot " + text.error().message});
  auto found = read_certificates(*text);
  if (!found) found.error().message = file + " " + found.error().message;
  return found;
}

std::string time_text(WallTime time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 64> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts)};
}

}  // namespace lb::tls
