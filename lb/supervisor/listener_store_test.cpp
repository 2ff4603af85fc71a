#include "lb/supervisor/listener_store.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>

#include "lb/net/listener.hpp"
#include "lb/supervisor/adopt_listeners.hpp"

namespace lb {
namespace {

const Endpoint kAnyPort{.host = "127.0.0.1", .port = 0};

Endpoint endpoint_at(const std::string& address) {
  return {.host = "127.0.0.1",
          .port = static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)))};
}

bool connects(const std::string& address) {
  const auto target = SocketAddress::from_literal(endpoint_at(address));
  const Fd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  return ::connect(fd.get(), target->get(), target->size()) == 0;
}

/// What the supervisor does with a generation's sockets.
void keep(ListenerStore& store, AdoptedListeners& adopted) {
  for (std::size_t i = 0; i < adopted.sockets.size(); ++i) {
    if (adopted.opened[i]) store.add(adopted.sockets[i].endpoint.text(), std::move(adopted.sockets[i].fd));
  }
}
std::vector<HeldSocket> pass(const ListenerStore& store) {
  std::vector<HeldSocket> held;
  for (std::size_t i = 0; i < store.size(); ++i) {
    held.push_back({store.labels()[i], Fd{::fcntl(store.fds()[i], F_DUPFD_CLOEXEC, 0)}});
  }
  return held;
}

TEST(Listeners, ShardsGrowAreNeverDroppedAndKeepTheirPort) {
  ListenerStore store;
  auto first = adopt_listeners({kAnyPort}, 2, {});
  ASSERT_TRUE(first) << first.error().message;
  const std::string address = first->addresses[0];
  EXPECT_EQ(first->sockets.size(), 2U);
  keep(store, *first);
  auto more = adopt_listeners({kAnyPort}, 4, pass(store));
  ASSERT_TRUE(more) << more.error().message;
  EXPECT_EQ(more->addresses[0], address);
  EXPECT_EQ(more->sockets.size(), 4U);
  EXPECT_EQ(more->opened, (std::vector<bool>{false, false, true, true}));
  keep(store, *more);
  auto fewer = adopt_listeners({kAnyPort}, 1, pass(store));
  ASSERT_TRUE(fewer);
  EXPECT_EQ(fewer->sockets.size(), 4U);
  const auto summary = store.summary();
  ASSERT_EQ(summary.size(), 1U);
  EXPECT_EQ(summary[0].endpoint, "127.0.0.1:0");
  EXPECT_EQ(summary[0].address, address);
  EXPECT_EQ(summary[0].shards, 4U);
}

TEST(Listeners, HeldSocketsAcceptWhileNobodyPolls) {
  ListenerStore store;
  auto first = adopt_listeners({kAnyPort}, 2, {});
  ASSERT_TRUE(first);
  const std::string address = first->addresses[0];
  keep(store, *first);
  first->sockets.clear();
  EXPECT_TRUE(connects(address));
  store.keep_only({"127.0.0.1:0"});
  EXPECT_TRUE(connects(address));
  store.keep_only({"127.0.0.1:1"});
  EXPECT_FALSE(connects(address));
}

TEST(Listeners, ShutDownRefusesAtOnceThoughOthersHoldTheSocket) {
  ListenerStore store;
  auto first = adopt_listeners({kAnyPort}, 1, {});
  ASSERT_TRUE(first);
  const std::string address = first->addresses[0];
  store.add("127.0.0.1:0", first->sockets[0].fd.duplicate());
  store.shut_down();
  EXPECT_FALSE(connects(address));
  EXPECT_EQ(store.size(), 0U);
}

TEST(Listeners, AnAddressOfAnotherProgramIsRefusedAndNamed) {
  auto other = adopt_listeners({kAnyPort}, 1, {});
  ASSERT_TRUE(other);
  const Endpoint taken = endpoint_at(other->addresses[0]);
  auto second = adopt_listeners({taken}, 2, {});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().message,
            "cannot listen on " + taken.text() + ": bind " + taken.text() + ": Address already in use");
}

TEST(Listeners, FromWildcardToOneAddressOfTheSamePort) {
  ListenerStore store;
  auto wild = adopt_listeners({Endpoint{.host = "0.0.0.0", .port = 0}}, 1, {});
  ASSERT_TRUE(wild);
  const Endpoint narrow = endpoint_at(wild->addresses[0]);
  keep(store, *wild);
  auto narrowed = adopt_listeners({narrow}, 1, pass(store));
  ASSERT_TRUE(narrowed) << narrowed.error().message;
  EXPECT_EQ(narrowed->opened, std::vector<bool>{true});
}

TEST(Listeners, UnixSocketsAreOneShardAndTheirFileGoes) {
  const auto path =
      std::filesystem::temp_directory_path() / ("lb-store-" + std::to_string(::getpid()) + ".sock");
  const Endpoint endpoint{.host = path, .unix_socket = true};
  ListenerStore store;
  auto adopted = adopt_listeners({endpoint}, 4, {});
  ASSERT_TRUE(adopted) << adopted.error().message;
  EXPECT_EQ(adopted->sockets.size(), 1U);
  keep(store, *adopted);
  auto again = adopt_listeners({endpoint}, 8, pass(store));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->sockets.size(), 1U);
  EXPECT_TRUE(std::filesystem::exists(path));
  store.keep_only({});
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Listeners, PassedSocketsAreClaimedByAddressAndStandAlone) {
  Fd passed{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};  // without SO_REUSEPORT
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(passed.get(), reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
  ASSERT_EQ(::listen(passed.get(), 8), 0);
  const std::string address = *local_address_text(passed.get());
  ListenerStore store;
  store.add_activated(std::move(passed));
  EXPECT_EQ(store.labels(), std::vector<std::string>{""});
  auto adopted = adopt_listeners({endpoint_at(address)}, 4, pass(store));
  ASSERT_TRUE(adopted) << adopted.error().message;
  EXPECT_EQ(adopted->sockets.size(), 1U);
  EXPECT_EQ(adopted->opened, std::vector<bool>{false});
  store.claim({address});
  EXPECT_EQ(store.labels(), std::vector<std::string>{address});
  store.shut_down();  // closes, but the manager's copy (here: the generation's) lives on
  EXPECT_TRUE(connects(address));
}

TEST(Listeners, BothFamiliesServeTheWildcard) {
  const Fd fd{::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!fd) GTEST_SKIP() << "no IPv6 here";
  int only = 0;
  ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
  EXPECT_TRUE(activation_serves(fd.get(), "[::]:80", "0.0.0.0:80"));
  EXPECT_TRUE(activation_serves(fd.get(), "[::]:80", "[::]:80"));
  EXPECT_FALSE(activation_serves(fd.get(), "[::]:80", "0.0.0.0:81"));
  EXPECT_FALSE(activation_serves(fd.get(), "[::]:80", "127.0.0.1:80"));
  only = 1;
  ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
  EXPECT_FALSE(activation_serves(fd.get(), "[::]:80", "0.0.0.0:80"));
}

}  // namespace
}  // namespace lb
