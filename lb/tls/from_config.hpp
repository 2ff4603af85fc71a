// What a configuration says about TLS: its files checked, its contexts made. Reads files, blocks: control
// plane.
#pragma once

#include <memory>
#include <vector>

#include "lb/config/model.hpp"
#include "lb/tls/client_context.hpp"
#include "lb/tls/server_context.hpp"

namespace lb::tls {

/// Where `alpn` does not say otherwise, it is http/1.1 for an HTTP listener and ignored in TCP mode.
Result<std::unique_ptr<ServerContext>> make_server_context(const ListenerTlsConfig& config, bool http,
                                                           std::shared_ptr<TicketKeys> ticket_keys);

/// One a backend, in their order; nullptr for a backend without TLS. Backends with the same files share a
/// context. A file that cannot be used is an error that names the backend.
Result<std::vector<std::unique_ptr<ClientTarget>>> make_client_targets(const Config& config);

}  // namespace lb::tls
