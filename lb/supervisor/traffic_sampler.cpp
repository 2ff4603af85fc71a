#include "lb/supervisor/traffic_sampler.hpp"

namespace lb {
namespace {

RequestCount operator-(const RequestCount& a, const RequestCount& b) {
  return {a.requests - std::min(a.requests, b.requests), a.failures - std::min(a.failures, b.failures)};
}

}  // namespace

TrafficSampler::Counts TrafficSampler::counts_of(const StatusMessage& status) {
  Counts counts;
  for (const BackendEntry& backend : status.backends) {
    counts[backend.name] = {backend.endpoint, {backend.requests, backend.failures}};
  }
  return counts;
}

void TrafficSampler::observe(Instant now, GenerationId id, const StatusMessage& status) {
  if (id != serving_) {
    // What it counts since the switch is for the backends of its successor.
    if (status.token > switch_token_) draining_[id] = counts_of(status);
    return;
  }
  if (history_.size() > 1 && now - history_[history_.size() - 2].at < kEvery) history_.pop_back();
  history_.push_back({now, counts_of(status)});
  while (history_.size() > 2 && now - history_[1].at >= kBeforeMax) history_.pop_front();
}

/// What the serving generation's backends did between the oldest and the newest observation kept; a
/// generation that was observed once is counted from its start.
TrafficSampler::Counts TrafficSampler::recent() const {
  if (history_.empty()) return {};
  Counts counts = history_.back().counts;
  if (history_.size() < 2) return counts;
  for (auto& [name, count] : counts) {
    const auto old = history_.front().counts.find(name);
    if (old != history_.front().counts.end()) count.count = count.count - old->second.count;
  }
  return counts;
}

void TrafficSampler::switched(GenerationId to, std::uint64_t token, bool good) {
  if (good || before_.empty()) before_ = recent();
  history_.clear();
  draining_.clear();
  serving_ = to;
  switch_token_ = token;
}

void TrafficSampler::forget(GenerationId id) {
  draining_.erase(id);
}

std::vector<BackendSample> TrafficSampler::sample() const {
  std::vector<BackendSample> samples;
  if (history_.empty()) return samples;
  for (const auto& [name, count] : history_.back().counts) {
    BackendSample sample{.name = name, .after = count.count};
    // The same name at another address is another server: nothing is known of it.
    const auto before = before_.find(name);
    if (before != before_.end() && before->second.endpoint == count.endpoint) {
      sample.before = before->second.count;
      for (const auto& [id, counts] : draining_) {
        const auto old = counts.find(name);
        if (old == counts.end() || old->second.endpoint != count.endpoint) continue;
        sample.meanwhile_old.requests += old->second.count.requests;
        sample.meanwhile_old.failures += old->second.count.failures;
      }
    }
    samples.push_back(std::move(sample));
  }
  return samples;
}

}  // namespace lb
