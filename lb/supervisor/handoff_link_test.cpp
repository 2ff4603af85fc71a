// The two ends of a handoff link over a real socket, with every way in which one of them may fail. The
// connections are pairs of sockets whose other ends tell who closed what.
#include "lb/supervisor/handoff_link.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>

#include "lb/base/open_fds.hpp"
#include "lb/supervisor/child_process.hpp"
#include "lb/supervisor/codec.hpp"
#include "lb/supervisor/handoff_record.hpp"

namespace lb {
namespace {

using std::chrono::seconds;

/// A connection to be handed over, and the end that its client holds.
struct Pair {
  Fd ours;
  Fd theirs;
};
Pair make_pair() {
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
  return {Fd{ends[0]}, Fd{ends[1]}};
}

bool is_open(const Fd& fd) {
  char byte = 0;
  return ::recv(fd.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

IpAddress address(std::uint8_t last) {
  return {.ip = {10, 0, 0, last}, .port = 1234, .family = AF_INET};
}

class HandoffLinkTest : public ::testing::Test {
 protected:
  void SetUp() override { connect({}); }
  void connect(handoff::Limits limits) {
    auto pair = make_handoff_pair();
    ASSERT_TRUE(pair) << pair.error().message;
    out.emplace(std::move(pair->first), now, limits);
    in.emplace(std::move(pair->second), 7);
  }
  /// Both, until nothing moves any more.
  void pump(bool takes = true) {
    for (int i = 0; i < 6; ++i) {
      if (out) out->turn(now);
      if (in) in->turn(takes);
      if (in) {
        for (HandedConnection& one : in->adopted()) adopted.push_back(std::move(one));
      }
      if (out) {
        for (HandedConnection& one : out->take_back()) back.push_back(std::move(one));
      }
    }
  }
  HandedConnection client(std::uint64_t requests = 1) {
    Pair pair = make_pair();
    theirs.push_back(std::move(pair.theirs));
    return {.fd = std::move(pair.ours), .requests = requests, .peer = address(1)};
  }
  HandedConnection tunnel(std::size_t waiting = 0) {
    HandedConnection one = client();
    one.kind = HandedConnection::Kind::tunnel;
    one.backend = {"web", "10.0.0.1:80"};
    one.tunnel = std::make_unique<HandedTunnel>();
    Pair upstream = make_pair();
    theirs.push_back(std::move(upstream.theirs));
    one.tunnel->upstream = std::move(upstream.ours);
    one.tunnel->client_side.outbox = std::string(waiting, 'c');
    one.tunnel->upstream_side.outbox = std::string(waiting, 'u');
    return one;
  }
  void give(HandedConnection one) {
    std::vector<HandedConnection> list;
    list.push_back(std::move(one));
    out->give(now, std::move(list));
  }
  [[nodiscard]] bool all_open() const { return std::ranges::all_of(theirs, is_open); }

  Instant now{seconds{100}};
  std::optional<HandoffOut> out;
  std::optional<HandoffIn> in;
  std::vector<Fd> theirs;
  std::vector<HandedConnection> adopted;
  std::vector<HandedConnection> back;
};

TEST_F(HandoffLinkTest, EveryKindArrivesWithAllThatIsKnownOfIt) {
  HandedConnection idle = client(41);
  idle.told_destination = address(9);
  idle.unparsed = "GET / HT";
  idle.deadline = now + seconds{3};
  HandedConnection busy = client(2);
  busy.after_exchange = true;
  HandedConnection upgraded = tunnel(3);
  HandedTunnel& state = *upgraded.tunnel;
  state.client_side.read_eof = state.upstream_side.write_shut = state.client_side.bulk = true;
  state.ends_at = now + seconds{5};
  state.started = now - seconds{50};
  state.bytes_in = 11;
  state.bytes_out = 22;
  state.status = 101;
  state.retries = 1;
  state.method = "GET";
  state.target = "/ws";
  HandedConnection raw = tunnel();
  raw.tunnel->raw = true;
  HandedConnection pooled = client(0);
  pooled.kind = HandedConnection::Kind::upstream;
  pooled.backend = {"web", "10.0.0.1:80"};
  pooled.idle_since = now - seconds{1};
  std::vector<HandedConnection> all;
  for (HandedConnection* one : {&idle, &busy, &upgraded, &raw, &pooled}) all.push_back(std::move(*one));
  out->give(now, std::move(all));
  pump();
  ASSERT_EQ(adopted.size(), 5U);
  EXPECT_EQ(adopted[0].requests, 41U);
  EXPECT_EQ(adopted[0].peer.text(), "10.0.0.1");
  EXPECT_EQ(adopted[0].peer.port, 1234);
  ASSERT_TRUE(adopted[0].told_destination.has_value());
  EXPECT_EQ(adopted[0].told_destination->text(), "10.0.0.9");
  EXPECT_EQ(adopted[0].unparsed, "GET / HT");
  EXPECT_EQ(adopted[0].deadline, now + seconds{3});
  EXPECT_FALSE(adopted[1].told_destination.has_value());
  EXPECT_EQ(adopted[1].deadline, kNever);
  ASSERT_NE(adopted[2].tunnel, nullptr);
  const HandedTunnel& arrived = *adopted[2].tunnel;
  EXPECT_EQ(arrived.client_side, (HandedSide{.outbox = "ccc", .read_eof = true, .bulk = true}));
  EXPECT_EQ(arrived.upstream_side, (HandedSide{.outbox = "uuu", .write_shut = true}));
  EXPECT_EQ(arrived.ends_at, now + seconds{5});
  EXPECT_EQ(arrived.started, now - seconds{50});
  EXPECT_EQ(arrived.bytes_in, 11U);
  EXPECT_EQ(arrived.bytes_out, 22U);
  EXPECT_EQ(arrived.status, 101);
  EXPECT_EQ(arrived.retries, 1);
  EXPECT_EQ(arrived.method, "GET");
  EXPECT_EQ(arrived.target, "/ws");
  EXPECT_EQ(adopted[2].backend, (BackendIdentity{"web", "10.0.0.1:80"}));
  EXPECT_FALSE(arrived.raw);
  EXPECT_TRUE(adopted[3].tunnel->raw);
  EXPECT_EQ(adopted[4].kind, HandedConnection::Kind::upstream);
  EXPECT_EQ(adopted[4].idle_since, now - seconds{1});
  const HandoffCounts wanted{.moved_idle = 1,
                             .moved_after_exchange = 1,
                             .moved_upgrade_tunnels = 1,
                             .moved_tcp_tunnels = 1,
                             .moved_upstreams = 1};
  EXPECT_EQ(out->counts(), wanted);
  EXPECT_TRUE(all_open());
  EXPECT_TRUE(out->idle());
  // Ours were the last descriptors: whoever adopted them is the only one that keeps them open.
  adopted.clear();
  EXPECT_TRUE(std::ranges::none_of(theirs, is_open));
}

TEST_F(HandoffLinkTest, ManyAndLargeOnesArriveInOrderAndLeaveNoDescriptorBehind) {
  const std::size_t before = open_fds();
  std::vector<HandedConnection> all;
  for (std::uint64_t i = 0; i < 300; ++i) {
    all.push_back(i % 40 == 39 ? tunnel(600'000) : i % 3 == 0 ? tunnel() : client(i));
    all.back().requests = i;
  }
  out->give(now, std::move(all));
  for (int i = 0; i < 100 && adopted.size() < 300; ++i) pump();
  ASSERT_EQ(adopted.size(), 300U);
  for (std::uint64_t i = 0; i < 300; ++i) EXPECT_EQ(adopted[i].requests, i);
  EXPECT_EQ(adopted[39].tunnel->upstream_side.outbox, std::string(600'000, 'u'));
  EXPECT_TRUE(out->idle());
  adopted.clear();
  theirs.clear();
  EXPECT_EQ(open_fds(), before);
}

TEST_F(HandoffLinkTest, NothingIsOfferedBeforeTheSuccessorHasSpoken) {
  auto pair = make_handoff_pair();
  ASSERT_TRUE(pair);
  HandoffOut waiting{std::move(pair->first), now};
  std::vector<HandedConnection> list;
  list.push_back(client());
  waiting.give(now, std::move(list));
  waiting.turn(now);
  EXPECT_FALSE(waiting.handing());
  EXPECT_FALSE(waiting.has_room());
  char byte = 0;
  EXPECT_LT(::recv(pair->second.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT), 0);
  waiting.turn(waiting.deadline());
  EXPECT_TRUE(waiting.ended());
  EXPECT_FALSE(waiting.receiver_gone());
  EXPECT_FALSE(waiting.reason().empty());
  back = waiting.take_back();
  EXPECT_EQ(back.size(), 1U);
  EXPECT_TRUE(all_open());
}

TEST_F(HandoffLinkTest, ASuccessorThatTakesNothingLeavesEverythingToTheSender) {
  pump();
  give(client());
  give(tunnel());
  pump(false);
  ASSERT_EQ(back.size(), 2U);
  EXPECT_TRUE(back[0].stays);
  EXPECT_TRUE(back[1].stays);
  EXPECT_EQ(out->counts().refused, 2U);
  EXPECT_TRUE(out->handing());
  EXPECT_FALSE(in->holds());
  EXPECT_TRUE(all_open());
  back.clear();
  EXPECT_TRUE(std::ranges::none_of(theirs, is_open));  // nobody else holds them
}

TEST_F(HandoffLinkTest, AReceiverShortOfDescriptorsRefusesAndTheRestOfThemIsUntouched) {
  pump();
  rlimit files{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  std::vector<HandedConnection> list;
  for (int i = 0; i < 20; ++i) list.push_back(tunnel());
  const int next = ::dup(0);
  ::close(next);
  rlimit tight = files;
  tight.rlim_cur = static_cast<rlim_t>(next) + kFdReserve + 6;  // room for three of them and the reserve
  out->give(now, std::move(list));
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  pump();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
  EXPECT_EQ(adopted.size(), 3U);
  EXPECT_EQ(back.size(), 17U);
  EXPECT_TRUE(all_open());
}

TEST_F(HandoffLinkTest, DescriptorsThatTheKernelCouldNotDeliverAreRefusedToo) {
  pump();
  rlimit files{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  std::vector<HandedConnection> list;
  for (int i = 0; i < 10; ++i) list.push_back(client());
  const int next = ::dup(0);
  ::close(next);
  rlimit none = files;
  none.rlim_cur = static_cast<rlim_t>(next) + 2;  // two of ten arrive, and there is no room for these either
  out->give(now, std::move(list));
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  pump();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
  EXPECT_EQ(adopted.size(), 0U);
  EXPECT_EQ(back.size(), 10U);
  EXPECT_TRUE(out->handing());
  EXPECT_TRUE(all_open());
}

TEST_F(HandoffLinkTest, AReceiverThatDiesBeforeItAnswersLeavesThemToTheSender) {
  pump();
  give(client());
  in.reset();
  pump();
  EXPECT_EQ(back.size(), 1U);
  EXPECT_FALSE(back[0].stays);
  EXPECT_TRUE(out->receiver_gone());
  EXPECT_EQ(out->counts().came_back, 1U);
  EXPECT_TRUE(all_open());
}

TEST_F(HandoffLinkTest, AReceiverThatDiesHavingAnsweredLeavesThemToTheSender) {
  pump();
  give(client());
  in->turn(true);  // answers, holds
  EXPECT_TRUE(in->holds());
  in.reset();
  pump();
  EXPECT_EQ(back.size(), 1U);
  EXPECT_TRUE(out->receiver_gone());
  EXPECT_EQ(out->counts().moved_idle, 0U);
  EXPECT_TRUE(all_open());
}

TEST_F(HandoffLinkTest, WhatWasCommittedIsTheReceiversEvenIfTheSenderDiesAtOnce) {
  pump();
  give(client());
  in->turn(true);
  out->turn(now);  // COMMIT
  EXPECT_EQ(out->counts().moved_idle, 1U);
  out.reset();
  pump();
  EXPECT_EQ(adopted.size(), 1U);
  EXPECT_TRUE(all_open());
}

TEST_F(HandoffLinkTest, ASenderThatDiesAfterTheAnswerLeavesThemToTheReceiver) {
  pump();
  give(client());
  give(tunnel());
  in->turn(true);
  out.reset();  // with an answer unread: the end of the link is a reset
  pump();
  EXPECT_EQ(adopted.size(), 2U);
  EXPECT_FALSE(in->open());
  EXPECT_TRUE(all_open());
}

TEST_F(HandoffLinkTest, ASenderThatDiesAfterItsOfferLeavesThemToTheReceiver) {
  pump();
  give(client());
  out.reset();  // nobody has read the offer yet
  pump();
  EXPECT_EQ(adopted.size(), 1U);
  EXPECT_TRUE(all_open());
}

TEST_F(HandoffLinkTest, ALateAnswerFindsThemTakenBackAndTheReceiverClosesItsCopies) {
  pump();
  give(client());
  now = out->deadline();
  out->turn(now);
  for (HandedConnection& one : out->take_back()) back.push_back(std::move(one));
  ASSERT_EQ(back.size(), 1U);
  EXPECT_FALSE(out->receiver_gone());
  pump();
  EXPECT_EQ(adopted.size(), 0U);
  EXPECT_FALSE(in->holds());
  EXPECT_TRUE(all_open());
  back.clear();
  EXPECT_TRUE(std::ranges::none_of(theirs, is_open));
}

TEST_F(HandoffLinkTest, AFurtherSuccessorInTheMiddleTakesThemBackFromTheFirst) {
  pump();
  give(client());
  give(client());
  in->turn(true);
  out->stop(now);
  pump();
  EXPECT_EQ(back.size(), 2U);
  EXPECT_EQ(adopted.size(), 0U);
  EXPECT_FALSE(out->open());
  EXPECT_FALSE(in->open());
  EXPECT_TRUE(in->reason().empty());
  EXPECT_TRUE(all_open());
  give(client());  // too late for this link
  pump();
  EXPECT_EQ(back.size(), 3U);
}

TEST_F(HandoffLinkTest, NonsenseEndsTheLinkAndNothingIsOwnedTwice) {
  for (const std::uint16_t type : std::initializer_list<std::uint16_t>{1, 2, 3, 4, 5, 99}) {
    auto pair = make_handoff_pair();
    ASSERT_TRUE(pair);
    HandoffOut sender{std::move(pair->first), now};
    Channel wrong{std::move(pair->second), kHandoffLinkVersion};
    std::vector<HandedConnection> list;
    list.push_back(client());
    sender.give(now, std::move(list));
    ASSERT_TRUE(wrong.send(type, "nonsense"));
    sender.turn(now);
    EXPECT_TRUE(sender.ended()) << type;
    EXPECT_FALSE(sender.reason().empty()) << type;
    EXPECT_EQ(sender.take_back().size(), 1U) << type;

    auto other = make_handoff_pair();
    ASSERT_TRUE(other);
    Channel strange{std::move(other->first), kHandoffLinkVersion};
    HandoffIn receiver{std::move(other->second), 1};
    ASSERT_TRUE(strange.send(type, "nonsense"));
    receiver.turn(true);
    EXPECT_FALSE(receiver.open()) << type;
    EXPECT_FALSE(receiver.reason().empty()) << type;
    EXPECT_TRUE(receiver.adopted().empty());
  }
}

TEST_F(HandoffLinkTest, AnotherVersionOfTheLinkEndsItAndEverythingStays) {
  auto pair = make_handoff_pair();
  ASSERT_TRUE(pair);
  HandoffOut sender{std::move(pair->first), now};
  Channel newer{std::move(pair->second), kHandoffLinkVersion + 1};
  std::vector<HandedConnection> list;
  list.push_back(client());
  sender.give(now, std::move(list));
  ASSERT_TRUE(newer.send(1, ""));
  sender.turn(now);
  EXPECT_TRUE(sender.ended());
  back = sender.take_back();
  EXPECT_EQ(back.size(), 1U);
  EXPECT_TRUE(all_open());
}

TEST(HandoffRecord, IsRefusedAtEveryOtherLengthVersionAndKind) {
  HandedConnection one{.kind = HandedConnection::Kind::tunnel, .backend = {"b", "e"}};
  one.tunnel = std::make_unique<HandedTunnel>();
  one.tunnel->client_side.outbox = "abc";
  one.unparsed = "x";
  const std::string bytes = encode_record(one, 1);
  ASSERT_TRUE(decode_record(handoff::Kind::tunnel, 1, bytes));
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(decode_record(handoff::Kind::tunnel, 1, std::string_view{bytes}.substr(0, n)));
  }
  EXPECT_FALSE(decode_record(handoff::Kind::tunnel, 1, bytes + '\0'));
  EXPECT_FALSE(decode_record(handoff::Kind::tunnel, 2, bytes));
  EXPECT_FALSE(decode_record(handoff::Kind::client, 1, bytes));
  EXPECT_FALSE(decode_record(handoff::Kind::upstream, 1, bytes));
  EXPECT_FALSE(decode_record(static_cast<handoff::Kind>(9), 1, bytes));
}

}  // namespace
}  // namespace lb
