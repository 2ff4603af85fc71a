// Listeners in TCP mode: each connection accepted is a tunnel to a backend, from before its first byte, so
// that protocols in which the server speaks first work. A connection counts as one request: for the rate
// limit, for the balancer, for max_connections of its backend and for what a new configuration is judged by.
//
//   accept --begin_raw--> connecting --raw_connected--> tunnel --> both ends closed, or a reset
//                           |    ^
//                           +----+ the next backend, at most kAttemptsMax; then, or when none
//                                  came below its limit in time, the client's connection is reset
#include <sys/socket.h>

#include <cerrno>

#include "lb/proxy/worker.hpp"

namespace lb {

void Worker::begin_raw(ClientConnection& client) {
  ++client.requests;
  if (shared_.limiter && !shared_.limiter->take(client.peer.site_hash(), now_).allowed) {
    bump(counters_.rate_limited);
    return refuse_raw(client);
  }
  Exchange* const exchange = attach_exchange(client);
  if (exchange == nullptr) return refuse_raw(client);
  exchange->raw = true;
  if (shared_.access_log) {
    exchange->log_method = "TCP";
    exchange->log_target = client.listener->text();
  }
  dispatch(*exchange);
}

/// Its end will be announced as an event: established, or refused. False, with errno: neither will.
bool Worker::await_connected(Exchange& exchange) {
  UpstreamConnection& upstream = *exchange.upstream;
  Socket& socket = upstream.socket;
  if (!loop_.add(socket.fd.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, token_of(upstream))) {
    errno = ENOMEM;
    return false;
  }
  socket.watched = true;
  socket.watches_write = true;
  wheel_.set(exchange.timer, now_ + config_.timeouts.connect);
  return true;
}

void Worker::raw_connected(Exchange& exchange) {
  UpstreamConnection& upstream = *exchange.upstream;
  upstream.connecting = false;
  bump(counters_.upstream_connects);
  exchange.upstreams->balancer().report_success(exchange.backend, now_);
  count_answer(exchange, Answer::good);
  count_answer_time(exchange);
  exchange.logged_backend = exchange.upstreams->set().backend(exchange.backend).name;
  if (upstream.prefaced && !send_preface(exchange)) return abort_exchange(exchange, "reset");
  exchange.tunnel = true;
  gather_.clear();
  begin_tunnel(exchange, {});
}

/// Without a backend, and without words: a TCP client would take them for the backend's.
void Worker::refuse_raw(ClientConnection& client) {
  if (client.listener != nullptr) log_refused(client, 0, "TCP", client.listener->text());
  reset_on_close(client.socket);
  close_client(client);
}

}  // namespace lb
