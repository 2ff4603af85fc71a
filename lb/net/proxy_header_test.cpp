#include "lb/net/proxy_header.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <array>
#include <cstring>
#include <string>

namespace lb {
namespace {

using Status = ProxyHeaderOutcome::Status;
using namespace std::string_literals;

const std::string kSignature = "\r\n\r\n\0\r\nQUIT\n"s;

std::string address_text(const IpAddress& address) {
  return address.text() + " " + std::to_string(address.port);
}

/// "28: 1.2.3.4 1 > 5.6.7.8 2", "13: -", "more", or what is wrong. The same with anything behind the header,
/// and every shorter beginning wants more.
std::string outcome(const std::string& bytes) {
  ProxyHeader header;
  const ProxyHeaderOutcome result = parse_proxy_header(bytes, header);
  if (result.status == Status::need_more) return "more";
  if (result.status == Status::malformed) return std::string{result.fault};
  for (std::size_t size = 0; size < header.bytes; ++size) {
    ProxyHeader part;
    EXPECT_EQ(parse_proxy_header(std::string_view{bytes}.substr(0, size), part).status, Status::need_more)
        << size;
  }
  ProxyHeader again;
  EXPECT_EQ(parse_proxy_header(bytes.substr(0, header.bytes) + "PROXY garbage\n", again).status,
            Status::complete);
  EXPECT_EQ(again.bytes, header.bytes);
  const std::string size = std::to_string(header.bytes) + ": ";
  if (!header.has_addresses) return size + "-";
  return size + address_text(header.source) + " > " + address_text(header.destination);
}

std::string v2(char version_command, char family, const std::string& body) {
  return kSignature + version_command + family + static_cast<char>(body.size() >> 8U) +
         static_cast<char>(body.size()) + body;
}
const std::string kBody4 = "\x01\x02\x03\x04\x05\x06\x07\x08\x00\x50\x01\xbb"s;
const std::string kBody6 =
    std::string(15, 0) + "\x01" + "\x20\x01\x0d\xb8" + std::string(11, 0) + "\x02" + "\x00\x50\x01\xbb"s;

TEST(ProxyHeaderV1, Addresses) {
  EXPECT_EQ(outcome("PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\nGET /"), "35: 1.2.3.4 80 > 5.6.7.8 443");
  EXPECT_EQ(outcome("PROXY TCP6 ::1 2001:db8::2 0 65535\r\n"), "36: ::1 0 > 2001:db8::2 65535");
  EXPECT_EQ(outcome("PROXY UNKNOWN\r\n"), "15: -");
  EXPECT_EQ(outcome("PROXY UNKNOWN ffff::1 whatever 1 2\r\n"), "36: -");
  const std::string longest = "PROXY UNKNOWN " + std::string(91, 'f') + "\r\n";
  ASSERT_EQ(longest.size(), kProxyV1BytesMax);
  EXPECT_EQ(outcome(longest), "107: -");
}

TEST(ProxyHeaderV1, WhatIsNotExactlyThatIsMalformed) {
  EXPECT_EQ(outcome("PROXY UNKNOWN " + std::string(92, 'f') + "\r\n"), "the PROXY line is too long");
  EXPECT_EQ(outcome("PROXY UNKNOWN\n"), "the PROXY line does not end with CR LF");
  for (const char* line : {"", "TCP", "TCP5 1.2.3.4 5.6.7.8 1 2", "UNKNOWNX", "tcp4 1.2.3.4 5.6.7.8 1 2",
                           " TCP4 1.2.3.4 5.6.7.8 1 2"}) {
    EXPECT_EQ(outcome("PROXY "s + line + "\r\n"), "the PROXY line names no known protocol") << line;
  }
  for (const char* line :
       {"TCP4 1.2.3.4 5.6.7.8", "TCP4 1.2.3 5.6.7.8 1 2", "TCP4 ::1 ::1 1 2", "TCP6 1.2.3.4 5.6.7.8 1 2",
        "TCP4 01.2.3.4 5.6.7.8 1 2", "TCP4  1.2.3.4 5.6.7.8 1 2", "TCP6 ::1%lo ::1 1 2"}) {
    EXPECT_EQ(outcome("PROXY "s + line + "\r\n"), "the PROXY line has no two addresses of its protocol")
        << line;
  }
  for (const char* ports : {"1", "1 ", "1 65536", "1 -1", "+1 2", "01 2", "1 2 ", "1 2 3", "1  2", "a b"}) {
    EXPECT_EQ(outcome("PROXY TCP4 1.2.3.4 5.6.7.8 "s + ports + "\r\n"),
              "the PROXY line has no two ports at its end")
        << ports;
  }
  EXPECT_EQ(outcome("GET / HTTP/1.1\r\n"), "the connection does not begin with a PROXY header");
  EXPECT_EQ(outcome("PROXX"), "the connection does not begin with a PROXY header");
  EXPECT_EQ(outcome("PRO"), "more");
  EXPECT_EQ(outcome(""), "more");
}

TEST(ProxyHeaderV2, Addresses) {
  EXPECT_EQ(outcome(v2(0x21, 0x11, kBody4)), "28: 1.2.3.4 80 > 5.6.7.8 443");
  EXPECT_EQ(outcome(v2(0x21, 0x21, kBody6)), "52: ::1 80 > 2001:db8::2 443");
  EXPECT_EQ(outcome(v2(0x21, 0x31, std::string(216, 'x'))), "232: unix 0 > unix 0");
  EXPECT_EQ(outcome(v2(0x21, 0x11, kBody4 + "\x04\x00\x02\x00\x00\x20\x00\x00"s)),
            "36: 1.2.3.4 80 > 5.6.7.8 443");
}

TEST(ProxyHeaderV2, WithoutAddresses) {
  EXPECT_EQ(outcome(v2(0x20, 0x00, "")), "16: -");      // LOCAL: a health check of the proxy before us
  EXPECT_EQ(outcome(v2(0x20, 0x11, kBody4)), "28: -");  // LOCAL with addresses: to be ignored
  EXPECT_EQ(outcome(v2(0x20, 0x11, "any")), "19: -");   // LOCAL: whatever stands there
  EXPECT_EQ(outcome(v2(0x21, 0x00, "")), "16: -");      // unspecified family
  EXPECT_EQ(outcome(v2(0x21, 0x01, "ignored")), "23: -");
}

TEST(ProxyHeaderV2, WhatIsNotExactlyThatIsMalformed) {
  EXPECT_EQ(outcome(v2(0x11, 0x11, kBody4)), "the PROXY header is of an unknown version");
  EXPECT_EQ(outcome(v2(0x22, 0x11, kBody4)), "the PROXY header has an unknown command");
  EXPECT_EQ(outcome(v2(0x21, 0x41, kBody4)), "the PROXY header has an unknown address family");
  EXPECT_EQ(outcome(v2(0x21, 0x13, kBody4)), "the PROXY header has an unknown address family");
  EXPECT_EQ(outcome(v2(0x21, 0x12, kBody4)), "the PROXY header is not of a stream");
  EXPECT_EQ(outcome(v2(0x21, 0x11, kBody4.substr(1))), "the PROXY header has no room for its addresses");
  EXPECT_EQ(outcome(v2(0x21, 0x31, std::string(215, 0))), "the PROXY header has no room for its addresses");
  EXPECT_EQ(outcome(v2(0x21, 0x11, kBody4 + "\x04\x00"s)), "the PROXY header's extensions are cut");
  EXPECT_EQ(outcome(v2(0x21, 0x11, kBody4 + "\x04\x00\x01"s)), "the PROXY header's extensions are cut");
  EXPECT_EQ(outcome(kSignature.substr(0, 11) + "X"), "the connection does not begin with a PROXY header");
}

TEST(ProxyHeaderV2, ItsLengthIsLimited) {
  const auto with_extension = [](std::size_t total) {
    const std::size_t value = total - 16 - kBody4.size() - 3;
    return v2(0x21, 0x11,
              kBody4 + "\x04" + static_cast<char>(value >> 8U) + static_cast<char>(value) +
                  std::string(value, 'x'));
  };
  EXPECT_EQ(outcome(with_extension(kProxyHeaderBytesMax)), "4096: 1.2.3.4 80 > 5.6.7.8 443");
  EXPECT_EQ(outcome(with_extension(kProxyHeaderBytesMax + 1)), "the PROXY header is too long");
}

std::string written(std::size_t (*write)(const IpAddress&, const IpAddress&,
                                         std::span<char, kProxyWrittenMax>),
                    const IpAddress& from, const IpAddress& to) {
  std::array<char, kProxyWrittenMax> out;
  return {out.data(), write(from, to, out)};
}

IpAddress ip(const std::string& host, std::uint16_t port) {
  const auto address = SocketAddress::from_literal({.host = host, .port = port});
  sockaddr_storage storage{};
  std::memcpy(&storage, address->get(), address->size());
  return IpAddress::from(storage);
}

TEST(ProxyHeader, WhatIsWrittenIsReadAgain) {
  EXPECT_EQ(written(write_proxy_v1, ip("1.2.3.4", 80), ip("5.6.7.8", 443)),
            "PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n");
  EXPECT_EQ(written(write_proxy_v2, ip("1.2.3.4", 80), ip("5.6.7.8", 443)), v2(0x21, 0x11, kBody4));
  EXPECT_EQ(written(write_proxy_v2, ip("::1", 80), ip("2001:db8::2", 443)), v2(0x21, 0x21, kBody6));
  EXPECT_EQ(written(write_proxy_v1, ip("::1", 80), ip("1.2.3.4", 443)),
            "PROXY TCP6 ::1 ::ffff:1.2.3.4 80 443\r\n");
  EXPECT_EQ(outcome(written(write_proxy_v2, ip("::1", 80), ip("1.2.3.4", 443))), "52: ::1 80 > 1.2.3.4 443");
  EXPECT_EQ(written(write_proxy_v1, ip("::ffff:1.2.3.4", 80), ip("::ffff:5.6.7.8", 443)),
            "PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n");
  const IpAddress unix_socket{.family = AF_UNIX};
  EXPECT_EQ(written(write_proxy_v1, unix_socket, unix_socket), "PROXY UNKNOWN\r\n");
  EXPECT_EQ(written(write_proxy_v1, ip("1.2.3.4", 80), unix_socket), "PROXY UNKNOWN\r\n");
  EXPECT_EQ(outcome(written(write_proxy_v2, unix_socket, unix_socket)), "16: -");
  const std::string most = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
  EXPECT_LE(written(write_proxy_v1, ip(most, 65535), ip(most, 65535)).size(), kProxyV1BytesMax);
}

TEST(ProxyHeader, OfOurOwn) {
  EXPECT_EQ(outcome(std::string{proxy_header_of_our_own(1)}), "15: -");
  EXPECT_EQ(outcome(std::string{proxy_header_of_our_own(2)}), "16: -");
}

}  // namespace
}  // namespace lb
