// The upstream side of an exchange: reading the response and passing it on.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "lb/http/framing.hpp"
#include "lb/http/parser.hpp"
#include "lb/proxy/worker.hpp"

namespace lb {

using FramingKind = http::BodyFraming::Kind;

void Worker::on_upstream_event(UpstreamConnection& upstream, std::uint32_t events) {
  Exchange& exchange = *upstream.exchange;
  Socket& socket = upstream.socket;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) socket.readable = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) socket.peer_closed = true;
  if (exchange.tunnel && (events & EPOLLERR) != 0) return tunnel_broken(exchange);
  if (upstream.connecting && (events & (EPOLLERR | EPOLLHUP)) != 0) {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(socket.fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (recover(exchange, error, "connect")) dispatch(exchange);
    return;
  }
  if (upstream.connecting && exchange.raw) {
    // With TLS any event carries the handshake on.
    if (((events & EPOLLOUT) != 0 || socket.tls) && shake_raw_upstream(exchange)) raw_connected(exchange);
    return;
  }
  if ((events & EPOLLOUT) != 0 && socket.tls && socket.tls->read_wants_write()) socket.readable = true;
  if (may_flush(socket, events)) {
    const bool was_connecting = upstream.connecting;
    const std::size_t waiting = socket.outbox.size();
    if (!flush(socket)) return upstream_write_failed(exchange, errno);
    if (was_connecting && socket.outbox.size() < exchange.request_bytes.size()) {
      upstream.connecting = false;
      bump(counters_.upstream_connects);
      upstream.upstreams->balancer().report_success(upstream.backend, now_);
    }
    if (exchange.tunnel) return pump_tunnel(exchange);
    if (moved_bytes(socket, waiting)) request_progress(exchange);
  }
  if (!socket.readable) return;
  if (exchange.tunnel) return pump_tunnel(exchange);
  read_response(exchange);
}

/// The backend stopped reading. It may have answered before it did (RFC 9112 9.5): what it sent is read
/// first.
void Worker::upstream_write_failed(Exchange& exchange, int os_error) {
  UpstreamConnection& upstream = *exchange.upstream;
  if (exchange.tunnel) return tunnel_broken(exchange);
  if (upstream.connecting) return upstream_broken(exchange, os_error);
  upstream.socket.outbox.clear();
  upstream.socket.readable = true;
  upstream.socket.peer_closed = true;
  read_response(exchange);
}

void Worker::read_response(Exchange& exchange) {
  UpstreamConnection& upstream = *exchange.upstream;
  ClientConnection& client = *exchange.client;
  for (std::size_t moved = 0; upstream.socket.readable && client.socket.outbox.empty();) {
    if (moved >= kTurnBytesMax) {
      if (!exchange.resume_queued) response_resume_.push_back(exchange.handle);
      exchange.resume_queued = true;
      return;
    }
    if (exchange.response_head_sent && exchange.response_body.raw_bytes_left() >= kSpliceBytesMin) {
      const BodyStep step = splice_response(exchange, moved);
      if (step == BodyStep::stop) return;
      if (step == BodyStep::go_on) continue;
    }
    const std::size_t have = upstream.inbox.size();
    const std::size_t room = exchange.response_head_sent ? kBodyReadBytes : kHeadReadBytes;
    const Received received = receive(upstream.socket, have, room);
    switch (received.kind) {
      case Received::Kind::blocked:
        return;
      case Received::Kind::broken:
        return upstream_broken(exchange, errno);
      case Received::Kind::eof:
        return upstream_eof(exchange);
      case Received::Kind::bytes:
        break;
    }
    moved += received.size;
    if (have > 0) {
      std::memcpy(scratch_.get(), upstream.inbox.view().data(), have);
      upstream.inbox.clear();
    }
    if (!response_bytes(exchange, {scratch_.get(), have + received.size})) return;
  }
}

/// Passes on what came from the backend. False: nothing more is to be read for this exchange now.
bool Worker::response_bytes(Exchange& exchange, std::string_view bytes) {
  ClientConnection& client = *exchange.client;
  exchange.response_started = true;
  gather_.clear();
  if (!exchange.response_head_sent) {
    switch (response_head(exchange, bytes)) {
      case HeadProgress::ended:
        return false;
      case HeadProgress::incomplete:
        exchange.upstream->inbox.append(bytes);
        bump(counters_.bytes_to_clients, gather_.total());
        if (send_gather(client.socket, token_of(client), gather_)) return true;
        client_gone(client);
        return false;
      case HeadProgress::ready:
        break;
    }
    if (exchange.tunnel) {
      begin_tunnel(exchange, bytes);
      return false;
    }
  }
  for (;;) {
    const BodyFlow::Fed fed = exchange.response_body.feed(bytes, gather_);
    bytes.remove_prefix(fed.consumed);
    bump(counters_.bytes_to_clients, gather_.total());
    const bool last = exchange.response_body.complete() && !exchange.response_keep_alive;
    if (!send_gather(client.socket, token_of(client), gather_, last)) {
      client_gone(client);
      return false;
    }
    if (fed.failed) {
      count_upstream_error(exchange);
      abort_exchange(exchange, "upstream_closed");
      return false;
    }
    if (bytes.empty() || exchange.response_body.complete()) break;
    gather_.clear();
  }
  if (exchange.response_body.complete()) {
    response_done(exchange, !bytes.empty());
    return false;
  }
  wheel_.set(exchange.timer, now_ + config_.timeouts.body);
  return true;
}

/// Parses the head, passing interim responses on. `bytes` is left at what follows.
Worker::HeadProgress Worker::response_head(Exchange& exchange, std::string_view& bytes) {
  UpstreamConnection& upstream = *exchange.upstream;
  for (;;) {
    const http::ParseOutcome outcome =
        http::parse_response_head(bytes, response_limits_, upstream.scanner, response_head_);
    if (outcome.status == http::ParseStatus::need_more) return HeadProgress::incomplete;
    if (outcome.status == http::ParseStatus::error) {
      count_upstream_error(exchange);
      fail(exchange, 502, "the backend sent a malformed response");
      return HeadProgress::ended;
    }
    upstream.scanner.reset();
    bytes.remove_prefix(response_head_.head_bytes);
    const bool interim = response_head_.status < 200 && response_head_.status != 101;
    if (!interim) return begin_response(exchange, response_head_) ? HeadProgress::ready : HeadProgress::ended;
    // A 1.0 client knows no interim responses (RFC 9110 15.2).
    if (exchange.client_minor_version >= 1 && gather_.has_room()) {
      const http::ResponseContext context{.via_name = "lb", .request_method = exchange.method};
      gather_.commit(http::write_client_head(response_head_, {}, context, gather_.room()));
    }
  }
}

/// Decides the framing both ways and whether the connections live on; writes the head for the client. False:
/// answered with an error.
bool Worker::begin_response(Exchange& exchange, const http::ResponseHead& head) {
  if (head.status >= 500 && try_another(exchange, head.status)) return false;
  const http::FramingOutcome framing =
      http::response_framing(head, exchange.method, exchange.upgrade_requested);
  if (framing.error) {
    count_upstream_error(exchange);
    fail(exchange, 502, "the backend sent an ambiguous or forbidden response");
    return false;
  }
  const http::BodyFraming out = http::client_framing(framing.framing, exchange.client_minor_version);
  const ClientConnection& client = *exchange.client;
  const bool tunnel = framing.framing.kind == FramingKind::tunnel;
  exchange.response_keep_alive = exchange.client_keep_alive && out.kind != FramingKind::until_close &&
                                 exchange.request_body.complete() && may_live_on(client) && !tunnel;
  exchange.upstream_keep_alive = framing.framing.kind != FramingKind::until_close && !tunnel &&
                                 http::wants_keep_alive(head.facts, head.minor_version);
  const http::ResponseContext context{
      .via_name = "lb",
      .extra_block = shared_.response_block,
      .extra_names = shared_.response_names,
      .request_method = exchange.method,
      .client_minor_version = exchange.client_minor_version,
      .keep_alive = exchange.response_keep_alive,
      .trailers = exchange.client_takes_trailers,
      .date = head.facts.has_date ? std::string_view{} : date_text(),
  };
  const std::size_t size = http::write_client_head(head, out, context, gather_.room());
  if (size == 0) {
    count_upstream_error(exchange);
    fail(exchange, 502, "the backend's response head is too large");
    return false;
  }
  gather_.commit(size);
  exchange.response_head_sent = true;
  exchange.status = head.status;
  exchange.logged_backend = exchange.upstreams->set().backend(exchange.backend).name;
  exchange.response_body = BodyFlow{framing.framing, out, exchange.client_takes_trailers};
  exchange.response_until_close = out.kind == FramingKind::until_close;
  exchange.tunnel = tunnel;
  exchange.request_bytes.clear();  // it will not be sent again
  count_status(head.status);
  count_answer(exchange, answer_of(head.status));
  count_answer_time(exchange);
  return true;
}

void Worker::upstream_eof(Exchange& exchange) {
  ClientConnection& client = *exchange.client;
  if (!exchange.response_head_sent) {
    if (recover(exchange, ECONNRESET, "the backend closed the connection without an answer"))
      dispatch(exchange);
    return;
  }
  gather_.clear();
  if (!exchange.response_body.feed_eof(gather_)) {
    count_upstream_error(exchange);
    return abort_exchange(exchange, "upstream_closed");  // cut short: the client must see that
  }
  if (!send_gather(client.socket, token_of(client), gather_)) return client_gone(client);
  response_done(exchange, false);
}

void Worker::upstream_broken(Exchange& exchange, int os_error) {
  if (exchange.response_head_sent) {
    count_upstream_error(exchange);
    return abort_exchange(exchange, "upstream_closed");
  }
  if (recover(exchange, os_error, "the backend broke the connection")) dispatch(exchange);
}

/// The whole response has been read. Its connection is kept when both sides are certainly in step: the
/// request has left, and the kernel holds nothing behind the response.
void Worker::response_done(Exchange& exchange, bool surplus_bytes) {
  UpstreamConnection& upstream = *exchange.upstream;
  const bool reusable = exchange.upstream_keep_alive && !surplus_bytes && exchange.request_sent &&
                        upstream.socket.outbox.empty() && !upstream.socket.readable &&
                        !upstream.socket.peer_closed && !upstream.prefaced && !upstream.stale;
  if (reusable) {
    upstream.exchange = nullptr;
    exchange.upstream = nullptr;
    upstream.idle_since = now_;
    const bool current = upstream.upstreams == upstreams_;
    if (!(current ? upstreams_->put(upstream, now_) : rehome(upstream))) {
      upstream.exchange = &exchange;  // the pool is full
      close_upstream(upstream);
    }
  } else {
    say_goodbye(upstream.socket);
    close_upstream(upstream);
  }
  release_backend(exchange);
  if (exchange.client->socket.outbox.empty()) {
    finish_exchange(exchange);
  } else {
    wheel_.set(exchange.timer, now_ + config_.timeouts.body);
  }
}

/// The client has the whole response.
void Worker::finish_exchange(Exchange& exchange) {
  ClientConnection& client = *exchange.client;
  const bool keep = exchange.response_keep_alive;
  // A client that announced the close itself sends nothing that a reset could answer, as a rule.
  client.linger =
      !keep && (exchange.client_keep_alive || !exchange.request_body.complete() || client.socket.readable);
  end_exchange(exchange, "ok");
  if (keep) return become_idle(client);
  client.state = ClientConnection::State::finishing;
  shut_client(client);
}

}  // namespace lb
