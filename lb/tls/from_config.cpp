#include "lb/tls/from_config.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "lb/config/rules.hpp"

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

Error about(const std::string& who, const std::string& message) {
  return Error{.fault = Fault::config, .message = who + ": " + message};
}

}  // namespace

ConfigCheck file_check(WallTime now) {
  return [now](const Config& config, std::span<const std::string> listen_pointers) {
    return FileCheck{now}.run(config, listen_pointers);
  };
}

Result<std::unique_ptr<ServerContext>> make_server_context(const ListenerTlsConfig& config, bool http,
                                                           std::shared_ptr<TicketKeys> ticket_keys) {
  ServerOptions options;
  for (const CertificateFiles& files : config.certificates) {
    auto loaded = Certificate::load(files.cert, files.key);
    if (!loaded) return std::unexpected(Error{.fault = Fault::config, .message = loaded.error().message});
    options.certificates.push_back(std::move(*loaded));
  }
  if (!config.client_ca.empty()) {
    auto loaded = load_authorities(config.client_ca);
    if (!loaded) return std::unexpected(loaded.error());
    options.client_authorities = std::move(*loaded);
  }
  options.min_version = config.min_version == TlsVersion::tls1_3 ? Version::tls1_3 : Version::tls1_2;
  options.ciphers = config.ciphers;
  options.client_certificates = static_cast<ClientCertificates>(config.client_cert);
  if (!http) options.alpn.clear();
  options.ticket_keys = std::move(ticket_keys);
  return ServerContext::create(std::move(options));
}

Result<std::vector<std::unique_ptr<ClientTarget>>> make_client_targets(const Config& config) {
  using Files = std::tuple<bool, std::string, std::string, std::string>;
  std::map<Files, std::shared_ptr<const ClientContext>> contexts;
  std::vector<std::unique_ptr<ClientTarget>> targets(config.backends.size());
  // Nobody knows what a listener in TCP mode carries.
  const bool passes_bytes = std::ranges::any_of(
      config.listen, [](const ListenerConfig& listener) { return listener.mode == ListenMode::tcp; });
  for (std::size_t i = 0; i < config.backends.size(); ++i) {
    const BackendConfig& backend = config.backends[i];
    if (!backend.tls) continue;
    const BackendTlsConfig& tls = *backend.tls;
    const std::string who = "backend " + backend.name;
    auto& context = contexts[{tls.verify, tls.ca, tls.cert, tls.key}];
    if (!context) {
      ClientOptions options{.verify = tls.verify, .ca_file = tls.ca};
      if (passes_bytes) options.alpn.clear();
      if (!tls.cert.empty()) {
        auto loaded = Certificate::load(tls.cert, tls.key);
        if (!loaded) return std::unexpected(about(who, loaded.error().message));
        options.certificate = std::move(*loaded);
      }
      auto made = ClientContext::create(options);
      if (!made) return std::unexpected(about(who, made.error().message));
      context = std::move(*made);
    }
    const bool has_host = !backend.endpoint.unix_socket;
    std::string name = tls.server_name.empty() && has_host ? backend.endpoint.host : tls.server_name;
    targets[i] = std::make_unique<ClientTarget>(context, std::move(name));
  }
  return targets;
}

}  // namespace lb::tls
