// Requests that wait because every backend that could serve them is at its max_connections. First come, first
// served within a worker; among workers the turns go round (BackendQueue).
//
//   pick_backend --busy--> wait_in_line --a turn--> serve_line --picked--> dispatch_picked
//                             |    ^                    |busy: the line stays as it is
//                             |    +--------------------+
//                             +--queue.timeout, or no place in the queue--> 503
//
// Turns come from who frees a place (place_freed, of any worker): one turn, one place. Other turns are looks:
// from entering an empty queue, as places may have become free just before, announced to nobody; and every
// kLookAgain from the first in line, for what nobody announces: a backend that is up again. How many places
// there are is not known then, so a look that finds one goes on to the next who waits, until one finds none.
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
    // Who entered while this one was counted took itself for the second, and there may be no first any more.
    if (queue != nullptr && !late) give_turn(*exchange.upstreams, Turn::look);
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
  if (entry == BackendQueue::Entry::first) take_turn(Turn::look);
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

void Worker::take_turn(Turn turn) noexcept {
  ++line_turns_;
  if (turn == Turn::look) line_looks_ = true;
}

/// As many of the line as there were turns. A turn that nobody here can use goes on to another worker. Where
/// one of several is a look all count as such: none becomes two by it.
void Worker::serve_line() {
  const Turn kind = std::exchange(line_looks_, false) ? Turn::look : Turn::place;
  for (std::uint32_t turns = std::exchange(line_turns_, 0); turns > 0; --turns) {
    Exchange* const exchange = line_first_;
    if (exchange == nullptr) return give_turn(*upstreams_, kind);
    const Pick pick = choose(*exchange);
    if (pick.result == PickResult::busy) return;
    leave_line(*exchange);
    if (kind == Turn::look) give_turn(*upstreams_, kind);
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
  take_turn(Turn::look);
  look_again_later();
}

/// A request has ended at a backend of `upstreams`: whose turn it is may try.
void Worker::place_freed(WorkerUpstreams& upstreams) {
  if (upstreams.set().queue() != nullptr) give_turn(upstreams, Turn::place);
}

void Worker::give_turn(WorkerUpstreams& upstreams, Turn turn) {
  BackendQueue* const queue = upstreams.set().queue();
  if (queue == nullptr) return;
  const std::optional<std::uint32_t> next = queue->next_turn();
  if (!next) return;
  if (*next == number_) return take_turn(turn);
  Worker* const other = shared_.workers[*next];
  other->post([other, turn] { other->take_turn(turn); });
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
