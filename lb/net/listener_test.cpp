#include "lb/net/listener.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

namespace lb {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

Endpoint loopback(std::uint16_t port = 0) {
  return Endpoint{.host = "127.0.0.1", .port = port};
}

std::uint16_t port_of(int fd) {
  const std::string text = *local_address_text(fd);
  return static_cast<std::uint16_t>(std::stoi(text.substr(text.rfind(':') + 1)));
}

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  ::getsockopt(fd, level, name, &value, &size);
  return value;
}

struct TemporaryFolder {
  TemporaryFolder() { path = ::mkdtemp(name.data()); }
  ~TemporaryFolder() {
    ::unlink((path + "/s").c_str());
    ::rmdir(path.c_str());
  }
  std::string name = "/tmp/lb-net-test-XXXXXX";
  std::string path;
};

TEST(Listener, ShardsShareOnePortThatTheKernelChose) {
  const auto opened = open_listener_shards(loopback(), 3, {});
  ASSERT_TRUE(opened.has_value());
  ASSERT_EQ(opened->size(), 3U);
  const std::uint16_t port = port_of((*opened)[0].fd.get());
  EXPECT_NE(port, 0);
  for (const ListeningSocket& socket : *opened) {
    EXPECT_EQ(port_of(socket.fd.get()), port);
    EXPECT_EQ(socket.endpoint.port, 0) << "the identity stays what was configured";
    EXPECT_EQ(option(socket.fd.get(), SOL_SOCKET, SO_ACCEPTCONN), 1);
    EXPECT_EQ(option(socket.fd.get(), SOL_SOCKET, SO_REUSEPORT), 1);
    EXPECT_EQ(option(socket.fd.get(), IPPROTO_TCP, TCP_NODELAY), 1);
  }
  const auto more = open_more_shards(loopback(), (*opened)[0].fd.get(), 2, {});
  ASSERT_TRUE(more.has_value());
  EXPECT_EQ(port_of((*more)[1].fd.get()), port);
}

TEST(Listener, AnAddressInUseIsRefusedAlthoughItsHolderAllowsSharing) {
  const auto first = open_listener_shards(loopback(), 1, {});
  const std::uint16_t port = port_of((*first)[0].fd.get());
  const auto second = open_listener_shards(loopback(port), 1, {});
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().os_error, EADDRINUSE);
  EXPECT_THAT(second.error().message, StartsWith("bind 127.0.0.1:" + std::to_string(port) + ": "));
  EXPECT_TRUE(open_listener_shards(loopback(port), 1, {.probe_in_use = false}).has_value());
}

TEST(Listener, AnAddressThatIsNotOursIsAnError) {
  const auto opened = open_listener_shards(Endpoint{.host = "192.0.2.1", .port = 80}, 1, {});
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().os_error, EADDRNOTAVAIL);
  EXPECT_FALSE(open_listener_shards(Endpoint{.host = "not-a-literal", .port = 80}, 1, {}).has_value());
}

TEST(Listener, BothFamiliesStandOnOnePort) {
  const auto v6 = open_listener_shards(Endpoint{.host = "::"}, 1, {});
  if (!v6) GTEST_SKIP() << "no IPv6 here: " << v6.error().message;
  const std::uint16_t port = port_of((*v6)[0].fd.get());
  EXPECT_TRUE(open_listener_shards(Endpoint{.host = "0.0.0.0", .port = port}, 1, {}).has_value());
}

TEST(Listener, AStaleUnixSocketIsReplacedALiveOneAndAFileAreNot) {
  const TemporaryFolder folder;
  const Endpoint endpoint{.host = folder.path + "/s", .unix_socket = true};
  {
    const auto first = open_listener_shards(endpoint, 4, {});
    ASSERT_TRUE(first.has_value());
    EXPECT_EQ(first->size(), 1U);
    EXPECT_EQ(*local_address_text((*first)[0].fd.get()), endpoint.text());
    EXPECT_EQ(open_listener_shards(endpoint, 1, {}).error().os_error, EADDRINUSE);
  }
  EXPECT_TRUE(open_listener_shards(endpoint, 1, {}).has_value());
  ::unlink(endpoint.host.c_str());
  std::ofstream{endpoint.host} << "precious";
  const auto refused = open_listener_shards(endpoint, 1, {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().message, HasSubstr("not a socket"));
  std::string kept;
  std::ifstream{endpoint.host} >> kept;
  EXPECT_EQ(kept, "precious");
}

TEST(Listener, AnOverlongUnixPathIsAnError) {
  const Endpoint endpoint{.host = "/tmp/" + std::string(200, 'x'), .unix_socket = true};
  EXPECT_EQ(open_listener_shards(endpoint, 1, {}).error().os_error, ENAMETOOLONG);
}

}  // namespace
}  // namespace lb
