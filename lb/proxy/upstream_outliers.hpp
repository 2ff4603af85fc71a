// UpstreamOutliers: passive health of an UpstreamSet: who does badly with real requests is ejected by its
// balancer for a while, and the log told. Owned by the set. Workers report rows of failures, which are rare;
// the counts of all requests are looked at by the Proxy's housekeeping. Any thread.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "lb/health/outlier_detector.hpp"
#include "lb/observe/event_log.hpp"

namespace lb {

class UpstreamSet;

class UpstreamOutliers final {
 public:
  /// The configuration of `set`, which owns this, has an outlier_detection. `log` may be null.
  UpstreamOutliers(UpstreamSet& set, EventLog* log);

  /// A worker has seen so many requests in a row fail.
  void failed_in_row(std::uint32_t backend, std::uint32_t failures, Instant now);
  /// Every second or so.
  void sample(Instant now);
  /// Why it is ejected; empty when it is not.
  [[nodiscard]] std::string reason(std::uint32_t backend, Instant now) const;

 private:
  void learn();
  void eject(const OutlierDetector::Ejection& ejection, Instant now);

  UpstreamSet& set_;
  EventLog* log_;
  mutable std::mutex mutex_;
  OutlierDetector detector_;
  std::vector<OutlierCounts> counts_;  // scratch of sample()
};

}  // namespace lb
