// What a generation counts. Each worker has its own set, on its own cache lines, written with relaxed
// stores by that thread alone; anyone may read. Totals only grow; gauges are marked.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

namespace lb {

// name, help text
#define LB_COUNTERS(X)                                                                    \
  X(connections_accepted, "client connections accepted")                                  \
  X(connections_refused, "client connections over limits.connections_per_ip (429)")       \
  X(connections_open, "client connections open now (gauge)")                              \
  X(proxy_headers_refused, "connections reset: PROXY header missing, bad or not trusted") \
  X(handed_over, "idle client connections handed to the next generation")                 \
  X(adopted, "client connections adopted from another generation")                        \
  X(tunnels_handed_over, "tunnels handed to the next generation")                         \
  X(tunnels_adopted, "tunnels adopted from another generation")                           \
  X(upstreams_handed_over, "idle backend connections handed to the next generation")      \
  X(upstreams_adopted, "idle backend connections adopted from another generation")        \
  X(requests, "requests whose head was read")                                             \
  X(requests_in_flight, "requests being served now (gauge)")                              \
  X(responses_2xx, "responses sent with status 2xx")                                      \
  X(responses_3xx, "responses sent with status 3xx")                                      \
  X(responses_4xx, "responses sent with status 4xx")                                      \
  X(responses_5xx, "responses sent with status 5xx")                                      \
  X(queued, "requests that waited because every backend was at its limit")                \
  X(queue_waiting, "requests waiting for a backend now (gauge)")                          \
  X(queue_timeouts, "requests that waited for queue.timeout in vain (503)")               \
  X(rate_limited, "requests refused by the rate limit (429)")                             \
  X(bad_requests, "requests refused by the parser or the framing rules")                  \
  X(upstream_connects, "connections opened to backends")                                  \
  X(upstream_connect_failures, "connections to backends that failed or timed out")        \
  X(upstream_reused, "requests sent on a pooled backend connection")                      \
  X(upstream_retries, "requests sent again that a backend may have seen before")          \
  X(retries_refused, "retries that the budget of retries did not allow")                  \
  X(upstream_errors, "responses of backends that were cut short or malformed")            \
  X(tls_handshakes, "TLS handshakes done with clients")                                   \
  X(tls_resumed, "of these, resumed sessions")                                            \
  X(tls_failures, "TLS handshakes with clients that failed")                              \
  X(upstream_tls_handshakes, "TLS handshakes done with backends")                         \
  X(upstream_tls_resumed, "of these, resumed sessions")                                   \
  X(upstream_tls_failures, "TLS handshakes with backends that failed")                    \
  X(tunnels, "connections upgraded to tunnels")                                           \
  X(tunnels_open, "tunnels open now (gauge)")                                             \
  X(tunnels_removed, "tunnels reset because their backend was removed (on_removal)")      \
  X(bytes_from_clients, "bytes received from clients")                                    \
  X(bytes_to_clients, "bytes sent to clients")                                            \
  X(accept_errors, "accept calls that failed, out of descriptors for example")            \
  X(drain_closed_idle, "kept-alive connections closed while draining, between requests")  \
  X(drain_force_closed, "connections closed by drain_timeout with a request in flight")

struct alignas(64) Counters {
#define X(name, help) std::atomic<std::uint64_t> name{0};
  LB_COUNTERS(X)
#undef X
};

/// Relaxed add by the owning thread: a plain add, no locked instruction.
inline void bump(std::atomic<std::uint64_t>& counter, std::uint64_t n = 1) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}
inline void drop(std::atomic<std::uint64_t>& gauge, std::uint64_t n = 1) noexcept {
  gauge.store(gauge.load(std::memory_order_relaxed) - n, std::memory_order_relaxed);
}

/// A plain copy, summed over workers.
struct CounterTotals {
#define X(name, help) std::uint64_t name = 0;
  LB_COUNTERS(X)
#undef X
  void add(const Counters& c) noexcept {
#define X(name, help) name += c.name.load(std::memory_order_relaxed);
    LB_COUNTERS(X)
#undef X
  }
  /// f(std::string_view name, std::string_view help, uint64_t value) for each.
  template <class F>
  void for_each(F&& f) const {
#define X(name, help) f(std::string_view{#name}, std::string_view{help}, name);
    LB_COUNTERS(X)
#undef X
  }
};

}  // namespace lb
