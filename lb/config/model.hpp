// The configuration as the rest of the balancer sees it: plain values, immutable once loaded, shared by
// `shared_ptr<const Config>`. What each key means, its type, range and unit is said once, in keys.cpp; the
// defaults are the initialisers below, from which the key table takes them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lb/base/time.hpp"
#include "lb/config/network.hpp"

namespace lb {

enum class Algorithm : std::uint8_t {
  round_robin,
  weighted_round_robin,
  least_connections,
  ip_hash,
  random,
  weighted_least_connections,
  power_of_two,
  consistent_hash,
};

/// Where to listen or connect. `host` is a literal IPv4 or IPv6 address (no brackets), a DNS name
/// (backends only), or the absolute path of a Unix socket, then `port` is 0 and `unix_socket` true.
/// A port of 0 on a listener lets the kernel choose.
struct Endpoint {
  std::string host{};
  std::uint16_t port = 0;
  bool unix_socket = false;
  /// "127.0.0.1:80", "[::1]:80", "unix:/run/x.sock": also the identity of a listener across reloads.
  [[nodiscard]] std::string text() const;
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

/// What is spoken on a listener.
enum class ListenMode : std::uint8_t { http, tcp };

/// Each connection begins with a PROXY header that says for whom it was made.
struct ProxyProtocolConfig {
  std::vector<Network> from{};  // who may connect; others are refused. Empty: everybody
  friend bool operator==(const ProxyProtocolConfig&, const ProxyProtocolConfig&) = default;
};

/// An address to listen on, and what goes on there. The address alone is its identity across reloads.
/// PEM files: a certificate with what it takes to be trusted behind it, and its private key. May be one file.
struct CertificateFiles {
  std::string cert{};
  std::string key{};
  friend bool operator==(const CertificateFiles&, const CertificateFiles&) = default;
};

enum class TlsVersion : std::uint8_t { tls1_2, tls1_3 };
enum class ClientCert : std::uint8_t { none, optional, required };

/// TLS towards clients.
struct ListenerTlsConfig {
  std::vector<CertificateFiles> certificates{};  // at least one; chosen by name, the first for unknown names
  TlsVersion min_version = TlsVersion::tls1_2;
  std::string ciphers{};  // for TLS 1.2, in OpenSSL's notation; empty: lb/tls's choice
  std::string client_ca{};
  ClientCert client_cert = ClientCert::none;
  std::string alpn{};  // protocols with commas between them; empty: http/1.1, in TCP mode none
  friend bool operator==(const ListenerTlsConfig&, const ListenerTlsConfig&) = default;
};

/// TLS towards a backend.
struct BackendTlsConfig {
  bool verify = true;
  std::string ca{};           // empty: the system's authorities
  std::string server_name{};  // to ask for and to be proved; empty: the backend's host
  std::string cert{};         // to show when the backend asks; empty: none
  std::string key{};
  friend bool operator==(const BackendTlsConfig&, const BackendTlsConfig&) = default;
};

struct ListenerConfig : Endpoint {
  ListenMode mode = ListenMode::http;
  std::optional<ProxyProtocolConfig> proxy_protocol{};
  std::optional<ListenerTlsConfig> tls{};
  friend bool operator==(const ListenerConfig&, const ListenerConfig&) = default;
};

/// The version of the PROXY header that a backend is sent.
enum class SendProxy : std::uint8_t { off, v1, v2 };

/// What becomes of a backend's tunnels when a reload removes it.
enum class OnRemoval : std::uint8_t {
  keep,   // they go on for as long as both ends want
  drain,  // they go on until drain_timeout
  close,  // they are reset at once
};

struct BackendConfig {
  std::string name{};  // default: the endpoint's text; unique
  Endpoint endpoint{};
  std::uint32_t weight = 1;           // 0: takes no new requests
  std::uint32_t max_connections = 0;  // at once, over all workers; 0: no limit
  bool backup = false;                // used only when no other is available
  SendProxy send_proxy = SendProxy::off;
  OnRemoval on_removal = OnRemoval::keep;
  std::optional<BackendTlsConfig> tls{};
  friend bool operator==(const BackendConfig&, const BackendConfig&) = default;
};

/// What consistent_hash goes by.
enum class HashBy : std::uint8_t { client_ip, header, cookie, path, uri };
struct HashConfig {
  HashBy by = HashBy::client_ip;
  std::string name{};         // of the header or cookie; empty for the others
  double balance_factor = 0;  // times its fair share that a backend may be loaded; 0: no bound
  friend bool operator==(const HashConfig&, const HashConfig&) = default;
};

enum class HealthCheckType : std::uint8_t { http, tcp, tls };
enum class HealthCheckMethod : std::uint8_t { get, head, options };

/// How each backend is asked whether it is well.
struct HealthCheckConfig {
  HealthCheckType type = HealthCheckType::http;
  HealthCheckMethod method = HealthCheckMethod::get;
  std::string path = "/";
  std::string host{};            // of the Host field; empty: the backend's address
  std::uint16_t port = 0;        // 0: the backend's own
  Milliseconds interval{5'000};  // from the begin of one check to that of the next
  double jitter = 0.1;           // share of the interval by which it varies
  Milliseconds timeout{2'000};   // of a whole check
  std::uint32_t rise = 2;        // passes in a row that bring a backend back
  std::uint32_t fall = 3;        // failures in a row that take it out
  std::string expect_status = "200-399";
  std::string expect_body{};  // http: stands in the body; empty: any
  std::string send{};         // tcp: sent once connected
  std::string expect{};       // tcp: stands in the answer; empty: being connected is enough
  friend bool operator==(const HealthCheckConfig&, const HealthCheckConfig&) = default;
};

/// When a backend that does badly with real requests is left alone for a while.
struct OutlierDetectionConfig {
  std::uint32_t failures_in_row = 5;  // as one worker sees them; 0: not looked at
  double failure_share = 0;           // of the requests in the window; 0: not looked at
  Milliseconds window{10'000};
  std::uint32_t requests_min = 20;  // in the window; fewer say nothing
  Milliseconds ejection{30'000};    // the first time; then twice the last time
  Milliseconds ejection_max{300'000};
  double ejected_share_max = 0.5;  // of all backends
  friend bool operator==(const OutlierDetectionConfig&, const OutlierDetectionConfig&) = default;
};

/// When a request goes to another backend, or to the same one again.
struct RetriesConfig {
  std::uint32_t attempts = 8;      // backends that one request is tried at
  bool gateway_errors = false;     // try another one after a 502, 503 or 504
  double budget_share = 0.2;       // retries that each request earns
  double budget_per_second = 100;  // and that each second earns
  friend bool operator==(const RetriesConfig&, const RetriesConfig&) = default;
};

/// Backends whose host is a name.
struct ResolverConfig {
  Milliseconds interval{30'000};  // between two looks at all names
  friend bool operator==(const ResolverConfig&, const ResolverConfig&) = default;
};

struct PoolConfig {
  std::uint32_t max_size = 64;  // idle connections kept per backend and worker
  Milliseconds ttl{60'000};     // an idle connection older than this is not reused
  friend bool operator==(const PoolConfig&, const PoolConfig&) = default;
};

struct RateLimitConfig {
  double per_ip = 0;        // requests per second and client address
  std::uint32_t burst = 1;  // requests at once
  friend bool operator==(const RateLimitConfig&, const RateLimitConfig&) = default;
};

struct TimeoutsConfig {
  Milliseconds header{10'000};     // from the first byte of a request head to its last
  Milliseconds idle{60'000};       // a kept-alive client connection without a request
  Milliseconds connect{5'000};     // to a backend, each attempt
  Milliseconds response{60'000};   // from the request sent to the response's head
  Milliseconds body{30'000};       // without progress of a body, either way
  Milliseconds tunnel{3'600'000};  // an upgraded connection without a byte, either way
  Milliseconds quiet{1'000};       // draining, and nobody to hand it to: an idle client connection is closed
  friend bool operator==(const TimeoutsConfig&, const TimeoutsConfig&) = default;
};

/// What one client may ask for. Each is answered as HTTP has it and the connection ends; see keys.cpp.
struct LimitsConfig {
  std::uint32_t request_line_bytes = 16 * 1024;     // 414
  std::uint32_t header_bytes = 32 * 1024;           // of a request's whole head: 431
  std::uint32_t header_count = 100;                 // fields of a request's head: 431
  std::uint32_t response_header_bytes = 32 * 1024;  // of a response's whole head: 502
  std::uint32_t response_header_count = 100;        // fields of a response's head: 502
  std::uint64_t body_bytes = 0;                     // of a request, without its framing: 413; 0: no limit
  std::uint32_t requests_per_connection = 0;        // the last one is told to close; 0: no limit
  std::uint32_t connections_per_ip = 0;             // over all workers of a generation: 429; 0: no limit
  friend bool operator==(const LimitsConfig&, const LimitsConfig&) = default;
};

/// Requests for which every backend is at its max_connections.
struct QueueConfig {
  std::uint32_t size = 1'000;   // may wait at once, over all workers; 0: none
  Milliseconds timeout{5'000};  // for at most this long; then 503
  friend bool operator==(const QueueConfig&, const QueueConfig&) = default;
};

/// When a reload happens by itself, and when it is undone.
struct ReloadConfig {
  bool watch = false;          // reload when the content of the configuration file changes
  Milliseconds debounce{100};  // the file must have been left alone for this long
  Milliseconds probation{
      10'000};  // a new configuration serves this long before it counts as good; 0: at once
  std::uint32_t requests_min = 50;  // of one backend: fewer say nothing about a new configuration
  double failure_increase = 0.10;   // share of failed requests, this much above before: it is rolled back
  friend bool operator==(const ReloadConfig&, const ReloadConfig&) = default;
};

struct AdminConfig {
  std::string socket{};  // path of the control socket; empty: derived from the pid file
  friend bool operator==(const AdminConfig&, const AdminConfig&) = default;
};

struct HeaderField {
  std::string name{};
  std::string value{};
  friend bool operator==(const HeaderField&, const HeaderField&) = default;
};

struct Config {
  std::vector<ListenerConfig> listen{};  // at least one; "listen_port": N is 0.0.0.0:N
  Algorithm algorithm = Algorithm::round_robin;
  HashConfig hash{};                      // for consistent_hash only
  std::vector<BackendConfig> backends{};  // at least one, and one that is no backup
  Milliseconds slow_start{0};             // of a backend that comes back; 0: its whole weight at once
  double panic_threshold = 0.25;          // share of the weight; with less available all are used; 0: never
  std::optional<HealthCheckConfig> health_check{};
  std::optional<OutlierDetectionConfig> outlier_detection{};
  RetriesConfig retries{};
  ResolverConfig resolver{};
  PoolConfig pool{};
  std::optional<RateLimitConfig> rate_limit{};
  TimeoutsConfig timeouts{};
  Milliseconds drain_timeout{30'000};
  std::uint32_t workers = 0;               // 0: one per available CPU
  std::uint32_t max_connections = 50'000;  // client connections of a generation, over all workers
  LimitsConfig limits{};
  QueueConfig queue{};
  std::string pid_file{};  // empty: none, unless --pid-file
  ReloadConfig reload{};
  AdminConfig admin{};
  std::string access_log{};                     // path, "-" for standard output, empty: none
  std::vector<HeaderField> response_headers{};  // set on each response, replacing the backend's of that name
  friend bool operator==(const Config&, const Config&) = default;
};

}  // namespace lb
