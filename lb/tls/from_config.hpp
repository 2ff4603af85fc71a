// What a configuration says about TLS: its files checked, its contexts made. Reads files, blocks: control
// plane.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "lb/config/config.hpp"
#include "lb/config/model.hpp"
#include "lb/tls/client_context.hpp"
#include "lb/tls/server_context.hpp"

namespace lb::tls {

/// A certificate that is good for less than this is warned of.
inline constexpr std::chrono::hours kExpiresSoon{30 * 24};

/// For config_load: reads every certificate, key and authority that the configuration names. Errors: what
/// cannot be read or used, a key that does not match, a certificate that has expired at `now` or is not valid
/// yet, an unknown cipher. Warnings: what expires within kExpiresSoon, a private key that everybody may read.
ConfigCheck file_check(WallTime now);

/// For an HTTP listener ALPN is http/1.1; in TCP mode it is left to nobody.
Result<std::unique_ptr<ServerContext>> make_server_context(const ListenerTlsConfig& config, bool http,
                                                           std::shared_ptr<TicketKeys> ticket_keys);

/// One a backend, in their order; nullptr for a backend without TLS. Backends with the same files share a
/// context. A file that cannot be used is an error that names the backend.
Result<std::vector<std::unique_ptr<ClientTarget>>> make_client_targets(const Config& config);

}  // namespace lb::tls
