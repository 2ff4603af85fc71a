#include "lb/health/outlier_detector.hpp"

#include <algorithm>
#include <utility>

#include "lb/base/result.hpp"

namespace lb {

OutlierDetector::OutlierDetector(const OutlierRules& rules, std::uint32_t backends, Instant now)
    : rules_(rules), backends_(backends), window_began_(now) {
  for (Backend& backend : backends_) backend.out_until = now;
}

std::optional<OutlierDetector::Ejection> OutlierDetector::failed_in_row(std::uint32_t backend,
                                                                        std::uint32_t failures, Instant now) {
  return eject(backend, std::to_string(failures) + " requests in a row failed", now);
}

bool OutlierDetector::may_eject(Instant now) const noexcept {
  const auto out = std::ranges::count_if(backends_, [&](const Backend& b) { return b.out_until > now; });
  if (out == 0) return backends_.size() > 1;
  return static_cast<double>(out + 1) <= rules_.ejected_share_max * static_cast<double>(backends_.size());
}

std::optional<OutlierDetector::Ejection> OutlierDetector::eject(std::uint32_t index, std::string reason,
                                                                Instant now) {
  Backend& backend = backends_[index];
  if (backend.out_until > now || !may_eject(now)) return std::nullopt;
  const bool anew = backend.last_out == Duration::zero() || now - backend.out_until > backend.last_out;
  backend.last_out = anew ? rules_.ejection : std::min(backend.last_out * 2, rules_.ejection_max);
  backend.out_until = now + backend.last_out;
  backend.out = true;
  backend.reason = reason;
  return Ejection{.backend = index, .until = backend.out_until, .reason = std::move(reason)};
}

OutlierDetector::Changes OutlierDetector::sample(std::span<const OutlierCounts> counts, Instant now) {
  LB_ASSERT(counts.size() == backends_.size());
  Changes changes;
  const bool window_over = now - window_began_ >= rules_.window;
  for (std::uint32_t i = 0; i < backends_.size(); ++i) {
    Backend& backend = backends_[i];
    if (backend.out && backend.out_until <= now) {
      backend.out = false;
      backend.at_begin = counts[i];  // what happened before says nothing about now
      changes.back.push_back(i);
    }
    const std::uint64_t requests = counts[i].requests - backend.at_begin.requests;
    const std::uint64_t failures = counts[i].failures - backend.at_begin.failures;
    const bool bad = rules_.failure_share > 0 && requests >= rules_.requests_min &&
                     static_cast<double>(failures) >= rules_.failure_share * static_cast<double>(requests);
    if (bad) {
      const std::string reason =
          std::to_string(failures) + " of " + std::to_string(requests) + " requests failed";
      if (auto out = eject(i, reason, now)) changes.out.push_back(std::move(*out));
    }
    if (window_over) backend.at_begin = counts[i];
  }
  if (window_over) window_began_ = now;
  return changes;
}

void OutlierDetector::learn(std::uint32_t index, Instant until, Duration length, std::string reason) {
  Backend& backend = backends_[index];
  if (until <= backend.out_until) return;
  backend.out_until = until;
  backend.last_out = length;
  backend.out = true;
  backend.reason = std::move(reason);
}

const std::string* OutlierDetector::reason(std::uint32_t backend, Instant now) const noexcept {
  const Backend& of = backends_[backend];
  return of.out_until > now ? &of.reason : nullptr;
}

}  // namespace lb
