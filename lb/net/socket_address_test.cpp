#include "lb/net/socket_address.hpp"

#include <gtest/gtest.h>

#include "lb/net/resolver.hpp"

namespace lb {
namespace {

IpAddress address_of(const std::string& host, std::uint16_t port = 0) {
  const auto literal = SocketAddress::from_literal(Endpoint{.host = host, .port = port});
  sockaddr_storage storage{};
  std::copy_n(reinterpret_cast<const char*>(literal->get()), literal->size(),
              reinterpret_cast<char*>(&storage));
  return IpAddress::from(storage);
}

TEST(SocketAddress, TextOfEachFamily) {
  EXPECT_EQ(SocketAddress::from_literal({.host = "127.0.0.1", .port = 80})->text(), "127.0.0.1:80");
  EXPECT_EQ(SocketAddress::from_literal({.host = "::1", .port = 65535})->text(), "[::1]:65535");
  EXPECT_EQ(SocketAddress::from_literal({.host = "/run/x.sock", .unix_socket = true})->text(),
            "unix:/run/x.sock");
  EXPECT_FALSE(SocketAddress::from_literal({.host = "example.org", .port = 80}).has_value());
  EXPECT_TRUE(SocketAddress{}.empty());
}

TEST(IpAddress, TextAndIdentity) {
  EXPECT_EQ(address_of("127.0.0.1").text(), "127.0.0.1");
  EXPECT_EQ(address_of("255.10.0.99").text(), "255.10.0.99");
  EXPECT_EQ(address_of("2001:db8::1").text(), "2001:db8::1");
  EXPECT_EQ(address_of("::ffff:10.0.0.1").text(), "10.0.0.1");
  EXPECT_EQ(IpAddress{.family = AF_UNIX}.text(), "unix");
  EXPECT_EQ(address_of("10.0.0.1", 1).hash(), address_of("10.0.0.1", 2).hash());
  EXPECT_EQ(address_of("::ffff:10.0.0.1").hash(), address_of("10.0.0.1").hash());
  EXPECT_NE(address_of("10.0.0.1").hash(), address_of("10.0.0.2").hash());
  EXPECT_NE(address_of("2001:db8::1").hash(), address_of("2001:db8::2").hash());
}

TEST(Resolver, LiteralsNeedNoLookupAndUnknownNamesAreEmpty) {
  const std::vector<Endpoint> endpoints{{.host = "127.0.0.1", .port = 1},
                                        {.host = "no-such-host.invalid", .port = 2},
                                        {.host = "localhost", .port = 3},
                                        {.host = "/run/x", .unix_socket = true}};
  const auto addresses = resolve_all(endpoints, Milliseconds{5000});
  ASSERT_EQ(addresses.size(), 4U);
  EXPECT_EQ(addresses[0].at(0).text(), "127.0.0.1:1");
  EXPECT_TRUE(addresses[1].empty());
  EXPECT_EQ(addresses[2].at(0).text(), "127.0.0.1:3");
  EXPECT_EQ(addresses[3].at(0).text(), "unix:/run/x");
}

TEST(Resolver, ABudgetOfNothingReturnsAtOnceWithoutTheNames) {
  const std::vector<Endpoint> endpoints(100, Endpoint{.host = "no-such-host.invalid", .port = 2});
  for (const auto& found : resolve_all(endpoints, Milliseconds{0})) EXPECT_TRUE(found.empty());
}

}  // namespace
}  // namespace lb
