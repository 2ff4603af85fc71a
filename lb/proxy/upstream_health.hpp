// UpstreamHealth: the active health checks of an UpstreamSet. Tells its balancer who is down and the log what
// changed; remembers why, for the status. Owned by the Proxy; any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lb/base/result.hpp"
#include "lb/health/health_monitor.hpp"
#include "lb/observe/event_log.hpp"
#include "lb/proxy/upstream_set.hpp"

namespace lb {

/// A generation waits this long at most for its first checks before it serves.
inline constexpr Milliseconds kWarmUpMax{3000};

class UpstreamHealth final {
 public:
  /// The configuration of `set` has a health_check. `log` may be null, else outlives this. Who is known to be
  /// down by the same checks of another generation is down from the start. What is found counts for other
  /// generations as soon as `state` says that the checks of this one count.
  static Result<std::unique_ptr<UpstreamHealth>> create(std::shared_ptr<UpstreamSet> set,
                                                        std::shared_ptr<state::GenerationState> state,
                                                        EventLog* log, std::uint64_t seed);

  /// Starts checking, and waits for the first results: the timeout of a check, at most kWarmUpMax. Whoever
  /// has not answered by then counts as up until its check has ended.
  void start();

  struct Finding {
    Health health = Health::untested;
    Instant since{};
    std::string failure{};  // of the last failed check
  };
  [[nodiscard]] Finding finding(std::uint32_t backend) const;

  /// Makes known what the checks have found so far: they count from now on.
  void publish();

 private:
  UpstreamHealth(std::shared_ptr<UpstreamSet> set, std::shared_ptr<state::GenerationState> state,
                 EventLog* log)
      : set_(std::move(set)), state_(std::move(state)), log_(log) {}
  Result<void> add_tls(HealthMonitor::Options& options);
  void on_change(const HealthMonitor::Change& change);

  void tell_of_panic(Instant now);
  void tell(std::uint32_t backend, bool down, std::string_view reason, Instant now);

  std::shared_ptr<UpstreamSet> set_;
  std::shared_ptr<state::GenerationState> state_;
  std::vector<std::uint64_t> rules_;  // hash of how each backend is checked
  EventLog* log_;
  std::atomic<bool> panic_{false};                               // as told last
  std::vector<std::unique_ptr<tls::ClientTarget>> own_targets_;  // of backends without TLS, for its handshake
  std::unique_ptr<HealthMonitor> monitor_;
};

}  // namespace lb
