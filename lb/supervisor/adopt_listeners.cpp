#include "lb/supervisor/adopt_listeners.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <set>

#include "lb/supervisor/listener_store.hpp"

namespace lb {
namespace {

std::string port_of(std::string_view address) {
  const auto colon = address.rfind(':');
  return colon == std::string_view::npos ? std::string{} : std::string{address.substr(colon + 1)};
}

std::set<std::string> held_ports(const std::vector<HeldSocket>& held) {
  std::set<std::string> ports;
  for (const HeldSocket& socket : held) {
    const auto address = local_address_text(socket.fd.get());
    if (address && !address->starts_with("unix:")) ports.insert(port_of(*address));
  }
  return ports;
}

bool shares_port(int fd) {
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &value, &size) == 0 && value != 0;
}

bool serves(const HeldSocket& socket, const std::string& endpoint) {
  if (!socket.label.empty()) return socket.label == endpoint;
  const auto address = local_address_text(socket.fd.get());
  return address && activation_serves(socket.fd.get(), *address, endpoint);
}

Error cannot_listen(const std::string& endpoint, Error error) {
  error.message = "cannot listen on " + endpoint + ": " + error.message;
  return error;
}

Result<std::vector<ListeningSocket>> open_missing(const Endpoint& endpoint, std::uint32_t workers,
                                                  const std::vector<ListeningSocket>& have,
                                                  const std::set<std::string>& ports) {
  if (have.empty()) {
    const ListenOptions options{.probe_in_use = !ports.contains(std::to_string(endpoint.port))};
    return open_listener_shards(endpoint, std::min(workers, kShardsMax), options);
  }
  const auto shards = static_cast<std::uint32_t>(have.size());
  // A socket that somebody opened without SO_REUSEPORT stands alone; the workers share it.
  if (shards >= std::min(workers, kShardsMax) || !shares_port(have.front().fd.get())) {
    return std::vector<ListeningSocket>{};
  }
  return open_more_shards(endpoint, have.front().fd.get(), std::min(workers, kShardsMax) - shards, {});
}

}  // namespace

Result<AdoptedListeners> adopt_listeners(const std::vector<Endpoint>& endpoints, std::uint32_t workers,
                                         std::vector<HeldSocket> held) {
  const auto ports = held_ports(held);
  AdoptedListeners result;
  for (const Endpoint& endpoint : endpoints) {
    const std::string text = endpoint.text();
    std::vector<ListeningSocket> shards;
    for (HeldSocket& socket : held) {
      if (socket.fd && serves(socket, text))
        shards.push_back({.endpoint = endpoint, .fd = std::move(socket.fd)});
    }
    const std::size_t adopted = shards.size();
    auto missing = open_missing(endpoint, workers, shards, ports);
    if (!missing) return std::unexpected(cannot_listen(text, missing.error()));
    std::move(missing->begin(), missing->end(), std::back_inserter(shards));
    auto address = local_address_text(shards.front().fd.get());
    if (!address) return std::unexpected(cannot_listen(text, address.error()));
    result.addresses.push_back(std::move(*address));
    for (std::size_t i = 0; i < shards.size(); ++i) {
      result.sockets.push_back(std::move(shards[i]));
      result.opened.push_back(i >= adopted);
    }
  }
  return result;
}

}  // namespace lb
