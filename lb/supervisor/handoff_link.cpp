#include "lb/supervisor/handoff_link.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <optional>
#include <tuple>
#include <utility>

#include "lb/base/fault_point.hpp"
#include "lb/base/overloaded.hpp"
#include "lb/supervisor/child_process.hpp"
#include "lb/supervisor/codec.hpp"
#include "lb/supervisor/handoff_record.hpp"

namespace lb {

namespace link_message {

enum class Type : std::uint16_t { hello = 1, offer, answer, commit, withdraw };

struct SkillEntry {
  std::uint8_t kind = 0;
  std::uint16_t version = 0;
};
template <class A>
void fields(A& a, SkillEntry& m) {
  a(m.kind, m.version);
}
struct Hello {
  std::vector<SkillEntry> skills{};
};
template <class A>
void fields(A& a, Hello& m) {
  a(m.skills);
}
struct Record {
  std::uint64_t id = 0;
  std::uint8_t kind = 0;
  std::uint16_t version = 0;
  std::uint8_t fds = 0;  // so that a kind that is not known can be passed over
  std::string bytes{};
};
template <class A>
void fields(A& a, Record& m) {
  a(m.id, m.kind, m.version, m.fds, m.bytes);
}
struct Offer {
  std::uint64_t batch = 0;
  std::vector<Record> records{};
};
template <class A>
void fields(A& a, Offer& m) {
  a(m.batch, m.records);
}
struct AnswerEntry {
  bool taken = false;
};
template <class A>
void fields(A& a, AnswerEntry& m) {
  a(m.taken);
}
struct Answer {
  std::uint64_t batch = 0;
  std::vector<AnswerEntry> taken{};
};
template <class A>
void fields(A& a, Answer& m) {
  a(m.batch, m.taken);
}
struct Settled {
  std::uint64_t batch = 0;
};
template <class A>
void fields(A& a, Settled& m) {
  a(m.batch);
}

template <class M>
Result<void> send(Channel& channel, Type type, const M& message, std::span<const int> fds = {}) {
  Encoder encoder;
  encoder(message);
  return channel.send(static_cast<std::uint16_t>(type), encoder.take(), fds);
}

template <class M>
std::optional<M> decode(const ChannelMessage& message) {
  M value;
  Decoder decoder{message.body};
  decoder(value);
  if (!decoder.complete()) return std::nullopt;
  return value;
}

}  // namespace link_message

using link_message::Type;

namespace {

constexpr int kSendBufferBytes = 512 * 1024;  // COMMIT and WITHDRAW always find room behind the offers

handoff::Malformed malformed(const ChannelMessage& message) {
  return {"a malformed message of type " + std::to_string(message.type) + " on the handoff link"};
}

}  // namespace

Result<std::pair<Fd, Fd>> make_handoff_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    return std::unexpected(system_error("socketpair", "", errno));
  }
  for (const int end : ends) {
    ::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &kSendBufferBytes, sizeof kSendBufferBytes);
  }
  return std::pair{Fd{ends[0]}, Fd{ends[1]}};
}

void HandoffCounts::add(const HandoffCounts& other) noexcept {
  moved_idle += other.moved_idle;
  moved_after_exchange += other.moved_after_exchange;
  moved_upgrade_tunnels += other.moved_upgrade_tunnels;
  moved_tcp_tunnels += other.moved_tcp_tunnels;
  moved_upstreams += other.moved_upstreams;
  refused += other.refused;
  came_back += other.came_back;
}

// ----------------------------------------------------------------------------------------------- the sender

HandoffOut::HandoffOut(Fd socket, Instant now, handoff::Limits limits)
    : channel_(std::move(socket), kHandoffLinkVersion), machine_(limits, handoff_skills(), now) {}

void HandoffOut::give(Instant now, std::vector<HandedConnection> connections) {
  if (connections.empty()) return;
  handoff::Given given;
  for (HandedConnection& one : connections) {
    given.items.push_back({.id = ++last_id_,
                           .kind = kind_of(one),
                           .version = handoff_skills()[0].version,
                           .bytes = record_bytes(one)});
    items_.emplace(last_id_, std::move(one));
  }
  feed(now, given);
}

void HandoffOut::turn(Instant now) {
  if (channel_.open()) {
    if (auto flushed = channel_.flush(); !flushed) {
      receiver_gone_ = true;
      feed(now, handoff::LinkEnded{});
    }
  }
  while (channel_.open()) {
    const Received received = channel_.receive();
    if (received.kind == Received::Kind::nothing) break;
    if (received.kind == Received::Kind::message) {
      on_message(now, received.message);
    } else if (received.kind == Received::Kind::closed) {
      receiver_gone_ = receiver_gone_ || !ended();
      feed(now, handoff::LinkEnded{});
      channel_.close();
    } else {
      feed(now, handoff::Malformed{received.reason});
      close_when_sent();
      break;
    }
  }
  if (now >= machine_.next_deadline()) feed(now, handoff::Tick{});
  close_when_sent();
}

void HandoffOut::stop(Instant now) {
  feed(now, handoff::StopHanding{});
  close_when_sent();
}

void HandoffOut::close_when_sent() {
  if (closing_ && channel_.open() && !channel_.wants_write()) channel_.close();
}

void HandoffOut::on_message(Instant now, const ChannelMessage& message) {
  if (message.type == static_cast<std::uint16_t>(Type::hello)) {
    const auto hello = link_message::decode<link_message::Hello>(message);
    if (!hello) return feed(now, malformed(message));
    handoff::PeerHello greeting;
    for (const auto& skill : hello->skills) {
      greeting.skills.push_back({static_cast<handoff::Kind>(skill.kind), skill.version});
    }
    return feed(now, greeting);
  }
  const auto answer = link_message::decode<link_message::Answer>(message);
  if (message.type != static_cast<std::uint16_t>(Type::answer) || !answer)
    return feed(now, malformed(message));
  handoff::Answered answered{.batch = answer->batch, .taken = {}};
  for (const auto& entry : answer->taken) answered.taken.push_back(entry.taken);
  feed(now, answered);
}

void HandoffOut::feed(Instant now, const handoff::SenderEvent& event) {
  for (const handoff::Command& command : machine_.step(now, event)) carry_out(now, command);
}

void HandoffOut::carry_out(Instant now, const handoff::Command& command) {
  std::visit(Overloaded{
                 [&](const handoff::SendOffer& c) { send_offer(now, c); },
                 [&](const handoff::SendCommit& c) { send_commit(now, c.batch); },
                 [&](const handoff::SendWithdraw& c) {
                   std::ignore = link_message::send(channel_, Type::withdraw, link_message::Settled{c.batch});
                 },
                 [&](const handoff::Release& c) {
                   for (const handoff::ItemId id : c.items) {
                     const auto found = items_.find(id);
                     count_moved(found->second);
                     items_.erase(found);
                   }
                 },
                 [&](const handoff::TakeBack& c) { take_back_items(c); },
                 [&](const handoff::CloseLink& c) {
                   if (!c.reason.empty()) reason_ = c.reason;
                   closing_ = true;
                 },
                 [](const auto&) { LB_ASSERT(false); },  // the receiver's
             },
             command);
}

/// Not sent, although the successor is there: we are short of descriptors or memory. It ends here, and what
/// was to go stays.
void HandoffOut::send_offer(Instant now, const handoff::SendOffer& offer) {
  if (ended()) return;  // an earlier one of the same turn could not be sent
  link_message::Offer message{.batch = offer.batch, .records = {}};
  std::vector<int> fds;
  for (const handoff::Item& item : offer.items) {
    const HandedConnection& one = items_.at(item.id);
    const std::vector<int> own = record_fds(one);
    message.records.push_back({.id = item.id,
                               .kind = static_cast<std::uint8_t>(item.kind),
                               .version = item.version,
                               .fds = static_cast<std::uint8_t>(own.size()),
                               .bytes = encode_record(one, item.version)});
    fds.insert(fds.end(), own.begin(), own.end());
  }
  const auto sent = link_message::send(channel_, Type::offer, message, fds);
  LB_FAULT_POINT("handoff.offer_sent");
  if (sent) return;
  const bool gone = sent.error().os_error == EPIPE || sent.error().os_error == ECONNRESET;
  if (gone) {
    receiver_gone_ = true;
    return feed(now, handoff::LinkEnded{});
  }
  reason_ = sent.error().message;
  feed(now, handoff::Answered{offer.batch, std::vector<bool>(offer.items.size(), false)});
  feed(now, handoff::StopHanding{});
}

void HandoffOut::send_commit(Instant now, handoff::BatchNumber batch) {
  LB_FAULT_POINT("handoff.before_commit");
  if (auto sent = link_message::send(channel_, Type::commit, link_message::Settled{batch}); !sent) {
    receiver_gone_ = true;
    return feed(now, handoff::LinkEnded{});
  }
  LB_FAULT_POINT("handoff.commit_sent");
  feed(now, handoff::CommitSent{batch});
}

void HandoffOut::take_back_items(const handoff::TakeBack& command) {
  using Why = handoff::TakeBack::Why;
  const bool refused = command.why == Why::refused || command.why == Why::not_understood;
  (refused ? counts_.refused : counts_.came_back) += command.items.size();
  for (const handoff::ItemId id : command.items) {
    const auto found = items_.find(id);
    found->second.stays = refused;
    back_.push_back(std::move(found->second));
    items_.erase(found);
  }
}

void HandoffOut::count_moved(const HandedConnection& one) noexcept {
  switch (one.kind) {
    case HandedConnection::Kind::client:
      ++(one.after_exchange ? counts_.moved_after_exchange : counts_.moved_idle);
      return;
    case HandedConnection::Kind::tunnel:
      ++(one.tunnel->raw ? counts_.moved_tcp_tunnels : counts_.moved_upgrade_tunnels);
      return;
    case HandedConnection::Kind::upstream:
      ++counts_.moved_upstreams;
      return;
  }
}

// --------------------------------------------------------------------------------------------- the receiver

HandoffIn::HandoffIn(Fd socket, std::int64_t from)
    : channel_(std::move(socket), kHandoffLinkVersion), from_(from), machine_(handoff_skills()) {
  carry_out(machine_.begin());
}

void HandoffIn::turn(bool takes) {
  if (channel_.open()) std::ignore = channel_.flush();  // a sender that is gone is told below
  while (channel_.open()) {
    Received received = channel_.receive();
    switch (received.kind) {
      case Received::Kind::nothing:
        return;
      case Received::Kind::message:
      case Received::Kind::short_of_fds:  // those whose descriptors are missing are refused
        on_message(std::move(received.message), takes);
        break;
      case Received::Kind::closed:
        carry_out(machine_.step(handoff::LinkEnded{}));
        break;
      case Received::Kind::broken:
        carry_out(machine_.step(handoff::Malformed{received.reason}));
        break;
    }
  }
}

void HandoffIn::on_message(ChannelMessage message, bool takes) {
  if (message.type == static_cast<std::uint16_t>(Type::offer)) return on_offer(std::move(message), takes);
  const auto settled = link_message::decode<link_message::Settled>(message);
  if (settled && message.type == static_cast<std::uint16_t>(Type::commit)) {
    carry_out(machine_.step(handoff::Committed{settled->batch}));
  } else if (settled && message.type == static_cast<std::uint16_t>(Type::withdraw)) {
    carry_out(machine_.step(handoff::Withdrawn{settled->batch}));
  } else {
    carry_out(machine_.step(malformed(message)));
  }
}

void HandoffIn::on_offer(ChannelMessage message, bool takes) {
  LB_FAULT_POINT("handoff.offered");
  const auto offer = link_message::decode<link_message::Offer>(message);
  if (!offer) return carry_out(machine_.step(malformed(message)));
  const auto fd_max = static_cast<std::int64_t>(fd_limit()) - static_cast<std::int64_t>(kFdReserve);
  handoff::Offered offered{.batch = offer->batch, .items = {}};
  auto next = message.fds.begin();
  for (const link_message::Record& record : offer->records) {
    const auto left = static_cast<std::size_t>(message.fds.end() - next);
    const std::size_t count = std::min<std::size_t>(record.fds, left);
    std::vector<Fd> fds{std::make_move_iterator(next),
                        std::make_move_iterator(next + static_cast<std::ptrdiff_t>(count))};
    next += static_cast<std::ptrdiff_t>(count);
    handoff::Offered::One one{.item = {.id = record.id,
                                       .kind = static_cast<handoff::Kind>(record.kind),
                                       .version = record.version,
                                       .bytes = record.bytes.size()},
                              .fits = false};
    const bool there = fds.size() == record.fds && fds.size() == record_fd_count(one.item.kind);
    // The kernel gives the lowest number that is free: it tells how many there are.
    const bool room =
        std::ranges::all_of(fds, [&](const Fd& fd) { return static_cast<std::int64_t>(fd.get()) < fd_max; });
    if (takes && there && room && !items_.contains(record.id)) {
      if (auto decoded = decode_record(one.item.kind, record.version, record.bytes)) {
        attach_fds(*decoded, std::move(fds));
        items_.emplace(record.id, std::move(*decoded));
        one.fits = true;
      }
    }
    offered.items.push_back(one);
  }
  carry_out(machine_.step(offered));
}

void HandoffIn::carry_out(const handoff::Commands& commands) {
  for (const handoff::Command& command : commands) {
    std::visit(Overloaded{
                   [&](const handoff::SendHello& c) {
                     link_message::Hello hello;
                     for (const handoff::Skill& skill : c.skills) {
                       hello.skills.push_back({static_cast<std::uint8_t>(skill.kind), skill.version});
                     }
                     std::ignore = link_message::send(channel_, Type::hello, hello);
                   },
                   [&](const handoff::SendAnswer& c) {
                     link_message::Answer answer{.batch = c.batch, .taken = {}};
                     for (const bool taken : c.taken) answer.taken.push_back({taken});
                     std::ignore = link_message::send(channel_, Type::answer, answer);
                     LB_FAULT_POINT("handoff.answer_sent");
                   },
                   [&](const handoff::Adopt& c) {
                     LB_FAULT_POINT("handoff.committed");
                     for (const handoff::ItemId id : c.items) {
                       const auto found = items_.find(id);
                       adopted_.push_back(std::move(found->second));
                       items_.erase(found);
                     }
                   },
                   [&](const handoff::Discard& c) {
                     for (const handoff::ItemId id : c.items) items_.erase(id);
                   },
                   [&](const handoff::CloseLink& c) {
                     reason_ = c.reason;
                     channel_.close();
                   },
                   [](const auto&) { LB_ASSERT(false); },  // the sender's
               },
               command);
  }
}

}  // namespace lb
