#include "lb/config/network.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace lb {
namespace {

std::array<std::uint8_t, 16> ip(const std::string& text) {
  const auto network = parse_network(text);
  EXPECT_TRUE(network) << text;
  return network ? network->prefix : std::array<std::uint8_t, 16>{};
}

std::string canonical(std::string_view text) {
  const auto network = parse_network(text);
  return network ? network->text() : "expected " + network.error();
}

TEST(Network, HasOneSpelling) {
  EXPECT_EQ(canonical("10.0.0.0/8"), "10.0.0.0/8");
  EXPECT_EQ(canonical("127.0.0.1"), "127.0.0.1/32");
  EXPECT_EQ(canonical("0.0.0.0/0"), "0.0.0.0/0");
  EXPECT_EQ(canonical("::/0"), "::/0");
  EXPECT_EQ(canonical("2001:DB8:0::/32"), "2001:db8::/32");
  EXPECT_EQ(canonical("::1"), "::1/128");
  EXPECT_EQ(canonical("unix"), "unix");
}

TEST(Network, WhatIsNoneIsRefused) {
  const std::string expected = "expected a network such as \"10.0.0.0/8\" or \"2001:db8::/32\", or \"unix\"";
  for (const char* text :
       {"", "/8", "localhost", "10.0.0/8", "10.0.0.256", "010.0.0.0/8", ":::/1", "[::1]/128", "Unix"}) {
    EXPECT_EQ(canonical(text), expected) << text;
  }
  EXPECT_EQ(canonical(std::string_view{"10.0.0.0\0", 9}), expected);
  for (const char* bits : {"33", "-1", "", "08", "8 ", "a"}) {
    EXPECT_EQ(canonical("10.0.0.0/" + std::string{bits}),
              "expected a network with 0 to 32 bits behind its \"/\"");
  }
  EXPECT_EQ(canonical("::/129"), "expected a network with 0 to 128 bits behind its \"/\"");
  EXPECT_EQ(canonical("10.1.2.3/8"), "expected a network without bits behind its prefix: \"10.0.0.0/8\"");
}

TEST(Network, ContainsItsAddresses) {
  const auto contains = [](const char* network, const std::string& address) {
    return parse_network(network)->contains(ip(address));
  };
  EXPECT_TRUE(contains("10.0.0.0/8", "10.255.0.1"));
  EXPECT_FALSE(contains("10.0.0.0/8", "11.0.0.0"));
  EXPECT_TRUE(contains("10.128.0.0/9", "10.128.0.1"));
  EXPECT_FALSE(contains("10.128.0.0/9", "10.127.0.1"));
  EXPECT_TRUE(contains("0.0.0.0/0", "255.1.1.1"));
  EXPECT_FALSE(contains("0.0.0.0/0", "2001::1"));
  EXPECT_TRUE(contains("::/0", "1.2.3.4"));
  EXPECT_TRUE(contains("2001:db8::/33", "2001:db8:7fff::"));
  EXPECT_FALSE(contains("2001:db8::/33", "2001:db8:8000::"));
  EXPECT_TRUE(contains("1.2.3.4", "1.2.3.4"));
  EXPECT_FALSE(contains("unix", "1.2.3.4"));
}

}  // namespace
}  // namespace lb
