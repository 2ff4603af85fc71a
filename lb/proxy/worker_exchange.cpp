// An exchange from its head to the request's last byte: admission, choice of a backend, sending, retries.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "lb/http/framing.hpp"
#include "lb/http/max_forwards.hpp"
#include "lb/proxy/hash_key.hpp"
#include "lb/proxy/worker.hpp"

namespace lb {

using State = ClientConnection::State;

namespace {
constexpr std::string_view kBodyTooLarge = "the request body is larger than limits.body_bytes";
}  // namespace

std::size_t Worker::begin_exchange(ClientConnection& client, const http::RequestHead& head,
                                   std::string_view rest) {
  bump(counters_.requests);
  ++client.requests;
  const http::FramingOutcome framing = http::request_framing(head);
  if (framing.error) {
    bump(counters_.bad_requests);
    reject(client, framing.error->status, framing.error->detail);
    return 0;
  }
  if (!admit(client, head, framing.framing, !rest.empty())) return 0;
  Exchange* const made = make_exchange(client, head);
  if (made == nullptr) {
    reject(client, 503, "too many requests are in flight");
    return 0;
  }
  Exchange& exchange = *made;

  std::array<char, IpAddress::kTextMax> ip;
  const http::ForwardContext forward{
      .client_ip = {ip.data(), client.peer.write_text(ip.data())},
      .proto = client.socket.tls ? "https" : "http",
      .via_name = "lb",
      .backend_host = "localhost",
  };
  // Before anything can fail: whether the connection is in step afterwards is told by it.
  exchange.request_body = BodyFlow{framing.framing, framing.framing, true};
  gather_.clear();
  const std::size_t head_size = http::write_upstream_head(head, framing.framing, forward, gather_.room());
  if (head_size == 0) {
    fail(exchange, 431, "the request head is too large");
    return 0;
  }
  gather_.commit(head_size);
  const BodyFlow::Fed fed = exchange.request_body.feed(rest, gather_);
  if (too_large(exchange.request_body.payload_bytes())) {
    refuse_body(exchange);
    return 0;
  }
  if (fed.failed) {
    bump(counters_.bad_requests);
    fail(exchange, 400, "malformed chunked coding (RFC 9112 7.1)");
    return 0;
  }
  for (const iovec& piece : gather_.pieces()) {
    exchange.request_bytes.append({static_cast<const char*>(piece.iov_base), piece.iov_len});
  }
  exchange.request_bytes_whole = exchange.request_body.complete();
  // Kept before the request is sent, as what is waited for next depends on it: more of the body than one
  // write takes, or a further request.
  client.inbox.append(rest.substr(fed.consumed));
  dispatch(exchange);
  return rest.size();
}

/// What is answered without a backend. The body of a refused request is not read: the connection ends.
bool Worker::admit(ClientConnection& client, const http::RequestHead& head, const http::BodyFraming& framing,
                   bool more_input) {
  if (head.method == http::Method::connect) {
    reject(client, 501, "CONNECT is not supported");
    return false;
  }
  const bool bodiless = framing.kind == http::BodyFraming::Kind::none;
  const auto keeps = [&] {
    const bool keep = bodiless && may_live_on(client, more_input) && head.minor_version >= 1 &&
                      http::wants_keep_alive(head.facts, head.minor_version);
    client.linger = !keep;
    return keep;
  };
  if (too_large(framing.length)) {
    client.linger = true;
    log_refused(client, 413, head.method_text, head.target);
    respond_locally(client, 413, kBodyTooLarge, false, head.method, 0);
    return false;
  }
  if (shared_.limiter) {
    const RateLimiter::Decision decision = shared_.limiter->take(client.peer.site_hash(), now_);
    if (!decision.allowed) {
      bump(counters_.rate_limited);
      log_refused(client, 429, head.method_text, head.target);
      respond_locally(client, 429, "rate limit exceeded", keeps(), head.method, decision.retry_after_s);
      return false;
    }
  }
  if (!http::counts_forwards(head.method)) return true;
  if (head.method == http::Method::trace && !bodiless) {
    reject(client, 400, "TRACE with content (RFC 9110 9.3.8)");
    return false;
  }
  switch (http::max_forwards(head).kind) {
    case http::MaxForwards::Kind::absent:
    case http::MaxForwards::Kind::forward:
      return true;
    case http::MaxForwards::Kind::malformed:
      reject(client, 400, "Max-Forwards is not one decimal number (RFC 9110 7.6.2)");
      return false;
    case http::MaxForwards::Kind::answer:
      answer_as_last(client, head, keeps());
      return false;
  }
  return true;
}

/// A TRACE or OPTIONS that may go no further (RFC 9110 7.6.2).
void Worker::answer_as_last(ClientConnection& client, const http::RequestHead& head, bool keep_alive) {
  const std::string_view date = date_text();
  log_local(client, 200, head.method_text, head.target, "ok");
  send_locally(client, 200,
               head.method == http::Method::trace
                   ? http::make_trace_response(head, keep_alive, shared_.response_block, date)
                   : http::make_options_response(keep_alive, shared_.response_block, date),
               keep_alive);
}

Exchange* Worker::make_exchange(ClientConnection& client, const http::RequestHead& head) {
  Exchange* const exchange = attach_exchange(client);
  if (exchange == nullptr) return nullptr;
  exchange->method = head.method;
  exchange->client_minor_version = head.minor_version;
  exchange->client_keep_alive = http::wants_keep_alive(head.facts, head.minor_version);
  exchange->upgrade_requested =
      head.facts.connection_upgrade && head.facts.has_upgrade && head.minor_version >= 1;
  exchange->client_takes_trailers = head.facts.te_trailers && head.minor_version >= 1;
  if (upstreams_->set().hashes_requests()) {
    exchange->hash_key = hash_key(upstreams_->set().config().hash, head, client.peer.hash());
  }
  if (shared_.access_log) {
    exchange->log_method = head.method_text;
    exchange->log_target = head.target;
  }
  return exchange;
}

/// What HTTP and TCP mode have in common; nullptr: no memory.
Exchange* Worker::attach_exchange(ClientConnection& client) {
  auto [exchange, handle] = exchanges_.emplace();
  if (exchange == nullptr) return nullptr;
  exchange->handle = handle;
  exchange->client = &client;
  exchange->upstreams = upstreams_;
  exchange->started = now_;
  client.exchange = exchange;
  client.state = State::exchange;
  wheel_.set(client.timer, kNever);
  bump(counters_.requests_in_flight);
  return exchange;
}

/// Chooses a backend for the request and sends it there, or lets it wait for one.
void Worker::dispatch(Exchange& exchange) {
  if (exchange.upstreams != upstreams_) {
    exchange.upstreams = upstreams_;
    exchange.attempts = 0;  // the backends are others now
  }
  if (must_wait(exchange)) return wait_in_line(exchange);
  if (pick_backend(exchange)) dispatch_picked(exchange);
}

/// Finds a connection for the request and sends it; goes on to the next backend while that fails at once.
void Worker::dispatch_picked(Exchange& exchange) {
  exchange.dispatched = now_;
  for (;;) {
    UpstreamConnection* upstream = exchange.retried || exchange.raw ? nullptr : take_pooled(exchange);
    if (upstream != nullptr) {
      bump(counters_.upstream_reused);
      upstream->reused = true;
    } else {
      upstream = connect_upstream(exchange);
    }
    if (upstream != nullptr) {
      upstream->exchange = &exchange;
      exchange.upstream = upstream;
      if (exchange.raw ? await_connected(exchange) : send_request(exchange)) return;
    }
    if (!recover(exchange, errno, "the backend closed the connection")) return;
    if (!pick_backend(exchange)) return;
  }
}

/// An idle connection to the backend, or nullptr. Those on which an event of this turn was seen are closed
/// already. Where that is not enough, because the turn could not see all events or the request could not be
/// sent again, the connection is looked at once more.
UpstreamConnection* Worker::take_pooled(const Exchange& exchange) {
  const bool look = events_left_ || !exchange.request_bytes_whole || !http::idempotent(exchange.method);
  while (UpstreamConnection* upstream = exchange.upstreams->take(exchange.backend, now_)) {
    char byte = 0;
    if (!look || (::recv(upstream->socket.fd.get(), &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN)) {
      return upstream;
    }
    upstream_connections_.retire(upstream->handle);
  }
  return nullptr;
}

/// False: nobody can serve it, and the client has been told; or it waits in line.
bool Worker::pick_backend(Exchange& exchange) {
  const Pick pick = exchange.attempts < config_.retries.attempts ? choose(exchange) : Pick{};
  switch (pick.result) {
    case PickResult::picked:
      exchange.backend = pick.backend;
      return true;
    case PickResult::busy:
      wait_in_line(exchange);
      return false;
    case PickResult::none:
      fail_without_backend(exchange);
      return false;
  }
  return false;
}

Pick Worker::choose(const Exchange& exchange) {
  return exchange.upstreams->balancer().pick(PickContext{
      .now = now_,
      .client_hash = exchange.hash_key != 0 ? exchange.hash_key : exchange.client->peer.hash(),
      .random = random_(),
      .tried = {exchange.tried.data(), exchange.attempts},
  });
}

void Worker::fail_without_backend(Exchange& exchange) {
  if (exchange.queue_full) return wait_for_room(exchange);
  if (exchange.attempts > 0) return fail(exchange, 502, exchange.failure);
  fail(exchange, 503, "no backend is available");
}

/// A connection being opened; nullptr with errno when that failed at once. On loopback, and often elsewhere,
/// it is established by the time the request is ready: sending is tried before any event is waited for.
UpstreamConnection* Worker::connect_upstream(Exchange& exchange) {
  AddressBook& addresses = exchange.upstreams->set().addresses();
  const SocketAddress address = addresses.next(exchange.backend, now_);
  exchange.address_key = addresses.is_name(exchange.backend) ? AddressBook::key_of(address) : 0;
  if (address.empty()) {
    errno = EHOSTUNREACH;  // its name does not resolve
    return nullptr;
  }
  Fd fd{::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (!fd) return nullptr;
  if (address.family() != AF_UNIX) {
    const int one = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  }
  if (::connect(fd.get(), address.get(), address.size()) != 0 && errno != EINPROGRESS) return nullptr;
  auto [upstream, handle] = upstream_connections_.emplace();
  if (upstream == nullptr) {
    errno = ENOBUFS;
    return nullptr;
  }
  upstream->handle = handle;
  upstream->socket.fd = std::move(fd);
  upstream->upstreams = exchange.upstreams;
  upstream->backend = exchange.backend;
  upstream->address_key = exchange.address_key;
  upstream->connecting = true;
  upstream->prefaced = exchange.upstreams->set().backend(exchange.backend).send_proxy != SendProxy::off;
  if (!secure_upstream(exchange, *upstream)) {
    upstream_connections_.retire(handle);
    errno = EPROTO;
    return nullptr;
  }
  return upstream;
}

/// Sends what came with the head, in one call. False, with errno: the connection is of no use.
bool Worker::send_request(Exchange& exchange) {
  UpstreamConnection& upstream = *exchange.upstream;
  Socket& socket = upstream.socket;
  const Token token = token_of(upstream);
  if (upstream.prefaced && !send_preface(exchange)) return false;
  if (!send_bytes(socket, token, exchange.request_bytes.view())) return false;
  if (upstream.connecting && socket.outbox.size() < exchange.request_bytes.size()) {
    upstream.connecting = false;
    bump(counters_.upstream_connects);
    exchange.upstreams->balancer().report_success(exchange.backend, now_);
  }
  if (!socket.watched) {
    const std::uint32_t write = socket.watches_write ? EPOLLOUT : 0U;
    if (!loop_.add(socket.fd.get(), EPOLLIN | EPOLLRDHUP | EPOLLET | write, token)) {
      errno = ENOMEM;
      return false;
    }
    socket.watched = true;
  }
  request_progress(exchange);
  return true;
}

/// Some of the request has left, or waits to: sets what is waited for next.
void Worker::request_progress(Exchange& exchange) {
  const UpstreamConnection& upstream = *exchange.upstream;
  const TimeoutsConfig& timeouts = config_.timeouts;
  if (upstream.connecting) {
    wheel_.set(exchange.timer, now_ + timeouts.connect);
  } else if (upstream.socket.outbox.empty() && exchange.request_body.complete()) {
    exchange.request_sent = true;
    wheel_.set(exchange.timer, now_ + (exchange.response_head_sent ? timeouts.body : timeouts.response));
  } else {
    wheel_.set(exchange.timer, now_ + timeouts.body);
    if (upstream.socket.outbox.empty() &&
        (exchange.client->socket.readable || !exchange.client->inbox.empty())) {
      resume_later(*exchange.client);
    }
  }
}

/// Moves the request's body along while both sides go.
void Worker::pump_request(Exchange& exchange) {
  ClientConnection& client = *exchange.client;
  if (exchange.request_body.complete() || exchange.upstream == nullptr) return;
  const UpstreamConnection& upstream = *exchange.upstream;
  const auto blocked = [&] { return upstream.connecting || !upstream.socket.outbox.empty(); };
  if (blocked()) return;
  if (!client.inbox.empty()) {
    const std::size_t have = client.inbox.size();
    LB_ASSERT(have <= kReadBytes);
    std::memcpy(scratch_.get(), client.inbox.view().data(), have);
    client.inbox.clear();
    if (!feed_request(exchange, {scratch_.get(), have})) return;
  }
  for (std::size_t moved = 0; client.socket.readable && !blocked() && !exchange.request_body.complete();) {
    if (moved >= kTurnBytesMax) return resume_later(client);
    if (exchange.request_body.raw_bytes_left() >= kSpliceBytesMin) {
      const BodyStep step = splice_request(exchange, moved);
      if (step == BodyStep::stop) return;
      if (step == BodyStep::go_on) continue;
    }
    const Received received = receive(client.socket, 0, kBodyReadBytes);
    if (received.kind == Received::Kind::blocked) return;
    if (received.kind != Received::Kind::bytes) {
      bump(counters_.bad_requests);
      return abort_exchange(exchange, "client_closed");  // the body is cut short
    }
    bump(counters_.bytes_from_clients, received.size);
    moved += received.size;
    if (!feed_request(exchange, {scratch_.get(), received.size})) return;
  }
}

/// Frames body bytes anew and sends them; what follows the body is kept for the next request. False: the
/// exchange is over, or its backend broke.
bool Worker::feed_request(Exchange& exchange, std::string_view bytes) {
  UpstreamConnection& upstream = *exchange.upstream;
  exchange.request_bytes_whole = false;  // from here on it cannot be sent again
  exchange.request_bytes.clear();
  do {
    gather_.clear();
    const BodyFlow::Fed fed = exchange.request_body.feed(bytes, gather_);
    bytes.remove_prefix(fed.consumed);
    if (too_large(exchange.request_body.payload_bytes())) {  // before any of what is too much has left
      refuse_body(exchange);
      return false;
    }
    if (fed.failed) {
      bump(counters_.bad_requests);
      fail(exchange, 400, "malformed chunked coding (RFC 9112 7.1)");
      return false;
    }
    if (!send_gather(upstream.socket, token_of(upstream), gather_)) {
      upstream_write_failed(exchange, errno);
      return false;
    }
  } while (!bytes.empty() && !exchange.request_body.complete());
  exchange.client->inbox.append(bytes);
  request_progress(exchange);
  return true;
}

/// A chunked body that grew past the limit. Complete or not, the connection ends.
void Worker::refuse_body(Exchange& exchange) {
  exchange.client_keep_alive = false;
  fail(exchange, 413, kBodyTooLarge);
}

/// Answers in the backend's place, or cuts the connection where the answer has begun already.
void Worker::fail(Exchange& exchange, std::uint16_t status, std::string_view detail,
                  std::uint32_t retry_after_s) {
  if (exchange.response_head_sent) return abort_exchange(exchange, "upstream_closed");
  if (exchange.raw) return abort_exchange(exchange, "rejected");
  ClientConnection& client = *exchange.client;
  const bool in_step = exchange.request_body.complete();
  const bool keep =
      in_step && exchange.client_keep_alive && exchange.client_minor_version >= 1 && may_live_on(client);
  const http::Method method = exchange.method;
  exchange.status = status;
  end_exchange(exchange, "rejected");
  client.linger = !in_step || !keep;
  respond_locally(client, status, detail, keep, method, retry_after_s);
}

/// Ends both sides of a running exchange: there is no clean way to tell the client. One that takes the close
/// for the end of the response must see a reset, or half a response would pass for a whole one. Either end of
/// a tunnel is such a one.
void Worker::abort_exchange(Exchange& exchange, std::string_view outcome) {
  ClientConnection& client = *exchange.client;
  const bool tunnel = exchange.tunnel || exchange.raw;
  if (exchange.response_until_close || tunnel) reset_on_close(client.socket);
  if (tunnel && exchange.upstream != nullptr) reset_on_close(exchange.upstream->socket);
  end_exchange(exchange, outcome);
  close_client(client);
}

/// The one place where an exchange ends. Its upstream connection, if still attached, is closed.
void Worker::end_exchange(Exchange& exchange, std::string_view outcome) {
  leave_line(exchange);
  log_exchange(exchange, outcome);
  if (draining_ && outcome == "ok") {
    completed_in_drain_.store(completed_in_drain_.load(std::memory_order_relaxed) + 1,
                              std::memory_order_relaxed);
  }
  forget_exchange(exchange);
}

/// Gives back what it holds of others; nothing is told or logged.
void Worker::forget_exchange(Exchange& exchange) {
  if (exchange.upstream != nullptr) close_upstream(*exchange.upstream);
  release_backend(exchange);
  wheel_.cancel(exchange.timer);
  lb::drop(counters_.requests_in_flight);
  if (exchange.tunnel) lb::drop(counters_.tunnels_open);
  if (exchange.origin) shared_.foreign.remove(exchange.origin->backend);
  exchange.client->exchange = nullptr;
  exchanges_.retire(exchange.handle);
}

void Worker::release_backend(Exchange& exchange) {
  if (exchange.backend == kNoBackend) return;
  exchange.upstreams->balancer().release(exchange.backend);
  exchange.backend = kNoBackend;
  place_freed(*exchange.upstreams);
}

void Worker::close_upstream(UpstreamConnection& upstream) {
  if (upstream.exchange != nullptr) {
    upstream.exchange->upstream = nullptr;
    upstream.exchange = nullptr;
  } else {
    say_goodbye(upstream.socket);
    upstream.upstreams->remove(upstream);
  }
  upstream_connections_.retire(upstream.handle);
}

void Worker::log_exchange(const Exchange& exchange, std::string_view outcome) {
  if (!shared_.access_log) return;
  AccessRecord record;
  record.method = exchange.log_method;
  record.target = exchange.log_target;
  record.status = exchange.status;
  record.response_body_bytes = exchange.response_body.payload_bytes() + exchange.tunnel_bytes_out;
  record.request_body_bytes = exchange.request_body.payload_bytes() + exchange.tunnel_bytes_in;
  record.tunnel = exchange.tunnel || exchange.raw;
  record.duration_us = std::chrono::duration_cast<std::chrono::microseconds>(now_ - exchange.started).count();
  record.backend = exchange.logged_backend;
  record.retries = exchange.retries;
  record.outcome = outcome;
  append_record(*exchange.client, record);
}

/// A request that never became an exchange: malformed, over a limit, or answered by ourselves.
void Worker::log_local(const ClientConnection& client, std::uint16_t status, std::string_view method,
                       std::string_view target, std::string_view outcome) {
  if (!shared_.access_log) return;
  AccessRecord record;
  record.method = method;
  record.target = target;
  record.status = status;
  record.backend = "-";
  record.outcome = outcome;
  append_record(client, record);
}

void Worker::append_record(const ClientConnection& client, AccessRecord& record) {
  const auto wall = std::chrono::system_clock::now().time_since_epoch();
  record.unix_time_us = std::chrono::duration_cast<std::chrono::microseconds>(wall).count();
  std::array<char, IpAddress::kTextMax> ip;
  record.client_ip = {ip.data(), client.peer.write_text(ip.data())};
  record.client_port = client.peer.port;
  record.generation = shared_.generation;
  append_access_line(access_lines_, shared_.access_log_format, record);
}

}  // namespace lb
