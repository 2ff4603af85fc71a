#include "lb/tls/from_config.hpp"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "lb/config/alpn.hpp"

namespace lb::tls {
namespace {

Error about(const std::string& who, const std::string& message) {
  return Error{.fault = Fault::config, .message = who + ": " + message};
}

}  // namespace

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
  if (!config.alpn.empty()) options.alpn = alpn_names(config.alpn);
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
