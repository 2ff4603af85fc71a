#include "lb/config/keys.hpp"

#include <array>

#include "lb/config/address.hpp"
#include "lb/config/config.hpp"
#include "lb/config/key_slots.hpp"
#include "lb/config/keys_health.hpp"
#include "lb/config/keys_reload.hpp"
#include "lb/config/keys_tls.hpp"

namespace lb {
namespace {

bool never(const void*) {
  return false;
}
bool is_unix_backend(const void* owner) {
  return static_cast<const BackendConfig*>(owner)->endpoint.unix_socket;
}
bool sends_proxy(const void* owner) {
  return static_cast<const BackendConfig*>(owner)->send_proxy != SendProxy::off;
}
bool minds_removal(const void* owner) {
  return static_cast<const BackendConfig*>(owner)->on_removal != OnRemoval::keep;
}
bool is_inet_backend(const void* owner) {
  return !is_unix_backend(owner);
}

// ---- The table ----

constexpr double kNameBytesMax = 300;  // room for the text of any endpoint
constexpr double kPathBytesMax = 4095;
// The sum over 100,000 backends stays below 2^31, which the algorithms count on.
constexpr double kWeightMax = 10'000;

/// In the order of enum Algorithm.
constexpr auto kAlgorithms = std::to_array<std::string_view>(
    {"round_robin", "weighted_round_robin", "least_connections", "ip_hash", "random",
     "weighted_least_connections", "power_of_two", "consistent_hash"});

/// In the order of enum HashBy.
constexpr auto kHashBy = std::to_array<std::string_view>({"client_ip", "header", "cookie", "path", "uri"});

constexpr auto kHashKeys = std::to_array<KeySpec>({
    {.name = "by",
     .type = KeyType::choice,
     .choices = kHashBy,
     .help =
         "Requests that are equal in this go to the same backend. `path` is without the query, `uri` with "
         "it. A request without the header or cookie goes by its client's address, and so does TCP.",
     .slot = slot<&HashConfig::by>},
    {.name = "name",
     .type = KeyType::text,
     .min = 0,
     .max = kHeaderNameBytesMax,
     .default_words = "required by header and cookie",
     .example = R"("X-User")",
     .help = "Of the header or cookie.",
     .slot = slot<&HashConfig::name>},
    {.name = "balance_factor",
     .type = KeyType::number,
     .min = 0,
     .max = 1000,
     .default_words = "0: no bound",
     .example = "1.25",
     .help =
         "Above 1: a backend with more than this many times its fair share of the requests in flight passes "
         "further ones on.",
     .slot = slot<&HashConfig::balance_factor>},
});
constexpr Section kHash{.pointer = "/hash", .keys = kHashKeys, .schema_rule = R"({"anyOf": [
                          {"required": ["by", "name"],
                           "properties": {"by": {"enum": ["header", "cookie"]},
                                          "name": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"}}},
                          {"properties": {"by": {"enum": ["client_ip", "path", "uri"]},
                                          "name": {"maxLength": 0}}}]})"};

/// In the order of enum SendProxy.
constexpr auto kSendProxy = std::to_array<std::string_view>({"off", "v1", "v2"});

/// In the order of enum OnRemoval.
constexpr auto kOnRemoval = std::to_array<std::string_view>({"keep", "drain", "close"});

/// In the order of enum ListenMode.
constexpr auto kListenModes = std::to_array<std::string_view>({"http", "tcp"});

Slot listener_address(void* owner) {
  return static_cast<Endpoint*>(static_cast<ListenerConfig*>(owner));
}

bool has_proxy_protocol(const void* owner) {
  return static_cast<const ListenerConfig*>(owner)->proxy_protocol.has_value();
}
bool has_networks(const void* owner) {
  return !static_cast<const ProxyProtocolConfig*>(owner)->from.empty();
}

constexpr auto kProxyProtocolKeys = std::to_array<KeySpec>({
    {.name = "from",
     .type = KeyType::networks,
     .min = 1,
     .max = kNetworksMax,
     .default_words = "everybody",
     .example = R"(["10.0.0.0/8", "2001:db8::1", "unix"])",
     .help =
         "Who may connect here: networks, addresses, or `unix` for Unix sockets. Others are reset, as what "
         "they said of themselves would be believed.",
     .slot = slot<&ProxyProtocolConfig::from>,
     .printed = has_networks},
});
constexpr Section kProxyProtocol{.pointer = "/listen/*/proxy_protocol", .keys = kProxyProtocolKeys};

constexpr auto kListenerKeys = std::to_array<KeySpec>({
    {.name = "address",
     .type = KeyType::listen_address,
     .required = true,
     .example = R"("0.0.0.0:8080")",
     .help = "Where to listen.",
     .slot = listener_address},
    {.name = "mode",
     .type = KeyType::choice,
     .choices = kListenModes,
     .help = "What is spoken here: `http`, or `tcp` for bytes that are passed on as they are.",
     .slot = slot<&ListenerConfig::mode>},
    {.name = "proxy_protocol",
     .type = KeyType::object_or_bool,
     .default_words = "false",
     .example = R"({"from": ["10.0.0.0/8"]})",
     .help = "Each connection begins with a PROXY header, version 1 or 2, whose client address counts from "
             "there on. `true`: whoever connects.",
     .printed = has_proxy_protocol,
     .section = &kProxyProtocol,
     .children = maybe_object<&ListenerConfig::proxy_protocol>()},
    {.name = "tls",
     .type = KeyType::optional_object,
     .default_words = "null: plain text",
     .help = "Speak TLS with clients.",
     .slot = no_slot,
     .printed = has_listener_tls,
     .section = &kListenerTls,
     .children = maybe_object<&ListenerConfig::tls>()},
});
constexpr Section kListener{.pointer = "/listen/*", .keys = kListenerKeys};

constexpr auto kBackendKeys = std::to_array<KeySpec>({
    {.name = "name",
     .type = KeyType::text,
     .min = 1,
     .max = kNameBytesMax,
     .default_words = "the address, e.g. 127.0.0.1:9001",
     .example = R"("blue")",
     .help = "What logs, metrics and reloads know this backend by. Unique.",
     .slot = slot<&BackendConfig::name>},
    {.name = "host",
     .type = KeyType::host,
     .default_words = "required, unless unix is given",
     .example = R"("127.0.0.1")",
     .help = "IPv4 or IPv6 address, or a DNS name.",
     .slot = slot<&BackendConfig::endpoint, &Endpoint::host>,
     .printed = is_inet_backend},
    {.name = "port",
     .type = KeyType::integer,
     .min = 1,
     .max = 65535,
     .default_words = "required, unless unix is given",
     .example = "9001",
     .help = "TCP port.",
     .slot = slot<&BackendConfig::endpoint, &Endpoint::port>,
     .printed = is_inet_backend},
    {.name = "unix",
     .type = KeyType::unix_path,
     .default_words = "none",
     .example = R"("/run/app.sock")",
     .help = "Absolute path of a Unix socket, instead of host and port.",
     .slot = slot<&BackendConfig::endpoint>,
     .printed = is_unix_backend},
    {.name = "weight",
     .type = KeyType::integer,
     .min = 0,
     .max = kWeightMax,
     .example = "3",
     .help = "Share of the requests, relative to the other backends. 0: takes no new requests.",
     .slot = slot<&BackendConfig::weight>},
    {.name = "max_connections",
     .type = KeyType::integer,
     .min = 0,
     .max = 1'000'000,
     .example = "100",
     .help = "Requests at once, over all workers. 0: no limit.",
     .slot = slot<&BackendConfig::max_connections>},
    {.name = "backup",
     .type = KeyType::boolean,
     .help = "Used only when every other backend is down, ejected or refuses connections.",
     .slot = slot<&BackendConfig::backup>},
    {.name = "send_proxy",
     .type = KeyType::choice,
     .choices = kSendProxy,
     .help = "Tell this backend the client's address: each connection begins with a PROXY header of that "
             "version. A connection then serves one client, and in HTTP one request.",
     .slot = slot<&BackendConfig::send_proxy>,
     .printed = sends_proxy},
    {.name = "on_removal",
     .type = KeyType::choice,
     .choices = kOnRemoval,
     .help =
         "When a reload removes this backend, its open tunnels (TCP mode and upgraded connections) live on "
         "(keep), live on until drain_timeout (drain), or are reset (close).",
     .slot = slot<&BackendConfig::on_removal>,
     .printed = minds_removal},
    {.name = "tls",
     .type = KeyType::object_or_bool,
     .default_words = "false: plain text",
     .example = R"({"ca": "/etc/lb/backends-ca.pem"})",
     .help = "Speak TLS with this backend.",
     .slot = no_slot,
     .printed = has_backend_tls,
     .section = &kBackendTls,
     .children = maybe_object<&BackendConfig::tls>()},
});
constexpr Section kBackend{
    .pointer = "/backends/*",
    .keys = kBackendKeys,
    .schema_rule = R"({"oneOf": [{"required": ["host", "port"]}, {"required": ["unix"]}],
                       "dependentRequired": {"host": ["port"], "port": ["host"]}})"};

constexpr auto kPoolKeys = std::to_array<KeySpec>({
    {.name = "max_size",
     .type = KeyType::integer,
     .min = 0,
     .max = 65'535,
     .help = "Idle connections kept for reuse, per backend and worker. 0: none.",
     .slot = slot<&PoolConfig::max_size>},
    {.name = "ttl",
     .type = KeyType::seconds,
     .min = kSecondsMin,
     .max = kDay,
     .help = "An idle connection older than this is not reused.",
     .slot = slot<&PoolConfig::ttl>},
});
constexpr Section kPool{.pointer = "/pool", .keys = kPoolKeys};

constexpr auto kRateLimitKeys = std::to_array<KeySpec>({
    {.name = "per_ip",
     .type = KeyType::number,
     .required = true,
     .min = 0.001,
     .max = 1'000'000,
     .example = "100.0",
     .help = "Requests a second that each client address (IPv6: each /64) may make in the long run.",
     .slot = slot<&RateLimitConfig::per_ip>},
    {.name = "burst",
     .type = KeyType::integer,
     .min = 1,
     .max = 1'000'000,
     .example = "20",
     .help = "Requests that a client address may make at once.",
     .slot = slot<&RateLimitConfig::burst>},
});
constexpr Section kRateLimit{.pointer = "/rate_limit", .keys = kRateLimitKeys};

constexpr auto kTimeoutKeys = std::to_array<KeySpec>({
    {.name = "header",
     .type = KeyType::seconds,
     .min = kSecondsMin,
     .max = kDay,
     .help = "From the first byte of a request's head to its last.",
     .slot = slot<&TimeoutsConfig::header>},
    {.name = "idle",
     .type = KeyType::seconds,
     .min = kSecondsMin,
     .max = kDay,
     .help = "A kept-alive client connection without a request is closed after this.",
     .slot = slot<&TimeoutsConfig::idle>},
    {.name = "connect",
     .type = KeyType::seconds,
     .min = kSecondsMin,
     .max = kDay,
     .help = "Connecting to a backend, each attempt.",
     .slot = slot<&TimeoutsConfig::connect>},
    {.name = "response",
     .type = KeyType::seconds,
     .min = kSecondsMin,
     .max = kDay,
     .help = "From the request sent to the head of the response.",
     .slot = slot<&TimeoutsConfig::response>},
    {.name = "body",
     .type = KeyType::seconds,
     .min = kSecondsMin,
     .max = kDay,
     .help = "Without progress of a body, either way.",
     .slot = slot<&TimeoutsConfig::body>},
    {.name = "tunnel",
     .type = KeyType::seconds,
     .min = kSecondsMin,
     .max = 7 * kDay,
     .help = "An upgraded connection without a byte, either way.",
     .slot = slot<&TimeoutsConfig::tunnel>},
    {.name = "quiet",
     .type = KeyType::seconds,
     .min = kSecondsMin,
     .max = kDay,
     .help =
         "Draining with nobody to hand it to, a kept-alive client connection idle for this long is closed.",
     .slot = slot<&TimeoutsConfig::quiet>},
});
constexpr Section kTimeouts{.pointer = "/timeouts", .keys = kTimeoutKeys};

/// A head is received and written anew in memory of these sizes: lb/proxy/worker.hpp, gather.hpp.
constexpr double kHeadBytesMax = 64 * 1024;
constexpr double kBodyBytesMax = 1e15;

constexpr auto kLimitKeys = std::to_array<KeySpec>({
    {.name = "request_line_bytes",
     .type = KeyType::integer,
     .min = 64,
     .max = kHeadBytesMax,
     .help = "A longer request line is answered with 414.",
     .slot = slot<&LimitsConfig::request_line_bytes>},
    {.name = "header_bytes",
     .type = KeyType::integer,
     .min = 256,
     .max = kHeadBytesMax,
     .help = "A longer head of a request, its request line included, is answered with 431.",
     .slot = slot<&LimitsConfig::header_bytes>},
    {.name = "header_count",
     .type = KeyType::integer,
     .min = 1,
     .max = 128,
     .help = "A request with more header fields is answered with 431.",
     .slot = slot<&LimitsConfig::header_count>},
    {.name = "response_header_bytes",
     .type = KeyType::integer,
     .min = 256,
     .max = kHeadBytesMax,
     .help = "A backend that answers with a longer head is answered for with 502.",
     .slot = slot<&LimitsConfig::response_header_bytes>},
    {.name = "response_header_count",
     .type = KeyType::integer,
     .min = 1,
     .max = 128,
     .help = "A backend that answers with more header fields is answered for with 502.",
     .slot = slot<&LimitsConfig::response_header_count>},
    {.name = "body_bytes",
     .type = KeyType::integer,
     .min = 0,
     .max = kBodyBytesMax,
     .example = "10000000",
     .help = "A longer request body is answered with 413: at once when its length is announced, else as soon "
             "as it is longer. 0: no limit.",
     .slot = slot<&LimitsConfig::body_bytes>},
    {.name = "requests_per_connection",
     .type = KeyType::integer,
     .min = 0,
     .max = 1'000'000'000,
     .example = "10000",
     .help =
         "The last of so many requests on a client connection is answered with `Connection: close`. 0: no "
         "limit.",
     .slot = slot<&LimitsConfig::requests_per_connection>},
    {.name = "connections_per_ip",
     .type = KeyType::integer,
     .min = 0,
     .max = 1'000'000,
     .example = "100",
     .help = "Connections of one client address (IPv6: of one /64) at once, over all workers. One more is "
             "answered with 429 and closed. 0: no limit.",
     .slot = slot<&LimitsConfig::connections_per_ip>},
});
constexpr Section kLimits{.pointer = "/limits", .keys = kLimitKeys};

constexpr auto kQueueKeys = std::to_array<KeySpec>({
    {.name = "size",
     .type = KeyType::integer,
     .min = 0,
     .max = 1'000'000,
     .help =
         "Requests that may wait at once because every backend is at its max_connections, over all workers. "
         "One more is answered with 503. 0: none waits.",
     .slot = slot<&QueueConfig::size>},
    {.name = "timeout",
     .type = KeyType::seconds,
     .min = kSecondsMin,
     .max = kDay,
     .help = "A request that has waited this long is answered with 503.",
     .slot = slot<&QueueConfig::timeout>},
});
constexpr Section kQueue{.pointer = "/queue", .keys = kQueueKeys};

constexpr auto kAdminKeys = std::to_array<KeySpec>({
    {.name = "socket",
     .type = KeyType::text,
     .min = 0,
     .max = kUnixPathBytesMax,
     .default_words = "derived from the pid file",
     .example = R"("/run/lb.sock")",
     .help = "Path of the control socket that `lb reload` and `lb status` speak to.",
     .slot = slot<&AdminConfig::socket>},
});
constexpr Section kAdmin{.pointer = "/admin", .keys = kAdminKeys};

constexpr auto kConfigKeys = std::to_array<KeySpec>({
    {.name = "$schema",
     .type = KeyType::ignored,
     .default_words = "none",
     .help = "For editors: where the JSON Schema of this file is. Not used.",
     .printed = never},
    {.name = "listen_port",
     .type = KeyType::listen_port,
     .min = 1,
     .max = 65535,
     .default_words = "none",
     .example = "8080",
     .help = "Listen on this TCP port of every IPv4 address: short for listen with 0.0.0.0.",
     .slot = slot<&Config::listen>,
     .printed = never},
    {.name = "listen",
     .type = KeyType::listen,
     .min = 1,
     .max = kListenersMax,
     .default_words = "required, unless listen_port is given",
     .example = R"(["0.0.0.0:8080", "unix:/run/lb-http.sock", {"address": "[::]:5432", "mode": "tcp"}])",
     .help = "Where to listen: `ADDRESS:PORT` with IPv6 in brackets, `:PORT` for every IPv4 address, or "
             "`unix:PATH`; port 0 lets the kernel choose. Or an object with an address and options.",
     .slot = slot<&Config::listen>,
     .section = &kListener,
     .children = many_objects<&Config::listen>()},
    {.name = "algorithm",
     .type = KeyType::choice,
     .choices = kAlgorithms,
     .help = "How a backend is chosen for a request.",
     .slot = slot<&Config::algorithm>},
    {.name = "hash",
     .type = KeyType::object,
     .help = "What `consistent_hash` goes by.",
     .section = &kHash,
     .children = one_object<&Config::hash>()},
    {.name = "backends",
     .type = KeyType::objects,
     .required = true,
     .min = 1,
     .max = kBackendsMax,
     .example = R"([{"host": "127.0.0.1", "port": 9001}])",
     .help = "The servers that requests are spread over. The sum of their weights is at least 1.",
     .section = &kBackend,
     .children = many_objects<&Config::backends>()},
    {.name = "slow_start",
     .type = KeyType::seconds,
     .min = 0,
     .max = kDay,
     .help = "How long the share of a backend that comes back grows, from a tenth to its weight. 0: no time. "
             "A reload starts nobody slowly.",
     .slot = slot<&Config::slow_start>},
    {.name = "panic_threshold",
     .type = KeyType::number,
     .min = 0,
     .max = 1,
     .help = "When less than this share of the weight is neither down nor ejected, and not enough backups "
             "are, all backends are used: a few must not take the load of all. 0: never; with nobody left "
             "the answer is 503.",
     .slot = slot<&Config::panic_threshold>},
    {.name = "health_check",
     .type = KeyType::optional_object,
     .default_words = "null: none",
     .example = R"({"path": "/health"})",
     .help = "Each backend is asked regularly whether it is well; one that is not takes no requests.",
     .section = &kHealthCheck,
     .children = maybe_object<&Config::health_check>()},
    {.name = "outlier_detection",
     .type = KeyType::optional_object,
     .default_words = "null: none",
     .example = R"({"failures_in_row": 5})",
     .help = "A backend that does badly with real requests is left alone for a while.",
     .section = &kOutlierDetection,
     .children = maybe_object<&Config::outlier_detection>()},
    {.name = "retries",
     .type = KeyType::object,
     .help =
         "When a request that failed goes to another backend. One that could not be sent always may, within "
         "the budget; one that was sent may when it is idempotent and nothing of an answer was seen.",
     .section = &kRetries,
     .children = one_object<&Config::retries>()},
    {.name = "resolver",
     .type = KeyType::object,
     .help = "Backends whose host is a name: all addresses of it are used in turn.",
     .section = &kResolver,
     .children = one_object<&Config::resolver>()},
    {.name = "pool",
     .type = KeyType::object,
     .help = "Connections to backends that are kept for reuse.",
     .section = &kPool,
     .children = one_object<&Config::pool>()},
    {.name = "rate_limit",
     .type = KeyType::optional_object,
     .default_words = "null: no limit",
     .help = "Requests beyond it are answered with 429.",
     .section = &kRateLimit,
     .children = maybe_object<&Config::rate_limit>()},
    {.name = "timeouts",
     .type = KeyType::object,
     .help = "How long to wait for whom.",
     .section = &kTimeouts,
     .children = one_object<&Config::timeouts>()},
    {.name = "drain_timeout",
     .type = KeyType::seconds,
     .min = kSecondsMin,
     .max = kDay,
     .help = "After a reload or stop: connections that outlive this are closed, and counted.",
     .slot = slot<&Config::drain_timeout>},
    {.name = "workers",
     .type = KeyType::integer,
     .min = 0,
     .max = 1024,
     .default_words = "0: one per CPU",
     .example = "4",
     .help = "Worker threads.",
     .slot = slot<&Config::workers>},
    {.name = "max_connections",
     .type = KeyType::integer,
     .min = 1,
     .max = 1'000'000,
     .help = "Client connections at once, over all workers of a generation.",
     .slot = slot<&Config::max_connections>},
    {.name = "limits",
     .type = KeyType::object,
     .help = "What one client may ask for.",
     .section = &kLimits,
     .children = one_object<&Config::limits>()},
    {.name = "queue",
     .type = KeyType::object,
     .help = "Where requests wait while every backend is at its max_connections.",
     .section = &kQueue,
     .children = one_object<&Config::queue>()},
    {.name = "pid_file",
     .type = KeyType::text,
     .min = 0,
     .max = kPathBytesMax,
     .default_words = "none",
     .example = R"("/run/lb.pid")",
     .help = "Path of the file that holds the supervisor's process id.",
     .slot = slot<&Config::pid_file>},
    {.name = "reload",
     .type = KeyType::object,
     .help = "When the configuration is reloaded without being asked, and when a reload is undone.",
     .section = &kReload,
     .children = one_object<&Config::reload>()},
    {.name = "admin",
     .type = KeyType::object,
     .help = "Control of the running balancer.",
     .section = &kAdmin,
     .children = one_object<&Config::admin>()},
    {.name = "access_log",
     .type = KeyType::text,
     .min = 0,
     .max = kPathBytesMax,
     .default_words = "none",
     .example = R"("/var/log/lb/access.log")",
     .help = "Path of the access log, or `-` for standard output.",
     .slot = slot<&Config::access_log>},
    {.name = "response_headers",
     .type = KeyType::headers,
     .max = kResponseHeadersMax,
     .default_words = "none",
     .example = R"({"Server": "lb"})",
     .help = "Header fields set on each response, replacing the backend's of the same name. At most 32 KiB "
             "together.",
     .slot = slot<&Config::response_headers>},
});
constexpr Section kConfig{
    .pointer = "",
    .keys = kConfigKeys,
    .schema_rule = R"({"anyOf": [{"required": ["listen_port"]}, {"required": ["listen"]}]})"};

}  // namespace

const Section& config_section() {
  return kConfig;
}
const Section& backend_section() {
  return kBackend;
}

const Section& listener_section() {
  return kListener;
}

const KeySpec* find_key(const Section& section, std::string_view name) {
  for (const KeySpec& key : section.keys) {
    if (key.name == name) return &key;
  }
  return nullptr;
}

}  // namespace lb
