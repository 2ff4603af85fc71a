// What load to make: the parsed spec file. Pure; keys and defaults are documented in README.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "harness/traffic/address.hpp"
#include "harness/traffic/clock.hpp"
#include "harness/traffic/outcome.hpp"
#include "lb/base/random.hpp"
#include "lb/base/result.hpp"

namespace lb::traffic {

/// A number, or uniformly one of [low, high] each time.
struct Range {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  [[nodiscard]] std::uint64_t pick(Random& random) const noexcept {
    if (high <= low) return low;
    const std::uint64_t span = high - low + 1;
    return low + (span == 0 ? random() : random() % span);
  }
  friend bool operator==(const Range&, const Range&) = default;
};

enum class CloseBy : std::uint8_t { server, client, reset };

struct StreamSpec {
  Kind kind = Kind::keepalive;
  std::string name;
  std::uint32_t clients = 1;
  double rate = 0;
  Range think_us;
  Nanos timeout = 10 * kSecond;
  Nanos connect_timeout = 5 * kSecond;
  std::vector<Address> targets;  // empty: --target
  std::vector<int> statuses = {200};
  // Common params.
  Range size{128, 128};
  Range body;
  Range chunk{4096, 4096};
  Range delay_ms;
  std::string method;  // empty: GET, or POST with a body
  std::string path = "/any";
  std::string query;
  std::string host = "lb.test";
  std::string headers;  // "Name: value\r\n" each
  bool tls = false;
  bool tls_resume = false;  // offer the session of the client's last connection
  std::string tls_name = "lb.test";
  std::string tls_ca;     // empty: any certificate
  std::string preface;    // the first bytes of each connection
  bool tunneled = false;  // through TCP mode: the backend is that of the connection, not of the request
  bool chunked_response = false;
  bool chunked_request = false;
  bool expect = false;
  // Of some kinds.
  CloseBy close = CloseBy::server;
  std::uint32_t max_in_flight = 64;
  Range per_connection;
  Range depth{4, 4};
  std::uint64_t bytes_per_s = 100'000;
  bool slow_client = false;
  Range lifetime_ms{500, 3000};
  Range interval_ms{5, 50};
  Range message{1, 2000};
  bool half_close = false;
  Range send_after_ms;
  Range peer_interval_ms{500, 2000};  // what the backend is asked for; flows
  Range peer_message{1, 500};

  /// One connection serves many requests.
  [[nodiscard]] bool keeps_connection() const noexcept {
    return kind != Kind::new_connection && kind != Kind::halfopen && kind != Kind::upgrade &&
           !is_flow(kind) && kind != Kind::long_upload;
  }
};

struct TrafficSpec {
  static constexpr std::size_t kStreamsMax = 64;
  static constexpr std::uint32_t kClientsMax = 100'000;
  std::vector<StreamSpec> streams;
  Nanos ramp = 100 * kMilli;
};

Result<TrafficSpec> parse_traffic_spec(std::string_view json);

}  // namespace lb::traffic
