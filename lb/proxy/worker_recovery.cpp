// What becomes of an exchange whose backend failed before it answered: another backend, the same one again,
// or an error. And what the failure says about the backend.
//
// A request that cannot have reached anybody (no connection) goes to the next backend, whatever its method.
// One that was sent goes on only when it is idempotent, still whole in memory, and no byte of an answer was
// seen (RFC 9110 9.2.2), at most kResendsMax times. Each costs the budget of retries.
#include <algorithm>
#include <cerrno>

#include "lb/http/message.hpp"
#include "lb/proxy/upstream_outliers.hpp"
#include "lb/proxy/worker.hpp"

namespace lb {
namespace {

constexpr Duration kRoomWait = Milliseconds{5};  // for the listen queue of a Unix socket

bool is_gateway_error(std::uint16_t status) noexcept {
  return status >= 502 && status <= 504;
}

}  // namespace

bool Worker::may_send_again(const Exchange& exchange) {
  return !exchange.raw && exchange.request_bytes_whole && http::idempotent(exchange.method) &&
         !exchange.upgrade_requested && exchange.resends < kResendsMax;
}

bool Worker::recover(Exchange& exchange, int os_error, const char* what) {
  UpstreamConnection* const upstream = exchange.upstream;
  const bool never_connected = upstream == nullptr || upstream->connecting;
  if (never_connected) {
    const bool ours = os_error == EMFILE || os_error == ENFILE || os_error == ENOBUFS || os_error == ENOMEM;
    if (ours) {
      fail(exchange, 503, "out of descriptors or memory");
      return false;
    }
    if (upstream != nullptr) upstream_handshake_failed(exchange);
    if (!has_other_address(exchange)) {
      blame_unconnected(exchange, os_error);
      exchange.tried[exchange.attempts++] = exchange.backend;
    }
  } else if (!exchange.response_started && may_send_again(exchange)) {
    // A pooled connection that its backend closed meanwhile says nothing about that backend.
    if (!upstream->reused) {
      count_upstream_error(exchange);
      exchange.tried[exchange.attempts++] = exchange.backend;
      exchange.failure = what;
    }
    ++exchange.resends;
    exchange.retried = true;
  } else {
    count_upstream_error(exchange);
    fail(exchange, 502, what);
    return false;
  }
  if (!spend_retry(exchange)) {
    fail(exchange, 502, "too many requests failed to try this one again");
    return false;
  }
  if (!never_connected) bump(counters_.upstream_retries);
  if (upstream != nullptr) close_upstream(*upstream);
  release_backend(exchange);
  exchange.request_sent = false;
  return true;
}

/// Of several addresses of a name one is dead: it is passed over for a while, the backend is well.
bool Worker::has_other_address(Exchange& exchange) {
  AddressBook& addresses = exchange.upstreams->set().addresses();
  if (!addresses.is_name(exchange.backend)) return false;
  const bool other = addresses.failed(exchange.backend, exchange.address_key, now_);
  if (!other || exchange.address_tries >= kAttemptsMax) return false;
  ++exchange.address_tries;
  bump(counters_.upstream_connect_failures);
  return true;
}

/// A full queue of a Unix socket (EAGAIN) is a sign of load; no local port left towards a backend
/// (EADDRNOTAVAIL) is no fault of it either.
void Worker::blame_unconnected(Exchange& exchange, int os_error) {
  if (os_error == EAGAIN && exchange.upstreams->set().backend(exchange.backend).endpoint.unix_socket) {
    exchange.queue_full = true;
    return;
  }
  bump(counters_.upstream_connect_failures);
  if (os_error == EADDRNOTAVAIL) return;
  exchange.upstreams->balancer().report_failure(exchange.backend, now_);
  count_answer(exchange, Answer::none);
}

/// False: it would be one too many. Nothing is spent when there is no further backend to try.
bool Worker::spend_retry(Exchange& exchange) {
  const std::size_t attempts_max =
      std::min<std::size_t>(config_.retries.attempts, exchange.upstreams->set().size());
  if (exchange.attempts >= attempts_max) return true;
  if (!retry_budget_.take(counters_.requests.load(std::memory_order_relaxed), now_)) {
    bump(counters_.retries_refused);
    return false;
  }
  ++exchange.retries;
  return true;
}

/// Every backend was tried, and at least one has a full queue: all are tried again soon, for as long as
/// connecting may take.
void Worker::wait_for_room(Exchange& exchange) {
  if (now_ - exchange.started >= config_.timeouts.connect) {
    return fail(exchange, 503, "the queue of every backend is full");
  }
  exchange.queue_full = false;
  exchange.attempts = 0;
  exchange.waits_for_room = true;
  wheel_.set(exchange.timer, now_ + kRoomWait);
}

/// The backend answered that it cannot serve it: another one may. False: pass the answer on.
bool Worker::try_another(Exchange& exchange, std::uint16_t status) {
  if (!config_.retries.gateway_errors || !is_gateway_error(status) || !may_send_again(exchange)) return false;
  if (exchange.upstreams != upstreams_ || exchange.attempts + 1U >= config_.retries.attempts) return false;
  exchange.tried[exchange.attempts++] = exchange.backend;
  const Pick pick = choose(exchange);
  if (pick.result == PickResult::picked && spend_retry(exchange)) {
    count_answer(exchange, Answer::none);
    bump(counters_.upstream_retries);
    close_upstream(*exchange.upstream);
    release_backend(exchange);
    exchange.backend = pick.backend;
    exchange.request_sent = exchange.response_started = false;
    ++exchange.resends;
    dispatch_picked(exchange);
    return true;
  }
  if (pick.result == PickResult::picked) {
    exchange.upstreams->balancer().release(pick.backend);
    place_freed(*exchange.upstreams);
  }
  --exchange.attempts;
  return false;
}

Worker::Answer Worker::answer_of(std::uint16_t status) noexcept {
  if (status < 500) return Answer::good;
  return is_gateway_error(status) ? Answer::none : Answer::error;
}

void Worker::count_answer(Exchange& exchange, Answer answer) {
  BackendCounts& counts = exchange.upstreams->counts(exchange.backend);
  bump(counts.requests);
  if (answer != Answer::none) {
    if (counts.gateway_failures_in_row != 0) counts.gateway_failures_in_row = 0;
    if (answer == Answer::error) bump(counts.failures);
    return;
  }
  bump(counts.failures);
  bump(counts.gateway_failures);
  const std::uint32_t row_max = exchange.upstreams->failures_in_row_max();
  if (row_max == 0 || ++counts.gateway_failures_in_row < row_max) return;
  exchange.upstreams->set().outliers()->failed_in_row(exchange.backend, row_max, now_);
  counts.gateway_failures_in_row = 0;
}

/// By the clock of the turns: no call for it.
void Worker::count_answer_time(Exchange& exchange) noexcept {
  constexpr std::uint64_t kNsPerUs = 1000;
  const Duration took = now_ - exchange.dispatched;
  count_latency(exchange.upstreams->counts(exchange.backend),
                static_cast<std::uint64_t>(std::max(took, Duration::zero()).count()) / kNsPerUs);
}

void Worker::count_upstream_error(Exchange& exchange) {
  bump(counters_.upstream_errors);
  if (!exchange.response_head_sent) {
    count_answer(exchange, Answer::none);
  } else if (exchange.status < 500) {  // a request counted as answered well turns out to have failed
    BackendCounts& counts = exchange.upstreams->counts(exchange.backend);
    bump(counts.failures);
    bump(counts.gateway_failures);
  }
}

}  // namespace lb
