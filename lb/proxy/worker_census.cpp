// What is connected, for those who ask: counted by walking over the slab.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "lb/net/socket_address.hpp"
#include "lb/proxy/worker.hpp"

namespace lb {
namespace {

const char* kind_of(const Exchange& exchange) noexcept {
  if (exchange.raw) return "tcp";
  return exchange.tunnel ? "upgrade" : "request";
}

}  // namespace

/// The position of its listener in the configuration, which for one that was adopted is found by the address
/// that the client connected to; -1 when there is none.
int Worker::listener_index(const ClientConnection& client) const noexcept {
  if (client.listener != nullptr) return static_cast<int>(client.listener - config_.listen.data());
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getsockname(client.socket.fd.get(), reinterpret_cast<sockaddr*>(&storage), &size) != 0) return -1;
  const IpAddress local = IpAddress::from(storage);
  constexpr std::array<std::uint8_t, 16> kAny{};
  int found = -1;
  for (std::size_t i = 0; i < shared_.listener_addresses.size(); ++i) {
    const IpAddress& address = shared_.listener_addresses[i];
    if (local.family == AF_UNIX && address.family == AF_UNIX) {
      if (SocketAddress{reinterpret_cast<sockaddr*>(&storage), size}.text() == config_.listen[i].text())
        return static_cast<int>(i);
      continue;
    }
    if (address.port != local.port) continue;
    if (address.family == local.family && address.ip == local.ip) return static_cast<int>(i);
    if (address.ip == kAny && found < 0) found = static_cast<int>(i);
  }
  return found;
}

/// Walks over the connections once with numbers only, however many they are; names come afterwards.
void Worker::count(Census& census) {
  std::vector<ListenerCensus> listeners(config_.listen.size() + 1);  // the last: of none that is known
  std::map<const UpstreamSet*, std::vector<BackendCensus>> sets;
  clients_.for_each([&](const ClientConnection& client, Handle) {
    if (client.state == ClientConnection::State::closed) return;
    const int index = listener_index(client);
    ListenerCensus& listener = index < 0 ? listeners.back() : listeners[static_cast<std::size_t>(index)];
    ++listener.connections;
    const Exchange* const exchange = client.exchange;
    const bool tunnel = exchange != nullptr && (exchange->tunnel || exchange->raw);
    if (client.socket.tls && !tunnel) ++listener.tls;
    if (exchange == nullptr) return;
    ++(tunnel ? listener.tunnels : listener.busy);
    if (exchange->backend == kNoBackend) return;
    std::vector<BackendCensus>& backends = sets[&exchange->upstreams->set()];
    if (backends.empty()) backends.resize(exchange->upstreams->set().size());
    BackendCensus& backend = backends[exchange->backend];
    const bool tls = client.socket.tls || (exchange->upstream != nullptr && exchange->upstream->socket.tls);
    ++(!tunnel ? backend.requests : tls ? backend.tunnels_tls : backend.tunnels);
  });
  for (std::size_t i = 0; i < listeners.size(); ++i) {
    if (listeners[i].connections == 0) continue;
    census.listeners[i < config_.listen.size() ? config_.listen[i].text() : ""].add(listeners[i]);
  }
  for (const auto& [set, backends] : sets) {
    for (std::uint32_t i = 0; i < backends.size(); ++i) {
      if (backends[i].requests + backends[i].tunnels + backends[i].tunnels_tls == 0) continue;
      const BackendConfig& backend = set->backend(i);
      census.backends[{backend.name, backend.endpoint.text()}].add(backends[i]);
    }
  }
}

/// For the report of the drain.
ForceClosed Worker::last_words(const ClientConnection& client) const {
  ForceClosed closed{.client = client.peer.text(), .kind = "response"};
  if (const int index = listener_index(client); index >= 0)
    closed.listener = config_.listen[static_cast<std::size_t>(index)].text();
  const Exchange* const exchange = client.exchange;
  if (exchange == nullptr) return closed;
  closed.kind = kind_of(*exchange);
  closed.age_ms = static_cast<std::uint64_t>(std::max<std::int64_t>(0, to_ms(now_ - exchange->started)));
  if (exchange->backend != kNoBackend)
    closed.backend = exchange->upstreams->set().backend(exchange->backend).name;
  return closed;
}

}  // namespace lb
