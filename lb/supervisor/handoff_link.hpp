// The two ends of the socket between two generations (see reload/handoff.hpp for the protocol): each carries
// out what its state machine commands, and keeps the connections meanwhile. Owned by the generation's main
// thread; they never block. The messages are those of a Channel, with a version of their own:
//
//   HELLO     kinds and versions
//   OFFER     a batch's number and its records (handoff_record.hpp); the descriptors of all, in order
//   ANSWER    the number, and for each record whether it was taken
//   COMMIT, WITHDRAW   the number
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"
#include "lb/base/time.hpp"
#include "lb/proxy/handed_connection.hpp"
#include "lb/reload/handoff.hpp"
#include "lb/supervisor/channel.hpp"

namespace lb {

inline constexpr std::uint16_t kHandoffLinkVersion = 1;
/// A receiver refuses what would leave it fewer descriptors than this.
inline constexpr std::uint64_t kFdReserve = 64;

/// The two ends of a link. Descriptors in a message of it are bounded by handoff::Limits.
Result<std::pair<Fd, Fd>> make_handoff_pair();

/// What became of the connections that a generation wanted to hand over, by kind. They are the successor's
/// from COMMIT on.
struct HandoffCounts {
  std::uint64_t moved_idle = 0;             // client connections that were idle when handing over began
  std::uint64_t moved_after_exchange = 0;   // those that had a request in flight then
  std::uint64_t moved_upgrade_tunnels = 0;  // upgraded connections
  std::uint64_t moved_tcp_tunnels = 0;      // of listeners in TCP mode
  std::uint64_t moved_upstreams = 0;        // idle connections to backends
  std::uint64_t refused = 0;                // the successor could not take them, or did not know their kind
  std::uint64_t came_back = 0;              // offered in vain: it was late, gone, or another one came
  void add(const HandoffCounts& other) noexcept;
  friend bool operator==(const HandoffCounts&, const HandoffCounts&) = default;
};

class HandoffOut final {
 public:
  HandoffOut(Fd socket, Instant now, handoff::Limits limits = {});

  [[nodiscard]] int fd() const noexcept { return channel_.fd(); }
  [[nodiscard]] bool wants_write() const noexcept { return channel_.open() && channel_.wants_write(); }
  /// The descriptor is there to be polled.
  [[nodiscard]] bool open() const noexcept { return channel_.open(); }
  /// The successor has said HELLO, and nothing has ended yet.
  [[nodiscard]] bool handing() const noexcept {
    return machine_.state() == handoff::HandoffSender::State::open;
  }
  [[nodiscard]] bool ended() const noexcept {
    return machine_.state() == handoff::HandoffSender::State::ended;
  }
  /// It is gone, rather than slow or strange: a further one may come.
  [[nodiscard]] bool receiver_gone() const noexcept { return receiver_gone_; }
  [[nodiscard]] bool has_room() const noexcept { return machine_.has_room(); }
  /// Every connection given has been moved or is to be taken back.
  [[nodiscard]] bool idle() const noexcept { return machine_.idle(); }
  [[nodiscard]] Instant deadline() const noexcept { return machine_.next_deadline(); }

  void give(Instant now, std::vector<HandedConnection> connections);
  /// Reads and writes as far as that goes now, and looks at the time.
  void turn(Instant now);
  /// No more is handed over; what is not committed is taken back.
  void stop(Instant now);
  /// Those that are ours again, since the last call. Which were refused says HandedConnection::stays.
  std::vector<HandedConnection> take_back() { return std::exchange(back_, {}); }

  [[nodiscard]] const HandoffCounts& counts() const noexcept { return counts_; }
  /// Why it ended, if something was wrong; or empty.
  [[nodiscard]] const std::string& reason() const noexcept { return reason_; }

 private:
  void feed(Instant now, const handoff::SenderEvent& event);
  void carry_out(Instant now, const handoff::Command& command);
  void send_offer(Instant now, const handoff::SendOffer& offer);
  void send_commit(Instant now, handoff::BatchNumber batch);
  void on_message(Instant now, const ChannelMessage& message);
  void take_back_items(const handoff::TakeBack& command);
  void count_moved(const HandedConnection& one) noexcept;
  void close_when_sent();

  Channel channel_;
  handoff::HandoffSender machine_;
  std::map<handoff::ItemId, HandedConnection> items_;
  handoff::ItemId last_id_ = 0;
  std::vector<HandedConnection> back_;
  HandoffCounts counts_;
  std::string reason_;
  bool receiver_gone_ = false;
  bool closing_ = false;  // the machine is done; the last messages may still have to leave
};

class HandoffIn final {
 public:
  /// `from`: the number of the generation at the other end. Says HELLO.
  HandoffIn(Fd socket, std::int64_t from);

  [[nodiscard]] int fd() const noexcept { return channel_.fd(); }
  [[nodiscard]] bool wants_write() const noexcept { return channel_.open() && channel_.wants_write(); }
  [[nodiscard]] bool open() const noexcept { return channel_.open(); }
  [[nodiscard]] std::int64_t from() const noexcept { return from_; }
  /// Connections that may be ours any moment: who holds some does not end.
  [[nodiscard]] bool holds() const noexcept { return machine_.holds(); }

  /// Reads and writes as far as that goes now. `takes`: else everything offered is refused.
  void turn(bool takes);
  /// Those that are ours from now on.
  std::vector<HandedConnection> adopted() { return std::exchange(adopted_, {}); }
  [[nodiscard]] const std::string& reason() const noexcept { return reason_; }

 private:
  void carry_out(const handoff::Commands& commands);
  void on_message(ChannelMessage message, bool takes);
  void on_offer(ChannelMessage message, bool takes);

  Channel channel_;
  std::int64_t from_;
  handoff::HandoffReceiver machine_;
  std::map<handoff::ItemId, HandedConnection> items_;
  std::vector<HandedConnection> adopted_;
  std::string reason_;
};

}  // namespace lb
