#include "lb/http/max_forwards.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "lb/http/http_testing.hpp"
#include "lb/http/writer.hpp"

namespace lb::http {
namespace {

using MaxForwardsKind = MaxForwards::Kind;

struct Parsed {
  explicit Parsed(std::string_view text) : bytes(text) { EXPECT_EQ(judge(bytes.view()).status, 0) << text; }
  testing::ExactBytes bytes;
  testing::RequestJudge judge;
  [[nodiscard]] const RequestHead& head() const { return *judge.head; }
};

TEST(MaxForwards, Rfc9110_7_6_2) {
  const struct {
    std::string_view fields;
    MaxForwardsKind kind;
    std::uint32_t next;
  } cases[] = {
      {"", MaxForwardsKind::absent, 0},
      {"Max-Forwards: 0\r\n", MaxForwardsKind::answer, 0},
      {"Max-Forwards: 00\r\n", MaxForwardsKind::answer, 0},
      {"max-forwards: 1\r\n", MaxForwardsKind::forward, 0},
      {"Max-Forwards: 255\r\n", MaxForwardsKind::forward, 254},
      {"Max-Forwards: 256\r\n", MaxForwardsKind::forward, 255},
      {"Max-Forwards: 99999999999999999999999999\r\n", MaxForwardsKind::forward, 255},
      {"Max-Forwards:\r\n", MaxForwardsKind::malformed, 0},
      {"Max-Forwards: -1\r\n", MaxForwardsKind::malformed, 0},
      {"Max-Forwards: 0x1\r\n", MaxForwardsKind::malformed, 0},
      {"Max-Forwards: 1, 1\r\n", MaxForwardsKind::malformed, 0},
      {"Max-Forwards: 1\r\nMax-Forwards: 1\r\n", MaxForwardsKind::malformed, 0},
  };
  for (const auto& c : cases) {
    const Parsed parsed("TRACE / HTTP/1.1\r\nHost: a\r\n" + std::string(c.fields) + "\r\n");
    const MaxForwards found = max_forwards(parsed.head());
    EXPECT_EQ(found.kind, c.kind) << c.fields;
    EXPECT_EQ(found.next, c.next) << c.fields;
  }
}

TEST(TraceResponse, Rfc9110_9_3_8_EchoesWhatIsNotSensitive) {
  const Parsed parsed(
      "TRACE /x?y HTTP/1.1\r\nHost: a\r\nAuthorization: Basic c2VjcmV0\r\nCookie: id=1\r\nX-Api-Key: k\r\n"
      "Proxy-Authorization: p\r\nX-CSRF-Token: t\r\nX-Seen: yes\r\nMax-Forwards: 0\r\n\r\n");
  EXPECT_EQ(make_trace_response(parsed.head(), false, "X-Extra: 1\r\n", "D"),
            "HTTP/1.1 200 OK\r\nContent-Type: message/http\r\nContent-Length: 62\r\nDate: D\r\n"
            "Connection: close\r\nX-Extra: 1\r\n\r\n"
            "TRACE /x?y HTTP/1.1\r\nHost: a\r\nX-Seen: yes\r\nMax-Forwards: 0\r\n\r\n");
}

TEST(OptionsResponse, Rfc9110_9_3_7_HasNoContent) {
  EXPECT_EQ(make_options_response(true, "", ""), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

}  // namespace
}  // namespace lb::http
