// Tunnels: after a 101, and in TCP mode from the start, the two connections carry bytes both ways and HTTP is
// over. Half-closes are passed on, and so are resets: an end that is not the peers' own (a time-out, the
// drain timeout) is a reset too, as a FIN would pass for the end of what was said.
#include <sys/socket.h>

#include <cstring>

#include "lb/proxy/worker.hpp"

namespace lb {

/// `upstream_bytes` came behind the 101 and belong to the client; the head waits in gather_.
void Worker::begin_tunnel(Exchange& exchange, std::string_view upstream_bytes) {
  ClientConnection& client = *exchange.client;
  UpstreamConnection& upstream = *exchange.upstream;
  bump(counters_.tunnels);
  bump(counters_.tunnels_open);
  gather_.add(upstream_bytes);
  exchange.tunnel_bytes_out += upstream_bytes.size();
  bump(counters_.bytes_to_clients, gather_.total());
  if (!send_gather(client.socket, token_of(client), gather_)) return client_gone(client);
  if (!client.inbox.empty()) {
    const bool sent = send_bytes(upstream.socket, token_of(upstream), client.inbox.view());
    exchange.tunnel_bytes_in += client.inbox.size();
    client.inbox.clear();
    if (!sent) return abort_exchange(exchange, "upstream_closed");
  }
  if (leaves(client)) leave(client);
  pump_tunnel(exchange);
}

void Worker::pump_tunnel(Exchange& exchange) {
  ClientConnection& client = *exchange.client;
  UpstreamConnection& upstream = *exchange.upstream;
  wheel_.set(exchange.timer, tunnel_deadline(exchange));
  const std::uint64_t in = exchange.tunnel_bytes_in;
  const std::uint64_t out = exchange.tunnel_bytes_out;
  const bool whole =
      pump_one_way(client.socket, upstream.socket, token_of(upstream), exchange.tunnel_bytes_in) &&
      pump_one_way(upstream.socket, client.socket, token_of(client), exchange.tunnel_bytes_out);
  bump(counters_.bytes_from_clients, exchange.tunnel_bytes_in - in);
  bump(counters_.bytes_to_clients, exchange.tunnel_bytes_out - out);
  if (!whole) return abort_exchange(exchange, "reset");
  if (client.socket.write_shut && upstream.socket.write_shut) return finish_tunnel(exchange);
  const bool more = (client.socket.readable && upstream.socket.outbox.empty()) ||
                    (upstream.socket.readable && client.socket.outbox.empty());
  if (more) resume_later(client);
}

/// One of its sockets is broken. What that had received before goes on as far as the other side takes it now.
void Worker::tunnel_broken(Exchange& exchange) {
  const ClientConnection& client = *exchange.client;
  pump_tunnel(exchange);
  if (client.state == ClientConnection::State::exchange) abort_exchange(exchange, "reset");
}

/// Moves at most a turn's share, and adds it to `total`. False: a side is broken.
bool Worker::pump_one_way(Socket& from, Socket& to, Token to_token, std::uint64_t& total) {
  for (std::size_t moved = 0; from.readable && to.outbox.empty() && moved < kTurnBytesMax;) {
    if (from.bulk) {
      const Spliced spliced = splice(from, to, to_token, kTurnBytesMax - moved);
      moved += spliced.size;
      total += spliced.size;
      if (spliced.kind == Spliced::Kind::broken || spliced.kind == Spliced::Kind::target_broken) return false;
      from.bulk = spliced.kind != Spliced::Kind::copy && (spliced.size == 0 || spliced.size >= kBulkBytesMin);
      if (spliced.kind == Spliced::Kind::bytes) continue;
      if (spliced.kind != Spliced::Kind::copy) break;
    }
    const Received received = receive(from, 0, kBodyReadBytes);
    if (received.kind == Received::Kind::broken) return false;
    if (received.kind != Received::Kind::bytes) break;
    from.bulk = received.size >= kSpliceBytesMin;
    moved += received.size;
    total += received.size;
    if (!send_bytes(to, to_token, {scratch_.get(), received.size})) return false;
  }
  if (from.read_eof && to.outbox.empty() && !to.write_shut) {
    say_goodbye(to);
    ::shutdown(to.fd.get(), SHUT_WR);
    to.write_shut = true;
  }
  return true;
}

void Worker::finish_tunnel(Exchange& exchange) {
  ClientConnection& client = *exchange.client;
  end_exchange(exchange, "ok");
  close_client(client);
}

}  // namespace lb
