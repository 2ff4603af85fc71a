#include "lb/supervisor/client_relay.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "lb/supervisor/messages.hpp"

namespace lb {
namespace {

using std::chrono::seconds;
constexpr Instant kStart{seconds{1000}};

std::vector<HandedClient> clients(std::size_t count, std::uint64_t first = 0) {
  std::vector<HandedClient> list;
  for (std::size_t i = 0; i < count; ++i) {
    list.push_back({.fd = Fd{::eventfd(0, EFD_CLOEXEC)}, .requests = first + i});
  }
  return list;
}

/// The numbers of requests of all that have arrived.
std::vector<std::uint64_t> arrived(Channel& channel) {
  std::vector<std::uint64_t> all;
  for (;;) {
    auto received = channel.receive();
    if (received.kind != Received::Kind::message) return all;
    const auto message = decode<ClientsMessage>(received.message);
    EXPECT_TRUE(message && message->requests.size() == received.message.fds.size());
    if (message) all.insert(all.end(), message->requests.begin(), message->requests.end());
  }
}

TEST(ClientRelay, GivesAllInOrderToOneThatReadsSlowly) {
  auto pair = Channel::make_pair();
  ASSERT_TRUE(pair);
  ClientRelay relay;
  constexpr std::size_t kCount = 3000;
  for (std::size_t i = 0; i < kCount; i += 3) {
    EXPECT_EQ(relay.add(kStart, clients(3, i)), 0U);
    ASSERT_TRUE(relay.give(kStart, pair->first));
  }
  EXPECT_TRUE(pair->first.wants_write()) << "the kernel takes some messages only";
  EXPECT_GT(relay.size(), 0U);
  std::vector<std::uint64_t> all;
  for (int round = 0; round < 10'000 && all.size() < kCount; ++round) {
    const auto some = arrived(pair->second);
    all.insert(all.end(), some.begin(), some.end());
    ASSERT_TRUE(pair->first.flush());
    ASSERT_TRUE(relay.give(kStart, pair->first));
  }
  ASSERT_EQ(all.size(), kCount);
  for (std::size_t i = 0; i < kCount; ++i) ASSERT_EQ(all[i], i);
  EXPECT_EQ(relay.deadline(), kNever);
}

TEST(ClientRelay, ManyThatCameOneByOneAreWithinTheChannelsLimits) {
  auto pair = Channel::make_pair();
  ASSERT_TRUE(pair);
  ClientRelay relay;
  for (std::size_t i = 0; i < 2 * kFramesQueuedMax; ++i) EXPECT_EQ(relay.add(kStart, clients(1, i)), 0U);
  std::size_t count = 0;
  for (int round = 0; round < 100; ++round) {
    ASSERT_TRUE(relay.give(kStart, pair->first));
    count += arrived(pair->second).size();
    ASSERT_TRUE(pair->first.flush());
  }
  EXPECT_EQ(count, 2 * kFramesQueuedMax);
}

TEST(ClientRelay, KeepsThemWhenThePeerIsGone) {
  auto pair = Channel::make_pair();
  ASSERT_TRUE(pair);
  pair->second.close();
  ClientRelay relay;
  relay.add(kStart, clients(2, 7));
  EXPECT_FALSE(relay.give(kStart, pair->first));
  const auto back = relay.take_all();
  ASSERT_EQ(back.size(), 2U);
  EXPECT_EQ(back[0].requests, 7U);
  for (const auto& one : back) EXPECT_NE(::fcntl(one.fd.get(), F_GETFD), -1);
}

TEST(ClientRelay, BoundsHowManyWaitAndForHowLong) {
  ClientRelay relay{5};
  EXPECT_EQ(relay.add(kStart, clients(4)), 0U);
  EXPECT_EQ(relay.add(kStart + seconds{1}, clients(1)), 0U);
  EXPECT_EQ(relay.add(kStart + seconds{2}, clients(3)), 3U);
  EXPECT_EQ(relay.size(), 5U);
  EXPECT_EQ(relay.deadline(), kStart + ClientRelay::kWaitMax) << "the first of them counts";
}

/// Nothing is duplicated: passing on works without a descriptor to spare.
TEST(ClientRelay, NeedsNoDescriptors) {
  auto pair = Channel::make_pair();
  ASSERT_TRUE(pair);
  ClientRelay relay;
  relay.add(kStart, clients(20));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 1;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto given = relay.give(kStart, pair->first);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(given);
  EXPECT_EQ(arrived(pair->second).size(), 20U);
}

}  // namespace
}  // namespace lb
