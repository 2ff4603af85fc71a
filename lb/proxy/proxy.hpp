// Proxy: the data path of one generation. Owns the worker threads; is handed its listening sockets and its
// configuration. Public methods may be called from any one thread (the generation's main thread).
#pragma once

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
#include "lb/observe/counters.hpp"
#include "lb/observe/event_log.hpp"

namespace lb {

struct ProxyOptions {
  std::shared_ptr<const Config> config;
  std::uint64_t generation = 1;
  std::uint64_t seed = 0;
  /// When there are more shards of an endpoint than workers, some workers poll several.
  std::vector<ListeningSocket> listeners;
  EventLog* log = nullptr;  // outlives the proxy
  LogFormat access_log_format = LogFormat::text;
};

/// What a drain did, once it is over.
struct DrainReport {
  std::uint64_t completed = 0;     // requests that were in flight at the start, or came since, and finished
  std::uint64_t closed_idle = 0;   // kept-alive connections closed between requests
  std::uint64_t force_closed = 0;  // connections closed by drain_timeout with a request or tunnel in flight
  Duration duration{};
};

class Proxy final {
 public:
  /// Resolves backend names (bounded by 2 s; an unresolved one is down and resolved again in the
  /// background), opens the access log. Fails when that cannot be opened, or a worker cannot be made.
  static Result<std::unique_ptr<Proxy>> create(ProxyOptions options);
  /// Stops the workers at once; connections still open are closed.
  ~Proxy();

  /// Starts the workers; returns once every one of them polls its listeners.
  void start();

  /// The configuration of the generation that takes over: from now on requests on connections that are
  /// still ours go to its backends. Returns once every worker has switched. Call before start_drain.
  void set_successor(std::shared_ptr<const Config> successor);

  /// Stops accepting (polling ends, nothing is shut down), lets requests in flight finish, adds
  /// "Connection: close" to the next response of each connection, closes idle ones after timeouts.quiet and
  /// everything else at drain_timeout. Returns once no worker polls a listener any more. Calling it twice is
  /// harmless.
  void start_drain();

  /// Readable once the drain is over and no connection is left.
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
  };
  [[nodiscard]] std::vector<BackendStatus> backends() const;

 private:
  struct Impl;
  explicit Proxy(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// The chapter's name for it: switches `old_generation` to draining with `successor` as the target of its
/// further requests. See Proxy::set_successor and Proxy::start_drain.
void reload_start_drain(Proxy& old_generation, std::shared_ptr<const Config> successor);

}  // namespace lb
