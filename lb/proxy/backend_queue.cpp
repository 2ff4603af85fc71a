#include "lb/proxy/backend_queue.hpp"

namespace lb {

BackendQueue::Entry BackendQueue::enter(std::uint32_t worker) noexcept {
  // The lane first: who sees the request in the sum must find it in a lane.
  lanes_[worker].waiting.fetch_add(1, std::memory_order_relaxed);
  const std::uint32_t before = waiting_.fetch_add(1, std::memory_order_acq_rel);
  if (before >= size_max_) {
    leave(worker);
    return Entry::full;
  }
  return before == 0 ? Entry::first : Entry::behind;
}

void BackendQueue::leave(std::uint32_t worker) noexcept {
  lanes_[worker].waiting.fetch_sub(1, std::memory_order_relaxed);
  waiting_.fetch_sub(1, std::memory_order_relaxed);
}

std::optional<std::uint32_t> BackendQueue::next_turn() noexcept {
  if (waiting_.fetch_add(0, std::memory_order_acq_rel) == 0) return std::nullopt;
  const std::uint32_t last = last_turn_.load(std::memory_order_relaxed);
  for (std::uint32_t i = 1; i <= workers_; ++i) {
    const std::uint32_t worker = (last + i) % workers_;
    if (lanes_[worker].waiting.load(std::memory_order_relaxed) == 0) continue;
    last_turn_.store(worker, std::memory_order_relaxed);  // two at once may give one worker two turns
    return worker;
  }
  return std::nullopt;
}

}  // namespace lb
