// Proxy: the data path of one generation. Owns the worker threads; is handed its listening sockets and its
// configuration. Public methods may be called from any one thread (the generation's main thread).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"
#include "lb/base/time.hpp"
#include "lb/config/model.hpp"
#include "lb/net/listener.hpp"
#include "lb/net/resolver.hpp"
#include "lb/observe/backend_counts.hpp"
#include "lb/observe/counters.hpp"
#include "lb/observe/event_log.hpp"
#include "lb/proxy/census.hpp"
#include "lb/proxy/handed_connection.hpp"
#include "lb/proxy/self_probe.hpp"
#include "lb/state/generation_state.hpp"
#include "lb/tls/ticket_keys.hpp"

namespace lb {

struct ProxyOptions {
  std::shared_ptr<const Config> config;
  std::uint64_t generation = 1;
  std::uint64_t seed = 0;
  /// When there are more shards of an endpoint than workers, some workers poll several.
  std::vector<ListeningSocket> listeners;
  EventLog* log = nullptr;  // outlives the proxy
  LogFormat access_log_format = LogFormat::text;
  /// What sessions of TLS are resumed with; null: keys that no other generation knows.
  std::shared_ptr<tls::TicketKeys> ticket_keys{};
  /// What outlives the generation; null: nothing does. Made for as many workers as there will be.
  std::shared_ptr<state::GenerationState> state{};
  ResolveFunction resolve = {};  // names of backends; empty: the system's resolver
};

/// What a drain did, once it is over.
struct DrainReport {
  std::uint64_t completed = 0;     // requests that were in flight at the start, or came since, and finished
  std::uint64_t closed_idle = 0;   // kept-alive connections closed between requests
  std::uint64_t force_closed = 0;  // connections closed by drain_timeout with a request or tunnel in flight
  std::uint64_t handed_over =
      0;  // client connections that were queued for the successor, less those that came back
  std::uint64_t closed_removed = 0;  // tunnels reset because their backend was removed
  Duration duration{};
  /// Client connections when it began, of these tunnels; and requests under way then, tunnels among them.
  std::uint64_t connections_at_start = 0;
  std::uint64_t tunnels_at_start = 0;
  std::uint64_t requests_at_start = 0;
  std::uint64_t came = 0;  // connections that were handed to us since
  std::uint64_t ended =
      0;  // connections that neither moved nor were closed by the drain: served, or left by the client
  std::vector<ForceClosed> forced{};  // of those force-closed the first DrainLedger::kForcedMax
};

class Proxy final {
 public:
  /// Resolves backend names (bounded by 2 s; an unresolved one is down and resolved again in the
  /// background), opens the access log. Fails when that cannot be opened, or a worker cannot be made.
  static Result<std::unique_ptr<Proxy>> create(ProxyOptions options);
  /// Stops the workers at once; connections still open are closed.
  ~Proxy();

  /// Starts the health checks and waits for their first results (UpstreamHealth::start), then the workers;
  /// returns once every one of them polls its listeners.
  void start();

  /// The configuration of the generation that takes over: from now on requests on connections that are
  /// still ours go to its backends. Returns once every worker has switched. Call before start_drain. Our own
  /// health checks end with it; what they knew of backends that stay is kept.
  void set_successor(std::shared_ptr<const Config> successor);

  /// Stops accepting (polling ends, nothing is shut down), lets requests in flight finish, adds
  /// "Connection: close" to the next response of each connection, closes idle ones after timeouts.quiet and
  /// everything else at drain_timeout. Returns once no worker polls a listener any more.
  ///
  /// With Handoff::live no connection is told to close or closed for being idle: those between requests (or
  /// before their first), tunnels, and idle connections to backends that the successor has too are queued for
  /// take_handed(), and clients with a request in flight once it has been answered. The queue is short: who
  /// does not fit is served meanwhile. Bytes that nobody has read move with the socket, and those that were
  /// read go along. Connections with TLS on either side stay, as without handoff.
  ///
  /// Calling it again is harmless; with Handoff::live it starts handing over in a drain that did not, or does
  /// so again after give_up_handoff(), for a further successor.
  void start_drain(Handoff handoff = Handoff::none);

  /// Before set_successor and start_drain: this drain may be taken back with resume(). The listening sockets
  /// stay open, unpolled; connections to those that `successor` (null: unknown) no longer has are reset. Our
  /// own health checks go on beside the successor's, so that what is resumed knows its backends. While
  /// parked, again with each further successor.
  void park(const Config* successor);
  /// Parked no more: the drain goes on as any other. Harmless when not parked.
  void let_go();
  /// Ends the drain of a parked proxy: every worker accepts again before this returns, also on `more`, which
  /// are further shards of its own listeners; its own backends are used again. Requests in flight go on where
  /// they are, and idle connections that were to go stay. Handing over ends.
  void resume(std::vector<ListeningSocket> more);

  /// Connects to each listener, and waits until one of the workers has accepted that; at most `timeout` in
  /// all. Neither backends nor logs notice. Blocks; from any thread, beside all others.
  [[nodiscard]] std::vector<ListenerProbe> probe(Duration timeout);

  /// Readable while take_handed() has something.
  [[nodiscard]] int handed_fd() const noexcept;
  /// The connections queued since the last call; any thread. They are the caller's now: closing one closes it
  /// for the client, unless another process holds it by then. One that could not be passed on may be given to
  /// adopt() of this same proxy. drain_timeout does not touch the queue: whoever drains with handoff takes it
  /// or gives it up.
  [[nodiscard]] std::vector<HandedConnection> take_handed();
  /// Nobody can take connections just now: nothing is queued, and all are served as if they stayed for good;
  /// nobody is told to close. What was queued already is still there to be taken. Any time.
  void pause_handoff(bool paused);
  /// The successor is gone or cannot take them: the drain goes on as one without handoff, and what is queued
  /// comes back to the workers. Harmless without a handoff under way.
  void give_up_handoff();

  /// Connections handed over by another generation, or our own that could not be passed on (non-blocking
  /// sockets): dealt to the workers, which go on with each exactly where it was. What it waits for has the
  /// time that was left, at most that of this configuration. All are taken, whatever max_connections says: it
  /// keeps holding for accepting, which pauses above it. A tunnel to a backend that is none of ours lives on,
  /// and backends() names that; one to a backend of ours counts as in flight there. Returns at once; after
  /// start(). In a drain with handoff they are queued again, in one without they get timeouts.quiet, and a
  /// drain that was over is not any more.
  void adopt(std::vector<HandedConnection> connections);

  /// Readable while the drain is over: no connection is left in the workers, and none waits for
  /// take_handed().
  [[nodiscard]] int drained_fd() const noexcept;
  [[nodiscard]] DrainReport drain_report() const;

  /// Opens the access log again. On failure the old file is kept.
  Result<void> reopen_logs();

  [[nodiscard]] CounterTotals counters() const;

  struct BackendStatus {
    std::string name;
    std::string endpoint;
    std::uint64_t requests = 0;  // brought to an end there, well or badly, since this set of backends is used
    std::uint64_t failures =
        0;  // of these: no connection, no answer, a cut or malformed one, a status >= 500
    std::uint32_t in_flight = 0;
    bool aside = false;  // put aside after connection failures
    bool resolved = true;
    std::string standing;  // "up", "aside", "ejected" or "down"; "removed": not of this configuration, but
                           // tunnels of a former one go on there
    std::string reason;    // of the last failed health check, or why it was ejected; may be empty
    std::int64_t since_s = -1;  // how long health checks have said up or down; -1: there are none
    bool backup = false;
    std::uint32_t share_percent = 100;                     // of its weight: less in slow start
    std::uint32_t entry = state::kNoEntry;                 // its number in the shared state
    std::uint64_t latency_sum_us = 0;                      // of those that were answered
    std::array<std::uint64_t, kLatencyBuckets> latency{};  // see BackendCounts
  };
  [[nodiscard]] std::vector<BackendStatus> backends() const;

  /// What is connected now. Each worker is asked in turn and walks over its connections: some 0.1 ms for a
  /// thousand of them. After start().
  [[nodiscard]] Census census() const;

 private:
  struct Impl;
  explicit Proxy(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// The chapter's name for it: switches `old_generation` to draining with `successor` as the target of its
/// further requests. See Proxy::set_successor and Proxy::start_drain.
void reload_start_drain(Proxy& old_generation, std::shared_ptr<const Config> successor,
                        Handoff handoff = Handoff::none);

}  // namespace lb
