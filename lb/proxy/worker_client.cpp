// The client side: reading requests, answers of our own, closing.
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "lb/proxy/worker.hpp"

namespace lb {

using State = ClientConnection::State;

void Worker::on_client_event(ClientConnection& client, std::uint32_t events) {
  Socket& socket = client.socket;
  const bool in_tunnel = client.exchange != nullptr && client.exchange->tunnel;
  if ((events & EPOLLERR) != 0 && !in_tunnel) return client_gone(client);  // reset: nobody is left to answer
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) socket.readable = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) socket.peer_closed = true;
  if ((events & EPOLLERR) != 0) return tunnel_broken(*client.exchange);
  if ((events & EPOLLOUT) != 0 && socket.tls && socket.tls->read_wants_write()) socket.readable = true;
  if (may_flush(socket, events)) {
    const std::size_t waiting = socket.outbox.size();
    if (!flush(socket)) return client_gone(client);
    if (socket.outbox.empty()) {
      on_client_writable(client);
    } else if (moved_bytes(socket, waiting) && client.exchange != nullptr &&
               client.exchange->response_head_sent) {
      Exchange& exchange = *client.exchange;
      wheel_.set(exchange.timer, exchange.tunnel ? tunnel_deadline(exchange) : now_ + config_.timeouts.body);
    }
    if (client.state == State::closed) return;
  }
  if (!socket.readable) return;
  switch (client.state) {
    case State::preface:
      return read_preface(client);
    case State::idle:
    case State::head:
      return read_client(client);
    case State::lingering:
      return drop_input(client);
    case State::exchange:
      if (client.exchange->tunnel) return pump_tunnel(*client.exchange);
      return pump_request(*client.exchange);
    case State::finishing:
    case State::closed:
      return;
  }
}

/// The outbox went empty: what waited for that goes on.
void Worker::on_client_writable(ClientConnection& client) {
  if (client.state == State::finishing) return shut_client(client);
  if (client.state != State::exchange) return;
  Exchange& exchange = *client.exchange;
  if (exchange.tunnel) return pump_tunnel(exchange);
  if (exchange.response_head_sent && exchange.response_body.complete()) return finish_exchange(exchange);
  if (exchange.response_head_sent) wheel_.set(exchange.timer, now_ + config_.timeouts.body);
  if (exchange.upstream != nullptr) read_response(exchange);
}

void Worker::read_client(ClientConnection& client) {
  if (draining_ && client.state == State::idle && leaves_now(client)) {
    // It takes its unread bytes along.
    leave(client);
    unread_.push_back(client.handle);
    return;
  }
  if (client.socket.tls && client.listener->mode == ListenMode::tcp) return shake_raw(client);
  // Bytes that no parser has seen yet come first: a pipelined request needs no recv.
  if (!client.inbox.empty() && client.scanner.scanned == 0) {
    const std::size_t have = client.inbox.size();
    std::memcpy(scratch_.get(), client.inbox.view().data(), have);
    client.inbox.clear();
    serve_bytes(client, {scratch_.get(), have});
  }
  const auto wants_more = [&] {
    return client.state == State::head || (client.state == State::idle && client.inbox.empty());
  };
  while (client.socket.readable && wants_more()) {
    const std::size_t have = client.inbox.size();
    LB_ASSERT(have < kReadBytes / 2);  // a partial head is bounded by limits_
    const Received received = receive(client.socket, have, kReadBytes / 2 - have);
    switch (received.kind) {
      case Received::Kind::blocked:
        return;
      case Received::Kind::broken:
        if (client.socket.tls && !client.socket.tls->established()) return handshake_failed(client);
        return client_gone(client);
      case Received::Kind::eof:
        say_goodbye(client.socket);
        return close_client(client);
      case Received::Kind::bytes:
        break;
    }
    bump(counters_.bytes_from_clients, received.size);
    if (have > 0) {
      std::memcpy(scratch_.get(), client.inbox.view().data(), have);
      client.inbox.clear();
    }
    serve_bytes(client, {scratch_.get(), have + received.size});
  }
}

/// Parses and serves requests from `bytes` until one is under way or the bytes end; keeps the rest.
void Worker::serve_bytes(ClientConnection& client, std::string_view bytes) {
  while (!bytes.empty() && (client.state == State::idle || client.state == State::head)) {
    const http::ParseOutcome outcome =
        http::parse_request_head(bytes, request_limits_, client.scanner, request_head_);
    if (outcome.status == http::ParseStatus::need_more) {
      if (client.state == State::idle) {
        client.state = State::head;
        wheel_.set(client.timer, now_ + config_.timeouts.header);
      }
      break;
    }
    if (outcome.status == http::ParseStatus::error) {
      bump(counters_.bad_requests);
      return reject(client, outcome.error.status, outcome.error.detail);
    }
    client.scanner.reset();
    bytes.remove_prefix(request_head_.head_bytes);
    bytes.remove_prefix(begin_exchange(client, request_head_, bytes));
  }
  if (client.state != State::closed && client.state != State::finishing && client.state != State::lingering) {
    client.inbox.append(bytes);
  }
}

/// After our FIN: reads and forgets, until the client closes or the linger time ends.
void Worker::drop_input(ClientConnection& client) {
  for (std::size_t dropped = 0; client.socket.readable && dropped < kTurnBytesMax;) {
    const Received received = receive(client.socket, 0, kReadBytes);
    if (received.kind == Received::Kind::blocked) return;
    if (received.kind != Received::Kind::bytes) return close_client(client);
    dropped += received.size;
  }
  if (client.socket.readable) resume_later(client);  // Others first; the linger time bounds it.
}

void Worker::become_idle(ClientConnection& client) {
  client.state = State::idle;
  if (draining_) return become_idle_in_drain(client);
  wheel_.set(client.timer, now_ + config_.timeouts.idle);
  if (!client.inbox.empty() || client.socket.readable) resume_later(client);
}

void Worker::become_idle_in_drain(ClientConnection& client) {
  if (leaves(client)) {
    // At the end of the turn: our callers may hold more of its bytes.
    wheel_.set(client.timer, now_ + config_.timeouts.idle);
    leave(client);
  } else {
    wheel_.set(client.timer, now_ + config_.timeouts.quiet);
  }
  if (!client.inbox.empty() || client.socket.readable) resume_later(client);
}

void Worker::resume_later(ClientConnection& client) {
  if (client.resume_queued) return;
  client.resume_queued = true;
  resume_.push_back(client.handle);
}

/// Refuses what cannot be read as a request: the connection cannot be trusted to be in step any more.
void Worker::reject(ClientConnection& client, std::uint16_t status, std::string_view detail) {
  client.linger = true;
  log_refused(client, status, "-", "-");
  respond_locally(client, status, detail, false, http::Method::get, 0);
}

void Worker::respond_locally(ClientConnection& client, std::uint16_t status, std::string_view detail,
                             bool keep_alive, http::Method method, std::uint32_t retry_after_s) {
  send_locally(client, status,
               http::make_response(status, detail, keep_alive, method, retry_after_s, shared_.response_block,
                                   date_text()),
               keep_alive);
}

/// A whole response of our own; then the connection goes on or ends.
void Worker::send_locally(ClientConnection& client, std::uint16_t status, std::string_view response,
                          bool keep_alive) {
  count_status(status);
  bump(counters_.bytes_to_clients, response.size());
  if (!send_bytes(client.socket, token_of(client), response)) return client_gone(client);
  if (keep_alive && client.socket.outbox.empty()) return become_idle(client);
  client.linger = client.linger || keep_alive;  // others may be on their way, as it was promised to live on
  client.state = State::finishing;
  wheel_.set(client.timer, now_ + config_.timeouts.body);
  if (client.socket.outbox.empty()) shut_client(client);
}

/// The last response has left. With nothing unread a close is enough; otherwise the kernel would answer what
/// still comes with a reset, which destroys a response that the client has not read yet (RFC 9112 9.6).
void Worker::shut_client(ClientConnection& client) {
  say_goodbye(client.socket);
  if (!client.linger || client.socket.read_eof) {
    // At once rather than at the end of the turn: the end of the response may wait for the FIN to go with it.
    client.socket.tls.reset();
    client.socket.fd.reset();
    return close_client(client);
  }
  ::shutdown(client.socket.fd.get(), SHUT_WR);
  client.socket.tls.reset();  // what comes now is dropped unread
  client.socket.write_shut = true;
  client.state = State::lingering;
  client.inbox.clear();
  wheel_.set(client.timer, now_ + kLinger);
  client.socket.readable = true;
  drop_input(client);
}

/// The client's connection broke: an exchange under way has nobody to answer any more.
void Worker::client_gone(ClientConnection& client) {
  if (client.exchange != nullptr) {
    abort_exchange(*client.exchange, "client_closed");
  } else {
    close_client(client);
  }
}

void Worker::close_client(ClientConnection& client) {
  if (client.state == State::closed) return;
  LB_ASSERT(client.exchange == nullptr);
  client.state = State::closed;
  wheel_.cancel(client.timer);
  forget_for_client(client);
  shared_.open_clients.fetch_sub(1, std::memory_order_relaxed);
  lb::drop(counters_.connections_open);
  clients_.retire(client.handle);
}

/// For the Date field; empty when the configuration sets one of its own. Valid until the next call.
std::string_view Worker::date_text() noexcept {
  if (shared_.sets_date) return {};
  if (const std::time_t second = std::time(nullptr); second != date_second_) {
    date_second_ = second;
    http::write_date(second, date_);
  }
  return {date_.data(), date_.size()};
}

void Worker::count_status(std::uint16_t status) noexcept {
  switch (status / 100) {
    case 2:
      return bump(counters_.responses_2xx);
    case 3:
      return bump(counters_.responses_3xx);
    case 4:
      return bump(counters_.responses_4xx);
    case 5:
      return bump(counters_.responses_5xx);
    default:
      return;
  }
}

}  // namespace lb
