// Idle client connections that go to the next generation, or came from the last one. The socket is the whole
// connection: nothing is sent, shut down or closed, so the client cannot notice. Bytes in the kernel's buffer
// belong to whoever holds the socket next; bytes that we have read are ours to serve first.
//
//   idle --start_handoff--> queued in the ledger --take_handed--> (the successor) --adopt--> idle
//     ^                          |
//     |   end of its turn        +--give_up_handoff--> adopt --> idle, with timeouts.quiet
//   exchange
#include <sys/socket.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "lb/proxy/worker.hpp"

namespace lb {

using State = ClientConnection::State;

void Worker::start_handoff() {
  handing_ = true;
  clients_.for_each([this](ClientConnection& client, Handle handle) {
    if (client.state == State::idle && leaves(client)) leaving_.push_back(handle);
  });
  hand_over_leaving();
}

/// Those that became idle and still are: with requests in the inbox a connection stays until they have been
/// served, and comes here again. One of which part of a head was read is not idle.
void Worker::hand_over_leaving() {
  for (const Handle handle : leaving_) {
    ClientConnection* const client = clients_.get(handle);
    if (client != nullptr && client->state == State::idle && client->inbox.empty()) hand_over(*client);
  }
  leaving_.clear();
  shared_.ledger.queue(std::exchange(handed_, {}));
}

void Worker::hand_over(ClientConnection& client) {
  LB_ASSERT(client.exchange == nullptr && client.socket.outbox.empty());
  loop_.remove(client.socket.fd.get());  // before anybody closes it: the description will be shared
  handed_.push_back(HandedClient{.fd = std::move(client.socket.fd), .requests = client.requests});
  if (client.told_destination) handed_.back().told = ToldAddresses{client.peer, *client.told_destination};
  bump(counters_.handed_over);
  close_client(client);  // forgets it; there is no descriptor left to close
}

void Worker::stop_handoff() {
  if (!handing_) return;
  handing_ = false;
  leaving_.clear();
  // Those that became idle in this very turn.
  clients_.for_each([this](ClientConnection& client, Handle) {
    if (client.state != State::idle || client.socket.tls) return;
    wheel_.set(client.timer, now_ + config_.timeouts.quiet);
    if (client.socket.readable) resume_later(client);  // not read while it was to go
  });
}

void Worker::adopt(std::vector<HandedClient> handed) {
  bump(counters_.adopted, handed.size());
  if (handing_) {
    bump(counters_.handed_over, handed.size());
    shared_.ledger.queue(std::move(handed));
    return shared_.ledger.release(1);
  }
  const TimeoutsConfig& timeouts = config_.timeouts;
  for (HandedClient& one : handed) {
    sockaddr_storage storage{};  // stays unknown for a client that has reset the connection meanwhile
    socklen_t size = sizeof storage;
    ::getpeername(one.fd.get(), reinterpret_cast<sockaddr*>(&storage), &size);
    // Being added announces what waits in the socket already: bytes, an end, a reset.
    ClientConnection* const client = add_client(std::move(one.fd), IpAddress::from(storage), nullptr);
    if (client == nullptr) {
      bump(counters_.accept_errors);
      continue;
    }
    if (one.told) {
      client->peer = one.told->source;
      client->told_destination = std::make_unique<IpAddress>(one.told->destination);
    }
    if (shared_.connection_counter && client->peer.family != AF_UNIX) {
      shared_.connection_counter->add(client->peer.site_hash());
      client->counted = true;
    }
    constexpr std::uint64_t kRequestsMax = std::numeric_limits<decltype(client->requests)>::max();
    client->requests = static_cast<std::uint32_t>(std::min(one.requests, kRequestsMax));
    const auto waits = draining_ ? timeouts.quiet : timeouts.idle;
    wheel_.set(client->timer, now_ + (client->requests == 0 ? timeouts.header : waits));
  }
  if (!draining_) return;
  if (drain_deadline_ == kNever) drain_deadline_ = now_ + timeouts.quiet;  // it has passed: not for ever
  if (std::exchange(drained_reported_, false)) return;  // the hold is ours from here on: see check_drained
  shared_.ledger.release(1);
}

}  // namespace lb
