// Live connections that came from another generation, or our own that came back: they go on exactly where
// they were. Added to the epoll set they announce what waits in the socket already: bytes, an end, a reset.
#include <sys/socket.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "lb/proxy/worker.hpp"

namespace lb {

using Kind = HandedConnection::Kind;

void Worker::adopt(std::vector<HandedConnection> handed) {
  for (HandedConnection& one : handed) {
    bool taken = false;
    switch (one.kind) {
      case Kind::client:
        taken = adopt_client(one);
        break;
      case Kind::tunnel:
        taken = adopt_tunnel(one);
        break;
      case Kind::upstream:
        adopt_upstream(one);  // one that is of no use any more is closed: nobody misses it
        taken = true;
        break;
    }
    if (!taken) bump(counters_.accept_errors);
  }
  if (!draining_) return;
  if (drain_deadline_ == kNever)
    drain_deadline_ = now_ + config_.timeouts.quiet;    // it has passed: not for ever
  if (std::exchange(drained_reported_, false)) return;  // the hold is ours from here on: see check_drained
  shared_.ledger.release(1);
}

ClientConnection* Worker::adopt_socket(HandedConnection& one) {
  IpAddress peer = one.peer;
  if (peer.family == AF_UNSPEC) {
    sockaddr_storage storage{};  // stays unknown for a client that has reset the connection meanwhile
    socklen_t size = sizeof storage;
    ::getpeername(one.fd.get(), reinterpret_cast<sockaddr*>(&storage), &size);
    peer = IpAddress::from(storage);
  }
  ClientConnection* const client = add_client(std::move(one.fd), peer, nullptr);
  if (client == nullptr) return nullptr;
  if (one.told_destination) client->told_destination = std::make_unique<IpAddress>(*one.told_destination);
  if (shared_.connection_counter && client->peer.family != AF_UNIX) {
    shared_.connection_counter->add(client->peer.site_hash());
    client->counted = true;
  }
  constexpr std::uint64_t kRequestsMax = std::numeric_limits<decltype(client->requests)>::max();
  client->requests = static_cast<std::uint32_t>(std::min(one.requests, kRequestsMax));
  client->was_busy = one.after_exchange;
  client->stays = one.stays;
  return client;
}

bool Worker::adopt_client(HandedConnection& one) {
  bump(counters_.adopted);
  const Instant deadline = one.deadline;
  ClientConnection* const client = adopt_socket(one);
  if (client == nullptr) return false;
  const TimeoutsConfig& timeouts = config_.timeouts;
  const bool told_to_go = draining_ && !leaves(*client);
  const auto waits = told_to_go ? timeouts.quiet : timeouts.idle;
  wheel_.set(client->timer,
             std::min(deadline, now_ + Duration{client->requests == 0 ? timeouts.header : waits}));
  if (!one.unparsed.empty()) {
    client->inbox.append(one.unparsed);
    resume_later(*client);
  }
  if (leaves(*client)) leave(*client);
  return true;
}

bool Worker::adopt_tunnel(HandedConnection& one) {
  bump(counters_.tunnels_adopted);
  HandedTunnel& tunnel = *one.tunnel;
  const Instant deadline = one.deadline;
  ClientConnection* const client = adopt_socket(one);
  if (client == nullptr) return false;
  Exchange* const exchange = attach_exchange(*client);
  auto [upstream, handle] = upstream_connections_.emplace();
  if (exchange != nullptr && upstream != nullptr) {
    upstream->handle = handle;
    upstream->socket.fd = std::move(tunnel.upstream);
    upstream->upstreams = upstreams_;
    upstream->exchange = exchange;
    exchange->upstream = upstream;
    exchange->tunnel = true;
    bump(counters_.tunnels_open);
    describe_tunnel(*exchange, one);
    upstream->backend = exchange->backend;
    constexpr std::uint32_t kEvents = EPOLLIN | EPOLLRDHUP | EPOLLET;
    upstream->socket.watched =
        static_cast<bool>(loop_.add(upstream->socket.fd.get(), kEvents, token_of(*upstream)));
  }
  if (exchange == nullptr || upstream == nullptr || !upstream->socket.watched) {
    if (upstream != nullptr && exchange == nullptr) upstream_connections_.retire(handle);
    reset_on_close(client->socket);
    if (exchange != nullptr) {
      abort_exchange(*exchange, "no_memory");
    } else {
      close_client(*client);
    }
    return false;
  }
  wheel_.set(exchange->timer, std::min(deadline, tunnel_deadline(*exchange)));
  adopt_side(client->socket, token_of(*client), tunnel.client_side);
  adopt_side(upstream->socket, token_of(*upstream), tunnel.upstream_side);
  if (leaves(*client)) leave(*client);
  return true;
}

/// Whose it is, and what has been counted so far.
void Worker::describe_tunnel(Exchange& exchange, HandedConnection& one) {
  HandedTunnel& tunnel = *one.tunnel;
  exchange.raw = tunnel.raw;
  exchange.response_head_sent = !tunnel.raw;
  exchange.response_started = true;
  exchange.request_sent = true;
  exchange.response_keep_alive = false;
  exchange.started = tunnel.started;
  exchange.tunnel_bytes_in = tunnel.bytes_in;
  exchange.tunnel_bytes_out = tunnel.bytes_out;
  exchange.status = tunnel.status;
  exchange.retries = tunnel.retries;
  exchange.log_method = std::move(tunnel.method);
  exchange.log_target = std::move(tunnel.target);
  exchange.backend = upstreams_->set().find(one.backend);
  if (exchange.backend != kNoBackend) {
    exchange.upstreams->balancer().occupy(exchange.backend);
    exchange.logged_backend = upstreams_->set().backend(exchange.backend).name;
    return;  // one that was removed and is there again is like any other
  }
  exchange.tunnel_ends_at = tunnel.ends_at;
  shared_.foreign.add(one.backend);
  exchange.origin = std::make_unique<TunnelOrigin>(std::move(one.backend));
  exchange.logged_backend = exchange.origin->backend.name;
}

void Worker::adopt_side(Socket& socket, Token token, const HandedSide& side) {
  socket.read_eof = side.read_eof;
  socket.write_shut = side.write_shut;
  socket.bulk = side.bulk;
  if (side.outbox.empty()) return;
  socket.outbox.append(side.outbox);
  watch_for_write(socket, token);  // announced at once if it takes some
}

/// It goes to the pool, if the backend that it leads to is one of ours and has sent nothing meanwhile.
void Worker::adopt_upstream(HandedConnection& one) {
  if (one.stays || (draining_ && !handing_)) return;
  UpstreamSet& set = upstreams_->set();
  const std::uint32_t backend = set.find(one.backend);
  if (backend == kNoBackend || !set.poolable(backend)) return;
  std::uint64_t key = 0;
  if (set.addresses().is_name(backend)) {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    if (::getpeername(one.fd.get(), reinterpret_cast<sockaddr*>(&storage), &size) != 0) return;
    key = AddressBook::key_of(SocketAddress{reinterpret_cast<const sockaddr*>(&storage), size});
    if (!set.addresses().is_current(backend, key)) return;
  }
  auto [upstream, handle] = upstream_connections_.emplace();
  if (upstream == nullptr) return;
  upstream->handle = handle;
  upstream->socket.fd = std::move(one.fd);
  upstream->upstreams = upstreams_;
  upstream->backend = backend;
  upstream->address_key = key;
  // Being added announces what came meanwhile: close_spoiled_idle() sees to it. But it may be wanted before
  // that is told.
  char byte = 0;
  const bool quiet =
      ::recv(upstream->socket.fd.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
  const auto token = token_of(*upstream);
  if (!quiet || !loop_.add(upstream->socket.fd.get(), EPOLLIN | EPOLLRDHUP | EPOLLET, token) ||
      !upstreams_->put(*upstream, std::min(one.idle_since, now_))) {
    upstream_connections_.retire(handle);
    return;
  }
  upstream->socket.watched = true;
  bump(counters_.upstreams_adopted);
}

}  // namespace lb
