#include "lb/proxy/drain_ledger.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <iterator>
#include <utility>

namespace lb {
namespace {

void set_readable(const Fd& event) noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(event.get(), &one, sizeof one);
}

void clear_readable(const Fd& event) noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t n = ::read(event.get(), &count, sizeof count);
}

}  // namespace

Result<void> DrainLedger::open() {
  for (Fd* event : {&drained_, &handed_}) {
    *event = Fd{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    if (!*event) return std::unexpected(system_error("eventfd", "", errno));
  }
  return {};
}

void DrainLedger::hold(std::size_t n) {
  if (n == 0) return;
  const std::scoped_lock lock{mutex_};
  held_ += n;
  if (over_since_ == kNever) return;
  over_since_ = kNever;
  clear_readable(drained_);
}

void DrainLedger::release(std::size_t n) {
  if (n == 0) return;
  const std::scoped_lock lock{mutex_};
  LB_ASSERT(held_ >= n);
  held_ -= n;
  check_over();
}

std::size_t DrainLedger::room() const {
  const std::scoped_lock lock{mutex_};
  return paused_ || queue_.size() >= kQueueMax ? 0 : kQueueMax - queue_.size();
}

void DrainLedger::pause(bool paused) {
  const std::scoped_lock lock{mutex_};
  paused_ = paused;
  note_room();
}

void DrainLedger::note_room() noexcept {
  has_room_.store(!paused_ && queue_.size() < kQueueMax, std::memory_order_relaxed);
}

/// The caller holds the ledger, so that the drain cannot be over before its connections are here.
void DrainLedger::queue(std::vector<HandedConnection> connections) {
  if (connections.empty()) return;
  const std::scoped_lock lock{mutex_};
  LB_ASSERT(held_ > 0);
  if (queue_.empty()) {
    queue_ = std::move(connections);
    set_readable(handed_);
  } else {
    queue_.insert(queue_.end(), std::make_move_iterator(connections.begin()),
                  std::make_move_iterator(connections.end()));
  }
  note_room();
}

std::vector<HandedConnection> DrainLedger::take() {
  const std::scoped_lock lock{mutex_};
  if (queue_.empty()) return {};
  clear_readable(handed_);
  std::vector<HandedConnection> taken = std::exchange(queue_, {});
  note_room();
  check_over();
  return taken;
}

bool DrainLedger::wants_forced() const {
  const std::scoped_lock lock{mutex_};
  return forced_.size() < kForcedMax;
}

void DrainLedger::forced(ForceClosed closed) {
  const std::scoped_lock lock{mutex_};
  if (forced_.size() < kForcedMax) forced_.push_back(std::move(closed));
}

std::vector<ForceClosed> DrainLedger::all_forced() const {
  const std::scoped_lock lock{mutex_};
  return forced_;
}

void DrainLedger::reset() {
  const std::scoped_lock lock{mutex_};
  LB_ASSERT(queue_.empty());
  held_ = 0;
  if (std::exchange(over_since_, kNever) != kNever) clear_readable(drained_);
}

Instant DrainLedger::over_since() const {
  const std::scoped_lock lock{mutex_};
  return over_since_;
}

void DrainLedger::check_over() {
  if (held_ > 0 || !queue_.empty()) return;
  over_since_ = monotonic_now();
  set_readable(drained_);
}

}  // namespace lb
