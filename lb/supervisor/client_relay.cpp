#include "lb/supervisor/client_relay.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace lb {

std::vector<HandedClient> clients_of(const ClientsMessage& message, std::vector<Fd> fds) {
  std::vector<HandedClient> clients;
  const std::size_t count = std::min(fds.size(), message.requests.size());
  clients.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    clients.push_back({.fd = std::move(fds[i]), .requests = message.requests[i]});
    if (i < message.addresses.size()) unpack_addresses(message.addresses[i], clients.back().told);
  }
  return clients;
}

std::size_t ClientRelay::add(Instant now, std::vector<HandedClient> clients) {
  if (waiting_.empty()) since_ = now;
  const std::size_t room = waiting_max_ - std::min(waiting_max_, waiting_.size());
  const std::size_t taken = std::min(room, clients.size());
  std::move(clients.begin(), clients.begin() + static_cast<std::ptrdiff_t>(taken),
            std::back_inserter(waiting_));
  return clients.size() - taken;
}

Result<void> ClientRelay::give(Instant now, Channel& to) {
  while (!waiting_.empty() && to.open() && !to.wants_write()) {
    ClientsMessage message;
    std::vector<Fd> fds;
    const std::size_t count = std::min(waiting_.size(), kFdsPerFrame);
    for (std::size_t i = 0; i < count; ++i) {
      message.requests.push_back(waiting_[i].requests);
      if (waiting_[i].told) {
        message.addresses.resize(count);
        message.addresses[i] = pack_addresses(waiting_[i].told);
      }
      fds.push_back(std::move(waiting_[i].fd));
    }
    const auto type = static_cast<std::uint16_t>(ClientsMessage::kType);
    if (auto sent = to.send_owned(type, encode(message), fds); !sent) {
      for (std::size_t i = 0; i < count; ++i) waiting_[i].fd = std::move(fds[i]);
      return sent;
    }
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(count));
    since_ = now;
  }
  return {};
}

std::vector<HandedClient> ClientRelay::take_all() {
  std::vector<HandedClient> all{std::make_move_iterator(waiting_.begin()),
                                std::make_move_iterator(waiting_.end())};
  waiting_.clear();
  return all;
}

}  // namespace lb
