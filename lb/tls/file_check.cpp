#include "lb/tls/file_check.hpp"

#include <sys/stat.h>

#include <map>
#include <utility>

#include "lb/config/rules.hpp"
#include "lb/tls/server_context.hpp"

namespace lb::tls {
namespace {

/// Each file is read once, however many listeners or backends name it.
class FileCheck final {
 public:
  explicit FileCheck(WallTime now) : now_(now) {}

  std::vector<ConfigFinding> run(const Config& config, std::span<const std::string> listen_pointers) {
    for (std::size_t i = 0; i < config.listen.size(); ++i) {
      const auto& tls = config.listen[i].tls;
      if (tls) listener(*tls, listen_pointer(listen_pointers, i) + "/tls");
    }
    for (std::size_t i = 0; i < config.backends.size(); ++i) {
      const auto& tls = config.backends[i].tls;
      if (!tls) continue;
      const std::string pointer = "/backends/" + std::to_string(i) + "/tls";
      if (!tls->ca.empty()) authorities(tls->ca, pointer + "/ca");
      if (!tls->cert.empty()) certificate(tls->cert, tls->key, pointer);
    }
    return std::move(findings_);
  }

 private:
  void listener(const ListenerTlsConfig& tls, const std::string& pointer) {
    for (std::size_t k = 0; k < tls.certificates.size(); ++k) {
      const CertificateFiles& files = tls.certificates[k];
      certificate(files.cert, files.key, pointer + "/certificates/" + std::to_string(k));
    }
    if (!tls.client_ca.empty()) authorities(tls.client_ca, pointer + "/client_ca");
    if (tls.ciphers.empty()) return;
    if (const std::string fault = ciphers_fault(tls.ciphers); !fault.empty())
      error(pointer + "/ciphers", "OpenSSL does not take this list: " + fault);
  }

  void certificate(const std::string& cert, const std::string& key, const std::string& pointer) {
    const auto [known, fresh] = pairs_.try_emplace({cert, key});
    if (fresh) known->second = judge(cert, key);
    const Verdict& verdict = known->second;
    const std::string place = pointer + (verdict.in_key ? "/key" : "/cert");
    if (!verdict.error.empty()) error(place, verdict.error);
    if (fresh && !verdict.warning.empty()) findings_.push_back({place, verdict.warning, true});
  }

  struct Verdict {
    bool in_key = false;
    std::string error;
    std::string warning;
  };
  [[nodiscard]] Verdict judge(const std::string& cert, const std::string& key) const {
    const auto loaded = Certificate::load(cert, key);
    if (!loaded) return {.in_key = loaded.error().in_key, .error = loaded.error().message};
    if (const std::string fault = date_fault(*loaded, now_); !fault.empty())
      return {.error = cert + " " + fault};
    if (loaded->not_after - now_ < kExpiresSoon)
      return {.warning = cert + " expires on " + time_text(loaded->not_after)};
    struct stat status{};
    if (::stat(key.c_str(), &status) == 0 && (status.st_mode & S_IROTH) != 0)
      return {.in_key = true, .warning = key + " is a private key that everybody may read"};
    return {};
  }

  void authorities(const std::string& file, const std::string& pointer) {
    const auto [known, fresh] = authorities_.try_emplace(file);
    if (fresh) {
      const auto loaded = load_authorities(file);
      if (!loaded) known->second = loaded.error().message;
    }
    if (!known->second.empty()) error(pointer, known->second);
  }

  void error(std::string pointer, std::string message) {
    findings_.push_back({std::move(pointer), std::move(message), false});
  }

  WallTime now_;
  std::map<std::pair<std::string, std::string>, Verdict> pairs_;
  std::map<std::string, std::string> authorities_;  // what is wrong with each
  std::vector<ConfigFinding> findings_;
};

}  // namespace

ConfigCheck file_check(WallTime now) {
  return [now](const Config& config, std::span<const std::string> listen_pointers) {
    return FileCheck{now}.run(config, listen_pointers);
  };
}

}  // namespace lb::tls
