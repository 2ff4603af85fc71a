#include "lb/proxy/upstream_outliers.hpp"

#include <algorithm>
#include <string_view>

#include "lb/proxy/upstream_set.hpp"

namespace lb {
namespace {

OutlierRules rules_of(const OutlierDetectionConfig& config) {
  return {.failure_share = config.failure_share,
          .window = config.window,
          .requests_min = config.requests_min,
          .ejection = config.ejection,
          .ejection_max = std::max(config.ejection, config.ejection_max),
          .ejected_share_max = config.ejected_share_max};
}

}  // namespace

UpstreamOutliers::UpstreamOutliers(UpstreamSet& set, EventLog* log)
    : set_(set),
      log_(log),
      detector_(rules_of(*set.config().outlier_detection), set.size(), monotonic_now()),
      counts_(set.size()) {
  learn();
}

/// Who was ejected by another generation is out here too, and next time for longer.
void UpstreamOutliers::learn() {
  for (std::uint32_t i = 0; i < set_.size(); ++i) {
    const state::Entry& entry = set_.entry(i);
    const Instant until{Duration{entry.state.ejected_until_ns.load(std::memory_order_relaxed)}};
    if (until <= detector_.out_until(i)) continue;
    const auto length = static_cast<std::int64_t>(entry.ejection_ns.load(std::memory_order_relaxed));
    detector_.learn(i, until, Duration{length}, entry.ejection_reason.get());
  }
}

void UpstreamOutliers::failed_in_row(std::uint32_t backend, std::uint32_t failures, Instant now) {
  const std::scoped_lock lock{mutex_};
  if (const auto ejection = detector_.failed_in_row(backend, failures, now)) eject(*ejection, now);
}

void UpstreamOutliers::sample(Instant now) {
  const std::scoped_lock lock{mutex_};
  learn();
  for (std::uint32_t i = 0; i < set_.size(); ++i) {
    const BackendTotals counted = set_.counted(i);
    counts_[i] = {.requests = counted.requests, .failures = counted.gateway_failures};
  }
  const OutlierDetector::Changes changes = detector_.sample(counts_, now);
  for (const auto& ejection : changes.out) eject(ejection, now);
  if (log_ == nullptr) return;
  for (const std::uint32_t backend : changes.back) {
    log_->info("backend.returned", "the time is over for which a backend was left alone",
               {{"backend", std::string_view{set_.backend(backend).name}}});
  }
}

void UpstreamOutliers::eject(const OutlierDetector::Ejection& ejection, Instant now) {
  state::Entry& entry = set_.entry(ejection.backend);
  entry.ejection_ns.store(static_cast<std::uint64_t>((ejection.until - now).count()),
                          std::memory_order_relaxed);
  entry.ejection_reason.set(ejection.reason);
  set_.balancer().eject(ejection.backend, ejection.until, now);
  if (log_ == nullptr) return;
  log_->warn("backend.ejected", "a backend does badly with requests and is left alone for a while",
             {{"backend", std::string_view{set_.backend(ejection.backend).name}},
              {"reason", std::string_view{ejection.reason}},
              {"for_ms", to_ms(ejection.until - now)}});
}

std::string UpstreamOutliers::reason(std::uint32_t backend, Instant now) const {
  const std::scoped_lock lock{mutex_};
  const std::string* reason = detector_.reason(backend, now);
  return reason == nullptr ? std::string{} : *reason;
}

}  // namespace lb
