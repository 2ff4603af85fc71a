// The handoff protocol: how live connections pass from one generation to the next, and who owns each of them
// at every moment. Pure: events in, commands out; no system calls, no clock (time is handed in), no bytes: an
// item is an id here, its descriptors and state lie with whoever carries the commands out
// (supervisor/handoff_link). Either end of a link may be the sender, as a rollback takes connections back.
//
// The link is a Unix socket: what was sent is delivered in order and whole; of a process that dies what it
// has sent still arrives, then the end. Batch numbers count up by one and are settled in their order, so that
// anything else is noticed and ends the link.
//
//   sender                                            receiver
//     | <----------------------------------------- HELLO |  kinds and versions it understands
//     | OFFER n: items with their descriptors ---------> |  holds them, untouched
//     | <------------------- ANSWER n: taken, item by item |
//     | COMMIT n ------------------------------------> |  owns those it took, and serves them
//     |   or WITHDRAW n (too late, or for a further successor): the receiver closes its copies
//
// An item, as the sender sees it. While it is offered nobody reads or writes it: the kernel keeps its bytes.
//
//   given --SendOffer--> OFFERED --taken--> COMMITTING --CommitSent--> MOVED (Release: its copies are closed)
//     |                     |                   |
//     |  kind not           | refused, deadline,| LinkEnded: COMMIT did not leave
//     |  understood         | StopHanding,      v
//     +---> BACK <----------+ LinkEnded      BACK (TakeBack: the sender serves it as if nothing had been)
//
// As the receiver sees it:
//
//   Offered --taken--> HELD --Committed, LinkEnded--> OWNED (Adopt)
//      |                 +----Withdrawn, CloseLink--> (Discard: its copies are closed)
//      +--refused--> (Discard)
//
// So: a sender that is alive never ends a link with an item offered; it withdraws it first. The end of a link
// in which an item is held therefore means that the sender is gone, and the receiver owns what it took. A
// receiver that is alive never ends a link with an item held, but for a violation, which costs what was
// committed and not read yet: closed, never owned twice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "lb/base/time.hpp"

namespace lb::handoff {

/// Names an item; the sender's. Never used twice within a link.
using ItemId = std::uint64_t;
using BatchNumber = std::uint64_t;

enum class Kind : std::uint8_t {
  client = 1,    // a client connection between two requests, or before its first
  tunnel = 2,    // both sockets of an upgraded connection, or of one in TCP mode
  upstream = 3,  // an idle connection to a backend
};

/// A kind and the newest version of its records that somebody writes or reads; all older ones too.
struct Skill {
  Kind kind = Kind::client;
  std::uint16_t version = 1;
  friend bool operator==(const Skill&, const Skill&) = default;
};
using Skills = std::vector<Skill>;

struct Limits {
  Duration hello_timeout = std::chrono::seconds{5};   // from the link's beginning to the receiver's HELLO
  Duration answer_timeout = std::chrono::seconds{3};  // OFFER to ANSWER: as long may an item be in the air
  std::size_t batch_items_max = 64;
  std::size_t batch_bytes_max = 24 * 1024;  // of records; an item that has more goes alone
  std::size_t batches_max = 2;              // offered and not settled at once
};

/// What the machines know of an item.
struct Item {
  ItemId id = 0;
  Kind kind = Kind::client;
  std::uint16_t version = 1;  // of its record: as the sender writes it, then as both understand it
  std::size_t bytes = 0;      // of its record, about
  friend bool operator==(const Item&, const Item&) = default;
};

// ---- commands ----
struct SendHello {
  Skills skills{};
};
struct SendOffer {
  BatchNumber batch = 0;
  std::vector<Item> items{};
};
struct SendAnswer {
  BatchNumber batch = 0;
  std::vector<bool> taken{};  // one an item, in the offer's order
};
/// To be followed by CommitSent once the socket has taken it, or by LinkEnded when it will not.
struct SendCommit {
  BatchNumber batch = 0;
};
struct SendWithdraw {
  BatchNumber batch = 0;
};
/// Sender: these are the receiver's now. Close the copies: no shutdown, no byte.
struct Release {
  std::vector<ItemId> items{};
};
/// Sender: these are ours again, and are served at once.
struct TakeBack {
  enum class Why : std::uint8_t { refused, not_understood, late, stopped, receiver_gone } why = Why::refused;
  std::vector<ItemId> items{};
};
/// Receiver: these are ours from now on.
struct Adopt {
  std::vector<ItemId> items{};
};
/// Receiver: these are the sender's. Close the copies: no shutdown, no byte.
struct Discard {
  std::vector<ItemId> items{};
};
/// After all other commands: no message is sent or expected any more.
struct CloseLink {
  std::string reason{};  // empty: nothing is wrong
};
using Command = std::variant<SendHello, SendOffer, SendAnswer, SendCommit, SendWithdraw, Release, TakeBack,
                             Adopt, Discard, CloseLink>;
using Commands = std::vector<Command>;

// ---- events ----
/// Sender: the receiver's HELLO.
struct PeerHello {
  Skills skills{};
};
/// Sender: items that are to go, detached from everything that served them.
struct Given {
  std::vector<Item> items{};
};
struct Answered {
  BatchNumber batch = 0;
  std::vector<bool> taken{};
};
struct CommitSent {
  BatchNumber batch = 0;
};
/// Sender: hand over no more, and take back what is not committed: a further successor, or the service stops.
struct StopHanding {};
struct Offered {
  struct One {
    Item item{};
    bool fits = true;  // its record could be read, its descriptors are there, and there is room for it
  };
  BatchNumber batch = 0;
  std::vector<One> items{};
};
struct Committed {
  BatchNumber batch = 0;
};
struct Withdrawn {
  BatchNumber batch = 0;
};
/// The other side closed the link or is gone; everything it had sent came before.
struct LinkEnded {};
/// The other side sent what is no message of this protocol.
struct Malformed {
  std::string reason{};
};
struct Tick {};
using SenderEvent =
    std::variant<PeerHello, Given, Answered, CommitSent, StopHanding, LinkEnded, Malformed, Tick>;
using ReceiverEvent = std::variant<Offered, Committed, Withdrawn, LinkEnded, Malformed>;

/// The commands are to be carried out in their order, before the next event is fed.
class HandoffSender final {
 public:
  HandoffSender(Limits limits, Skills skills, Instant now)
      : limits_(limits), skills_(std::move(skills)), hello_deadline_(now + limits.hello_timeout) {}

  Commands step(Instant now, const SenderEvent& event);

  enum class State : std::uint8_t { greeting, open, ended };
  [[nodiscard]] State state() const noexcept { return state_; }
  /// Whether items given now are offered at once.
  [[nodiscard]] bool has_room() const noexcept {
    return state_ == State::open && pending_.empty() && batches_.size() < limits_.batches_max;
  }
  /// Whether every item given has been released or taken back.
  [[nodiscard]] bool idle() const noexcept { return pending_.empty() && batches_.empty(); }
  /// When the next Tick is due; kNever: none is.
  [[nodiscard]] Instant next_deadline() const noexcept;

 private:
  struct Batch {
    std::vector<Item> items;
    Instant deadline{};
    bool committing = false;  // `items` are those that were taken
  };
  void on_hello(Instant now, const PeerHello& hello, Commands& out);
  void on_given(Instant now, const Given& given, Commands& out);
  void on_answer(const Answered& answer, Commands& out);
  void on_commit_sent(BatchNumber number, Commands& out);
  void offer_pending(Instant now, Commands& out);
  void on_link_ended(Commands& out);
  /// Everything that is not committed comes back, and the link ends.
  void end(TakeBack::Why why, std::string reason, Commands& out);
  void close_when_settled(Commands& out);

  Limits limits_;
  Skills skills_;
  State state_ = State::greeting;
  Instant hello_deadline_;
  std::deque<Item> pending_;              // given, not offered yet
  std::map<BatchNumber, Batch> batches_;  // offered, not settled
  BatchNumber last_batch_ = 0;
  std::string close_reason_;
  bool link_closed_ = false;
};

class HandoffReceiver final {
 public:
  explicit HandoffReceiver(Skills skills) : skills_(std::move(skills)) {}

  /// What the receiver begins with.
  [[nodiscard]] Commands begin() const { return {SendHello{skills_}}; }
  Commands step(const ReceiverEvent& event);

  /// Items that are held: whoever holds some must not end by itself.
  [[nodiscard]] bool holds() const noexcept { return !held_.empty(); }
  [[nodiscard]] bool ended() const noexcept { return ended_; }

 private:
  void on_offer(const Offered& offer, Commands& out);
  void on_settled(BatchNumber batch, bool committed, Commands& out);
  void violation(std::string reason, Commands& out);
  [[nodiscard]] bool understands(const Item& item) const noexcept;

  Skills skills_;
  std::map<BatchNumber, std::vector<ItemId>> held_;
  BatchNumber last_batch_ = 0;
  bool ended_ = false;
};

}  // namespace lb::handoff
