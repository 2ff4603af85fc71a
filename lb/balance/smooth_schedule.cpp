#include "lb/balance/smooth_schedule.hpp"

#include <algorithm>
#include <bit>
#include <map>
#include <numeric>

#include "lb/balance/roster.hpp"

namespace lb {
namespace {

/// Backends of one weight take their turns in the order of the list, so that smooth weighted round robin
/// needs to compare only the heads of these queues: a step costs the number of different weights.
struct Queue {
  std::int64_t weight = 0;
  std::int64_t current = 0;  // of the member at `head`, and of those behind it
  std::size_t head = 0;
  std::vector<std::uint32_t> members;
};

}  // namespace

SmoothSchedule::SmoothSchedule(std::span<const std::uint32_t> backends,
                               std::span<const BackendTraits> traits) {
  if (backends.empty()) return;
  std::uint64_t divisor = 0;
  for (const std::uint32_t backend : backends)
    divisor = std::gcd(divisor, std::uint64_t{traits[backend].weight});
  std::vector<std::uint64_t> weights;
  weights.reserve(backends.size());
  for (const std::uint32_t backend : backends) weights.push_back(traits[backend].weight / divisor);
  period_ = std::accumulate(weights.begin(), weights.end(), std::uint64_t{0});

  std::vector<std::uint64_t> different = weights;
  std::ranges::sort(different);
  const auto repeated = std::ranges::unique(different);
  different.erase(repeated.begin(), repeated.end());
  if (period_ <= kListedPeriodMax && period_ * different.size() <= kListingStepsMax) {
    list(backends, weights);
  } else {
    lay_out(backends, weights);
  }
}

void SmoothSchedule::list(std::span<const std::uint32_t> backends, std::span<const std::uint64_t> weights) {
  std::map<std::uint64_t, Queue> by_weight;
  for (std::size_t k = 0; k < backends.size(); ++k) by_weight[weights[k]].members.push_back(backends[k]);
  std::vector<Queue> queues;
  for (auto& [weight, queue] : by_weight) {
    queue.weight = static_cast<std::int64_t>(weight);
    queues.push_back(std::move(queue));
  }
  const auto period = static_cast<std::int64_t>(period_);
  listed_.reserve(period_);
  for (std::uint64_t turn = 0; turn < period_; ++turn) {
    Queue* best = nullptr;
    for (Queue& queue : queues) {
      queue.current += queue.weight;
      if (best == nullptr || queue.current > best->current ||
          (queue.current == best->current && queue.members[queue.head] < best->members[best->head])) {
        best = &queue;
      }
    }
    listed_.push_back(best->members[best->head]);
    if (++best->head == best->members.size()) {
      best->head = 0;
      best->current -= period;
    }
  }
}

void SmoothSchedule::lay_out(std::span<const std::uint32_t> backends,
                             std::span<const std::uint64_t> weights) {
  constexpr double kGolden = 0.6180339887498949;
  stride_ = static_cast<std::uint64_t>(static_cast<double>(period_) * kGolden);
  while (std::gcd(stride_, period_) != 1) ++stride_;

  backends_.assign(backends.begin(), backends.end());
  ends_.reserve(weights.size());
  std::uint64_t end = 0;
  for (const std::uint64_t weight : weights) ends_.push_back(end += weight);

  const auto line_bits = static_cast<unsigned>(std::bit_width(period_));
  const auto guide_bits = std::min(line_bits, static_cast<unsigned>(std::bit_width(weights.size())) + 1);
  guide_shift_ = line_bits - guide_bits;
  std::uint32_t k = 0;
  for (std::uint64_t start = 0; start < period_; start += std::uint64_t{1} << guide_shift_) {
    while (ends_[k] <= start) ++k;
    guide_.push_back(k);
  }
}

std::uint32_t SmoothSchedule::at_point(std::uint64_t turn) const noexcept {
  const auto point = static_cast<std::uint64_t>(Uint128{turn} * stride_ % period_);
  // A block with many short parts is searched by halving, the usual one or two by looking.
  const std::uint64_t block = point >> guide_shift_;
  const std::uint32_t low = guide_[block];
  const std::uint32_t high =
      block + 1 < guide_.size() ? guide_[block + 1] + 1 : static_cast<std::uint32_t>(ends_.size());
  const auto part = std::upper_bound(ends_.begin() + low, ends_.begin() + high, point);
  return backends_[static_cast<std::size_t>(part - ends_.begin())];
}

}  // namespace lb
