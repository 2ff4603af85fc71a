// Live connections that go to the next generation. Nothing is sent, shut down or closed, so neither end can
// notice. Bytes in the kernel's buffers belong to whoever holds the socket next; those that we have read, or
// not sent yet, go along.
//
//   idle, half a head, tunnel --start_handoff--> leaving_ --end of a turn, if the ledger has room-->
//   hand_over
//     ^                          (still served)                                                        |
//   end of an exchange,                                     (the successor) <-- take_handed <-- the ledger's
//   a tunnel that begins                                                                             queue
//
// Whoever finds no room is served as if it stayed: so a connection is in nobody's hands for a moment only.
// What comes back (worker_adopt.cpp) is as before. What cannot move: TLS on either side, an exchange, a PROXY
// header that is awaited.
#include <algorithm>
#include <utility>

#include "lb/proxy/worker.hpp"

namespace lb {

using State = ClientConnection::State;

/// The idle ones first: nobody waits for them.
void Worker::start_handoff() {
  handing_ = true;
  const bool hushed = std::exchange(hushed_, false);
  std::vector<ClientConnection*> others;
  clients_.for_each([&](ClientConnection& client, Handle) {
    if (hushed && client.state == State::idle && client.requests > 0 && !client.socket.tls) {
      wheel_.set(client.timer, now_ + config_.timeouts.idle);  // it was about to be closed for being quiet
    }
    client.was_busy = client.state != State::idle;
    client.stays = false;  // this successor may take it
    if (!movable(client)) return;
    if (client.state == State::idle) return leave(client);
    others.push_back(&client);
  });
  for (ClientConnection* const client : others) leave(*client);
  hand_over_leaving();
}

bool Worker::movable(const ClientConnection& client) const noexcept {
  if (!leaves(client)) return false;
  if (client.state == State::idle || client.state == State::head) return true;
  if (client.state != State::exchange || !client.exchange->tunnel) return false;
  const UpstreamConnection* const upstream = client.exchange->upstream;
  return upstream != nullptr && !upstream->connecting && !upstream->socket.tls && upstream->socket.watched;
}

void Worker::leave(ClientConnection& client) {
  if (std::exchange(client.leaving, true)) return;
  leaving_.push_back(client.handle);
}

/// At the end of a turn, so that nobody up the stack holds bytes of one that goes.
void Worker::hand_over_leaving() {
  wants_room_.store(true, std::memory_order_relaxed);  // before looking, or room made just now goes unnoticed
  const std::size_t room = shared_.ledger.room();
  // Some of the pool goes along with the clients, and the rest behind them: both generations need it
  // meanwhile.
  hand_over_upstreams(room / 4);
  while (handed_.size() < room && !leaving_.empty()) {
    ClientConnection* const client = clients_.get(leaving_.front());
    leaving_.pop_front();
    if (client == nullptr) continue;
    client->leaving = false;
    if (movable(*client)) hand_over(*client);
  }
  if (leaving_.empty()) hand_over_upstreams(room - std::min(room, handed_.size()));
  shared_.ledger.queue(std::exchange(handed_, {}));
  wants_room_.store(!leaving_.empty() || upstreams_leave(), std::memory_order_relaxed);
  // Those that were not read because they were to go, and could not.
  for (const Handle handle : unread_) {
    ClientConnection* const client = clients_.get(handle);
    if (client != nullptr && client->state == State::idle) resume_later(*client);
  }
  unread_.clear();
}

HandedConnection Worker::handed(ClientConnection& client) {
  HandedConnection one{.fd = std::move(client.socket.fd),
                       .requests = client.requests,
                       .peer = client.peer,
                       .deadline = client.timer.deadline(),
                       .after_exchange = client.was_busy};
  if (client.told_destination) one.told_destination = *client.told_destination;
  return one;
}

void Worker::hand_over(ClientConnection& client) {
  if (client.exchange != nullptr) return hand_over_tunnel(client);
  LB_ASSERT(client.socket.outbox.empty());
  loop_.remove(client.socket.fd.get());  // before anybody closes it: the description will be shared
  handed_.push_back(handed(client));
  handed_.back().unparsed = client.inbox.view();
  bump(counters_.handed_over);
  close_client(client);  // forgets it; there is no descriptor left to close
}

HandedSide Worker::handed_side(Socket& socket) {
  HandedSide side{
      .outbox = {}, .read_eof = socket.read_eof, .write_shut = socket.write_shut, .bulk = socket.bulk};
  if (std::unique_ptr<SplicePipe> pipe = socket.outbox.take_pipe()) {
    while (pipe->bytes() > 0) {
      const std::ptrdiff_t n = pipe->read_into(scratch_.get(), kReadBytes);
      LB_ASSERT(n > 0);  // a pipe gives what is in it
      side.outbox.append(scratch_.get(), static_cast<std::size_t>(n));
    }
    pipes_.release(std::move(pipe));
  }
  side.outbox.append(socket.outbox.view());
  socket.outbox.clear();
  return side;
}

void Worker::hand_over_tunnel(ClientConnection& client) {
  Exchange& exchange = *client.exchange;
  UpstreamConnection& upstream = *exchange.upstream;
  loop_.remove(client.socket.fd.get());
  loop_.remove(upstream.socket.fd.get());
  auto tunnel = std::make_unique<HandedTunnel>();
  tunnel->client_side = handed_side(client.socket);
  tunnel->upstream_side = handed_side(upstream.socket);
  tunnel->raw = exchange.raw;
  tunnel->ends_at = exchange.tunnel_ends_at;
  tunnel->started = exchange.started;
  tunnel->bytes_in = exchange.request_body.payload_bytes() + exchange.tunnel_bytes_in;
  tunnel->bytes_out = exchange.response_body.payload_bytes() + exchange.tunnel_bytes_out;
  tunnel->status = exchange.status;
  tunnel->retries = exchange.retries;
  tunnel->method = exchange.log_method;
  tunnel->target = exchange.log_target;
  tunnel->upstream = std::move(upstream.socket.fd);
  HandedConnection one = handed(client);
  one.kind = HandedConnection::Kind::tunnel;
  one.deadline = exchange.timer.deadline();
  if (exchange.origin) {
    one.backend = exchange.origin->backend;
  } else {
    one.backend = exchange.upstreams->set().identity(exchange.backend);
    if (was_removed(exchange) && on_removal(exchange) == OnRemoval::drain) {
      tunnel->ends_at = drain_deadline_ == kNever ? now_ : drain_deadline_;
    }
  }
  one.tunnel = std::move(tunnel);
  handed_.push_back(std::move(one));
  bump(counters_.tunnels_handed_over);
  forget_exchange(exchange);
  close_client(client);
}

/// The successor is known, and has no backend of that name at that address.
bool Worker::was_removed(const Exchange& exchange) const {
  if (!has_successor_ || exchange.backend == kNoBackend || exchange.upstreams == upstreams_) return false;
  return upstreams_->set().find(exchange.upstreams->set().identity(exchange.backend)) == kNoBackend;
}

OnRemoval Worker::on_removal(const Exchange& exchange) {
  return exchange.upstreams->set().backend(exchange.backend).on_removal;
}

void Worker::close_removed_tunnels() {
  clients_.for_each([this](ClientConnection& client, Handle) {
    Exchange* const exchange = client.exchange;
    if (exchange == nullptr || !exchange->tunnel || !was_removed(*exchange)) return;
    if (on_removal(*exchange) != OnRemoval::close) return;
    bump(counters_.tunnels_removed);
    abort_exchange(*exchange, "removed");
  });
}

// -------------------------------------------------------------------------- idle connections to backends

/// Whether there are some that may go: the successor has their backend as it is here.
bool Worker::upstreams_leave() const noexcept {
  return handing_ && has_successor_ && upstreams_->oldest() != nullptr;
}

void Worker::hand_over_upstreams(std::size_t count_max) {
  for (; count_max > 0 && upstreams_leave(); --count_max) {
    UpstreamConnection& upstream = *upstreams_->oldest();
    if (!upstreams_->set().poolable(upstream.backend) || upstream.stale) {
      close_upstream(upstream);
      continue;
    }
    loop_.remove(upstream.socket.fd.get());
    handed_.push_back(HandedConnection{.kind = HandedConnection::Kind::upstream,
                                       .fd = std::move(upstream.socket.fd),
                                       .backend = upstreams_->set().identity(upstream.backend),
                                       .idle_since = upstream.idle_since});
    bump(counters_.upstreams_handed_over);
    close_upstream(upstream);
  }
}

/// From the pool of a former set into that of the current one, which has the same backend. False: it has not,
/// or no room for it; then it is linked nowhere.
bool Worker::rehome(UpstreamConnection& upstream) {
  const std::uint32_t same = upstreams_->set().find_same(upstream.upstreams->set(), upstream.backend);
  if (same == kNoBackend) return false;
  upstream.upstreams = upstreams_;
  upstream.backend = same;
  if (!upstreams_->set().addresses().is_current(same, upstream.address_key)) return false;
  return upstreams_->put(upstream, upstream.idle_since);
}

void Worker::stop_handoff() {
  if (!handing_) return;
  handing_ = false;
  hushed_ = true;
  wants_room_.store(false, std::memory_order_relaxed);
  for (const Handle handle : leaving_) {
    if (ClientConnection* const client = clients_.get(handle)) client->leaving = false;
  }
  leaving_.clear();
  unread_.clear();
  clients_.for_each([this](ClientConnection& client, Handle) {
    if (client.state != State::idle || client.socket.tls) return;
    wheel_.set(client.timer, std::min(client.timer.deadline(), now_ + Duration{config_.timeouts.quiet}));
    if (client.socket.readable) resume_later(client);  // not read while it was to go
  });
}

}  // namespace lb
