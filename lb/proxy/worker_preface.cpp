// PROXY headers (lb/net/proxy_header.hpp). From clients, on listeners with proxy_protocol: the header is
// looked at with MSG_PEEK and then taken to its last byte and no further, so that what follows is still the
// socket's: a request, a TLS handshake, bytes for a tunnel. Whoever is not trusted to send one is refused
// before a byte is read, as the specification has it ("must not try to guess whether the header is present"):
// else a client could connect directly and be whoever it likes.
//
//   begin_client --> preface --read_preface--> greet --> idle | tunnel
//        |             |
//        v             v malformed, late, cut
//        +--> refused: a reset, without words
//
// To backends with send_proxy: the header is the first bytes of each connection, which no other client uses.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "lb/proxy/worker.hpp"

namespace lb {
namespace {

bool trusted(const ProxyProtocolConfig& rules, const IpAddress& peer) {
  if (rules.from.empty()) return true;
  std::array<std::uint8_t, 16> address = peer.ip;
  if (peer.family == AF_INET) {
    address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, peer.ip[0], peer.ip[1], peer.ip[2], peer.ip[3]};
  }
  return std::ranges::any_of(rules.from, [&](const Network& network) {
    return peer.family == AF_UNIX ? network.unix_sockets : network.contains(address);
  });
}

}  // namespace

/// Just accepted.
void Worker::begin_client(ClientConnection& client) {
  const auto& rules = client.listener->proxy_protocol;
  if (!rules) return greet(client);
  if (!trusted(*rules, client.peer)) return refuse_preface(client, "not trusted to send a PROXY header");
  client.state = ClientConnection::State::preface;
  wheel_.set(client.timer, now_ + config_.timeouts.header);
}

void Worker::read_preface(ClientConnection& client) {
  const int fd = client.socket.fd.get();
  const ssize_t n = ::recv(fd, scratch_.get(), kProxyHeaderBytesMax, MSG_PEEK);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
    if (errno == EINTR) return resume_later(client);
    client.socket.readable = false;
    return;
  }
  if (n < 0) return client_gone(client);
  ProxyHeader header;
  const ProxyHeaderOutcome outcome =
      parse_proxy_header({scratch_.get(), static_cast<std::size_t>(n)}, header);
  switch (outcome.status) {
    case ProxyHeaderOutcome::Status::malformed:
      return refuse_preface(client, outcome.fault);
    case ProxyHeaderOutcome::Status::need_more:
      // Whoever connects and leaves without a byte looks whether we are there: that is no fault.
      if (n == 0) return close_client(client);
      if (client.socket.peer_closed) return refuse_preface(client, "the PROXY header is cut");
      client.socket.readable = false;  // more of it brings an event
      return;
    case ProxyHeaderOutcome::Status::complete:
      break;
  }
  if (::recv(fd, scratch_.get(), header.bytes, 0) != static_cast<ssize_t>(header.bytes))
    return client_gone(client);
  apply_preface(client, header);
}

void Worker::apply_preface(ClientConnection& client, const ProxyHeader& header) {
  if (header.has_addresses) {
    client.peer = header.source;
    client.told_destination = std::make_unique<IpAddress>(header.destination);
  }
  client.socket.readable = true;  // what stands behind the header brings no further event
  greet(client);
  if (client.state == ClientConnection::State::idle) read_client(client);
}

void Worker::refuse_preface(ClientConnection& client, std::string_view fault) {
  bump(counters_.proxy_headers_refused);
  if (shared_.access_log) log_refused(client, 0, "PROXY", fault);
  reset_on_close(client.socket);
  close_client(client);
}

std::string_view Worker::write_preface(const Exchange& exchange, std::span<char, kProxyWrittenMax> out) {
  const ClientConnection& client = *exchange.client;
  IpAddress destination;
  if (client.told_destination) {
    destination = *client.told_destination;
  } else {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    ::getsockname(client.socket.fd.get(), reinterpret_cast<sockaddr*>(&storage), &size);
    destination = IpAddress::from(storage);
  }
  const auto write = exchange.upstreams->set().backend(exchange.backend).send_proxy == SendProxy::v1
                         ? write_proxy_v1
                         : write_proxy_v2;
  return {out.data(), write(client.peer, destination, out)};
}

/// The first bytes of a new connection to a backend. False, with errno: the connection is broken.
bool Worker::send_preface(const Exchange& exchange) {
  UpstreamConnection& upstream = *exchange.upstream;
  if (upstream.socket.tls) return true;  // its session has sent it already
  std::array<char, kProxyWrittenMax> bytes;
  return send_bytes(upstream.socket, token_of(upstream), write_preface(exchange, bytes));
}

}  // namespace lb
