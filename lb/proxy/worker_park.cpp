// A drain that may be taken back: the listening sockets stay open, so that accepting can go on at once.
//
//   serving --park, start_drain--> parked --let_go--> draining as ever
//      ^                             |
//      +----------- resume ----------+
//
// What the successor no longer listens at would take connections that nobody accepts: while parked these get
// a reset, which is as good as being refused.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "lb/proxy/worker.hpp"

namespace lb {
namespace {

/// What the configuration says of the listener at that address.
const ListenerConfig& options_of(const Endpoint& endpoint, const Config& config) {
  const auto listener = std::ranges::find_if(config.listen, [&](const ListenerConfig& candidate) {
    return static_cast<const Endpoint&>(candidate) == endpoint;
  });
  LB_ASSERT(listener != config.listen.end());
  return *listener;
}

}  // namespace

void Worker::know_listeners() {
  for (std::size_t i = listener_options_.size(); i < listeners_.size(); ++i) {
    const ListenerConfig& options = options_of(listeners_[i].endpoint, config_);
    listener_options_.push_back(&options);
    const auto index = static_cast<std::size_t>(&options - config_.listen.data());
    listener_tls_.push_back(shared_.server_contexts[index].get());
  }
}

void Worker::park(std::vector<Endpoint> gone) {
  LB_ASSERT(parked_ || !draining_);
  parked_ = true;
  gone_ = std::move(gone);
  if (draining_) watch_gone();
}

void Worker::let_go() {
  if (!std::exchange(parked_, false)) return;
  unwatch_gone();
  if (draining_) listeners_.clear();
}

void Worker::resume(std::shared_ptr<UpstreamSet> home, std::vector<ListeningSocket> more) {
  LB_ASSERT(parked_ && draining_);
  parked_ = false;
  unwatch_gone();
  stop_handoff();
  draining_ = false;
  drained_reported_ = false;
  drain_deadline_ = pipelines_end_ = kNever;
  if (home) set_successor(std::move(home));
  has_successor_ = hushed_ = false;
  std::move(more.begin(), more.end(), std::back_inserter(listeners_));
  know_listeners();
  clients_.for_each([this](ClientConnection& client, Handle) {
    if (client.state != ClientConnection::State::idle || client.requests == 0) return;
    wheel_.set(client.timer, now_ + config_.timeouts.idle);  // it had timeouts.quiet
  });
  if (!watch_listeners()) pause_accepting(Milliseconds{100});
}

/// When one cannot be watched its clients wait as long as we are parked; there are no descriptors to be had
/// then, and nothing better to do.
void Worker::watch_gone() {
  unwatch_gone();
  for (std::uint32_t i = 0; i < listeners_.size(); ++i) {
    if (std::ranges::find(gone_, listeners_[i].endpoint) == gone_.end()) continue;
    if (loop_.add(listeners_[i].fd.get(), EPOLLIN, Token{TokenKind::listener, Handle{i, 0}}))
      gone_watched_.push_back(i);
  }
}

void Worker::unwatch_gone() {
  for (const std::uint32_t i : std::exchange(gone_watched_, {})) loop_.remove(listeners_[i].fd.get());
}

void Worker::refuse_gone(std::uint32_t listener) {
  if (std::ranges::find(gone_watched_, listener) == gone_watched_.end()) return;
  for (std::uint32_t n = 0; n < kAcceptBurstMax; ++n) {
    const Fd fd{::accept4(listeners_[listener].fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
    if (!fd && errno != EINTR && errno != ECONNABORTED) return;
    const linger at_once{.l_onoff = 1, .l_linger = 0};  // its close is a reset
    if (fd) ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
}

}  // namespace lb
