// Requests that wait because every backend that could serve them is at its max_connections. First come, first
// served within a worker; among workers the turns go round (BackendQueue).
//
//   pick_backend --busy--> wait_in_line --a turn--> serve_line --picked--> dispatch_picked
//                             |    ^                    |busy: the line stays as it is
//                             |    +--------------------+
//                             +--queue.timeout, or no place in the queue--> 503
//
// Turns come from who frees a place (place_freed, of any worker), from entering an empty queue (a place may
// have become free just before), and every kLookAgain from the first in line, for what nobody announces: a
// backend that is up again.
#include <algorithm>
#include <optional>
#include <utility>

#include "lb/proxy/backend_queue.hpp"
#include "lb/proxy/worker.hpp"

namespace lb {
namespace {

constexpr Duration kLookAgain = Milliseconds{100};
constexpr std::uint32_t kRetryAfterS = 1;

}  // namespace

/// While others wait a new request goes behind them, also when a place is free: it is about to be theirs.
bool Worker::must_wait(const Exchange& exchange) const noexcept {
  const BackendQueue* const queue = exchange.upstreams->set().queue();
  return queue != nullptr && exchange.attempts == 0 && !exchange.waited && queue->anybody_waits();
}

void Worker::wait_in_line(Exchange& exchange) {
  BackendQueue* const queue = exchange.upstreams->set().queue();
  const bool late = exchange.waited && now_ >= exchange.wait_until;
  const auto entry = queue == nullptr || late ? BackendQueue::Entry::full : queue->enter(number_);
  if (entry == BackendQueue::Entry::full) {
    return fail(exchange, 503, "every backend is at its connection limit", kRetryAfterS);
  }
  if (!exchange.waited) exchange.wait_until = now_ + exchange.upstreams->set().config().queue.timeout;
  exchange.waited = true;
  exchange.waiting = true;
  exchange.line_before = line_last_;
  exchange.line_behind = nullptr;
  (line_last_ != nullptr ? line_last_->line_behind : line_first_) = &exchange;
  line_last_ = &exchange;
  bump(counters_.queued);
  bump(counters_.queue_waiting);
  wheel_.set(exchange.timer, exchange.wait_until);
  if (line_first_ == &exchange) look_again_later();
  if (entry == BackendQueue::Entry::first) ++line_turns_;
}

void Worker::leave_line(Exchange& exchange) noexcept {
  if (!exchange.waiting) return;
  exchange.waiting = false;
  const bool was_first = line_first_ == &exchange;
  (was_first ? line_first_ : exchange.line_before->line_behind) = exchange.line_behind;
  (line_last_ == &exchange ? line_last_ : exchange.line_behind->line_before) = exchange.line_before;
  exchange.upstreams->set().queue()->leave(number_);
  lb::drop(counters_.queue_waiting);
  wheel_.set(exchange.timer, kNever);
  if (was_first && line_first_ != nullptr) look_again_later();
}

void Worker::look_again_later() noexcept {
  wheel_.set(line_first_->timer, std::min(line_first_->wait_until, now_ + kLookAgain));
}

/// As many of the line as there were turns. A turn that nobody here can use goes on to another worker.
void Worker::serve_line() {
  for (std::uint32_t turns = std::exchange(line_turns_, 0); turns > 0; --turns) {
    Exchange* const exchange = line_first_;
    if (exchange == nullptr) return give_turn(*upstreams_);
    const Pick pick = choose(*exchange);
    if (pick.result == PickResult::busy) return;
    leave_line(*exchange);
    if (pick.result == PickResult::picked) {
      exchange->backend = pick.backend;
      dispatch_picked(*exchange);
    } else {
      fail_without_backend(*exchange);
    }
  }
}

void Worker::on_line_timer(Exchange& exchange) {
  if (now_ >= exchange.wait_until) {
    bump(counters_.queue_timeouts);
    leave_line(exchange);
    return fail(exchange, 503, "every backend stayed at its connection limit", kRetryAfterS);
  }
  ++line_turns_;
  look_again_later();
}

/// A request has ended at a backend of `upstreams`: whose turn it is may try.
void Worker::place_freed(WorkerUpstreams& upstreams) {
  if (upstreams.set().queue() != nullptr) give_turn(upstreams);
}

void Worker::give_turn(WorkerUpstreams& upstreams) {
  BackendQueue* const queue = upstreams.set().queue();
  if (queue == nullptr) return;
  const std::optional<std::uint32_t> next = queue->next_turn();
  if (!next) return;
  if (*next == number_) {
    ++line_turns_;
    return;
  }
  Worker* const other = shared_.workers[*next];
  other->post([other] { ++other->line_turns_; });
}

/// The backends are others now: everybody in line tries those.
void Worker::dissolve_line() {
  std::vector<Handle> waiting;
  while (line_first_ != nullptr) {
    waiting.push_back(line_first_->handle);
    leave_line(*line_first_);
  }
  for (const Handle handle : waiting) {
    if (Exchange* const exchange = exchanges_.get(handle)) dispatch(*exchange);
  }
}

}  // namespace lb
