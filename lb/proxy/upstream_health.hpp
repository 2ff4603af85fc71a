// UpstreamHealth: the active health checks of an UpstreamSet. Tells its balancer who is down and the log what
// changed; remembers why, for the status. Owned by the Proxy; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "lb/base/result.hpp"
#include "lb/health/health_monitor.hpp"
#include "lb/observe/event_log.hpp"
#include "lb/proxy/upstream_set.hpp"

namespace lb {

/// A generation waits this long at most for its first checks before it serves.
inline constexpr Milliseconds kWarmUpMax{3000};

class UpstreamHealth final {
 public:
  /// The configuration of `set` has a health_check. `log` may be null, else outlives this.
  static Result<std::unique_ptr<UpstreamHealth>> create(std::shared_ptr<UpstreamSet> set, EventLog* log,
                                                        std::uint64_t seed);

  /// Starts checking, and waits for the first results: the timeout of a check, at most kWarmUpMax. Whoever
  /// has not answered by then counts as up until its check has ended.
  void start();

  struct Finding {
    Health health = Health::untested;
    Instant since{};
    std::string failure{};  // of the last failed check
  };
  [[nodiscard]] Finding finding(std::uint32_t backend) const;

  /// Another set shall not use a backend that is known to be down here: by name, where the address and the
  /// way it is checked are the same.
  void pass_on(UpstreamSet& other, Instant now) const;

 private:
  UpstreamHealth(std::shared_ptr<UpstreamSet> set, EventLog* log) : set_(std::move(set)), log_(log) {}
  void on_change(const HealthMonitor::Change& change);

  std::shared_ptr<UpstreamSet> set_;
  EventLog* log_;
  bool panic_ = false;  // on the monitor's thread
  std::unique_ptr<HealthMonitor> monitor_;
};

}  // namespace lb
