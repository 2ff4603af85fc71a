// ClientRelay: idle client connections on their way from a generation that drains to the one that serves.
// They wait here while nobody serves or the receiver is slow, so that a channel never has more than one
// message of them queued and its other messages stay prompt. How many wait, and for how long, is bounded:
// beyond that they are closed. Owned by one thread: the supervisor's, or that of a generation that hands
// over.
#pragma once

#include <cstddef>
#include <deque>
#include <vector>

#include "lb/base/result.hpp"
#include "lb/base/time.hpp"
#include "lb/proxy/handed_client.hpp"
#include "lb/supervisor/channel.hpp"
#include "lb/supervisor/messages.hpp"

namespace lb {

/// What a CLIENTS message brought, as far as its descriptors came with it. An address that cannot be read is
/// left out: the connection's own counts then.
std::vector<HandedClient> clients_of(const ClientsMessage& message, std::vector<Fd> fds);

class ClientRelay final {
 public:
  static constexpr std::size_t kWaitingMax = 16'384;
  /// Without anybody taking one.
  static constexpr Duration kWaitMax = std::chrono::seconds{15};

  explicit ClientRelay(std::size_t waiting_max = kWaitingMax) : waiting_max_(waiting_max) {}

  /// Returns how many were closed because too many wait.
  std::size_t add(Instant now, std::vector<HandedClient> clients);
  /// Sends what waits in CLIENTS messages, as far as the channel takes them now. On failure (the peer is
  /// gone) they still wait.
  Result<void> give(Instant now, Channel& to);
  /// When those that wait have waited too long; kNever when none waits.
  [[nodiscard]] Instant deadline() const { return empty() ? kNever : since_ + kWaitMax; }

  /// Another message of them may be too many: whoever brings it is not read meanwhile.
  [[nodiscard]] bool full() const noexcept { return waiting_.size() + kFdsPerFrame > waiting_max_; }
  [[nodiscard]] bool empty() const noexcept { return waiting_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return waiting_.size(); }
  std::vector<HandedClient> take_all();

 private:
  std::size_t waiting_max_;
  std::deque<HandedClient> waiting_;
  Instant since_{};  // the first of them came, or the last one went
};

}  // namespace lb
