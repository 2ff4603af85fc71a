#include "lb/config/address.hpp"

#include <gtest/gtest.h>

namespace lb {
namespace {

TEST(Address, ListenAddressesAreCanonical) {
  struct Case {
    const char* given;
    const char* text;
  };
  for (const Case& c : {Case{"127.0.0.1:8080", "127.0.0.1:8080"},
                        {"0.0.0.0:1", "0.0.0.0:1"},
                        {":8080", "0.0.0.0:8080"},
                        {"*:8080", "0.0.0.0:8080"},
                        {"127.0.0.1:0", "127.0.0.1:0"},
                        {"127.0.0.1:65535", "127.0.0.1:65535"},
                        {"[::1]:80", "[::1]:80"},
                        {"[::]:80", "[::]:80"},
                        {"[0:0:0:0:0:0:0:1]:80", "[::1]:80"},
                        {"[2001:DB8::A]:80", "[2001:db8::a]:80"},
                        {"unix:/run/lb.sock", "unix:/run/lb.sock"}}) {
    const auto endpoint = parse_listen_address(c.given);
    ASSERT_TRUE(endpoint) << c.given << ": expected " << endpoint.error();
    EXPECT_EQ(endpoint->text(), c.text) << c.given;
    EXPECT_EQ(parse_listen_address(endpoint->text()), *endpoint) << c.given;
  }
}

TEST(Address, BadListenAddresses) {
  for (const char* text : {"",
                           ":",
                           "80",
                           "localhost:80",
                           "127.0.0.1",
                           "127.0.0.1:",
                           "127.0.0.1:65536",
                           "127.0.0.1:-1",
                           "127.0.0.1:+1",
                           "127.0.0.1:080",
                           "127.0.0.1:00",
                           "127.0.0.1: 80",
                           " 127.0.0.1:80",
                           "127.0.0.1:80 ",
                           "127.1:80",
                           "[::1]",
                           "[::1]80",
                           "::1:80",
                           "[]:80",
                           "[:80",
                           "]:80",
                           "[::1:80",
                           "[127.0.0.1]:80",
                           "[fe80::1%lo]:80",
                           "unix:",
                           "unix:/",
                           "unix:/dir/",
                           "unix:x",
                           "/x",
                           "http://1.2.3.4:80",
                           "127.0.0.1:http",
                           "127.0.0.1:80:80"}) {
    const auto endpoint = parse_listen_address(text);
    EXPECT_FALSE(endpoint) << text << " was taken as " << endpoint->text();
  }
  EXPECT_FALSE(parse_listen_address(std::string_view{"127.0.0.1\0:80", 13}));
  EXPECT_FALSE(parse_listen_address(std::string_view{"unix:/a\0b", 9}));
}

TEST(Address, HostsAreCanonical) {
  struct Case {
    const char* given;
    const char* host;
  };
  for (const Case& c : {Case{"127.0.0.1", "127.0.0.1"},
                        {"::1", "::1"},
                        {"[::1]", "::1"},
                        {"0:0::1", "::1"},
                        {"::ffff:1.2.3.4", "::ffff:1.2.3.4"},
                        {"localhost", "localhost"},
                        {"App.Example", "app.example"},
                        {"app.example.", "app.example."},
                        {"a_b-c.x", "a_b-c.x"},
                        {"1.2.3.a4", "1.2.3.a4"},
                        {"x", "x"}}) {
    const auto host = parse_host(c.given);
    ASSERT_TRUE(host) << c.given << ": expected " << host.error();
    EXPECT_EQ(*host, c.host);
    EXPECT_EQ(parse_host(*host), *host) << "parsing again changed it";
  }
}

TEST(Address, BadHosts) {
  for (const char* text :
       {"",      ".",         "..",        "a..b",       "-a",           "a-",  "a.-b",
        "a b",   "a/b",       "a:80",      "1.2.3.4:80", "[::1]:80",     "[a]", "[1.2.3.4]",
        "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4",   "0x7f000001.1", "1",   "::1%lo",
        ":::",   "*",         "http://a",  "a\n",        "gr\xc3\xbcn"}) {
    const auto host = parse_host(text);
    EXPECT_FALSE(host) << text << " was taken as " << *host;
  }
  EXPECT_FALSE(parse_host(std::string_view{"a\0b", 3}));
}

TEST(Address, LengthLimits) {
  const std::string label(63, 'a');
  const std::string longest = label + "." + label + "." + label + "." + std::string(61, 'b');
  ASSERT_EQ(longest.size(), kHostBytesMax);
  EXPECT_TRUE(parse_host(longest));
  EXPECT_TRUE(parse_host(longest + "."));
  EXPECT_FALSE(parse_host(longest + "b"));
  EXPECT_FALSE(parse_host(label + "a.example"));
  const std::string path = "/" + std::string(kUnixPathBytesMax - 1, 'x');
  EXPECT_TRUE(parse_unix_path(path));
  EXPECT_FALSE(parse_unix_path(path + "x"));
}

TEST(Address, TextOfEndpoints) {
  EXPECT_EQ((Endpoint{.host = "127.0.0.1", .port = 80}).text(), "127.0.0.1:80");
  EXPECT_EQ((Endpoint{.host = "::1", .port = 80}).text(), "[::1]:80");
  EXPECT_EQ((Endpoint{.host = "/run/x:y.sock", .port = 0, .unix_socket = true}).text(), "unix:/run/x:y.sock");
}

}  // namespace
}  // namespace lb
