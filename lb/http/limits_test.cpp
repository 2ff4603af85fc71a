// Each limit of a head at max-1, max and max+1, and what is reported before the head is complete.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "lb/http/http_testing.hpp"
#include "lb/http/message.hpp"
#include "lb/http/parser.hpp"

namespace lb::http {
namespace {

using testing::RequestJudge;
using testing::ResponseJudge;
using testing::Verdict;

std::string request_with_head_bytes(std::size_t size) {
  std::string bytes = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
  return bytes.append(size - bytes.size() - 4, 'x').append("\r\n\r\n");
}

TEST(HeadLimits, HeadBytes) {
  for (const std::uint32_t max : {64u, 300u, 1000u}) {
    for (const std::size_t size : {max - 1, max, max + 1}) {
      RequestJudge judge;
      judge.limits.head_bytes_max = max;
      const std::string bytes = request_with_head_bytes(size);
      ASSERT_EQ(bytes.size(), size);
      const Verdict verdict = testing::judge_at_every_cut(judge, bytes);
      EXPECT_EQ(verdict.status, size <= max ? Verdict::kAccepted : 431) << size << " of " << max;
      judge.scanner.reset();
      EXPECT_EQ(judge(bytes + "and a body").status, verdict.status) << "body bytes do not count";
    }
  }
}

TEST(HeadLimits, TheEmptyLineBeforeTheRequestCounts) {
  RequestJudge judge;
  judge.limits.head_bytes_max = 64;
  EXPECT_EQ(testing::judge_at_every_cut(judge, "\r\n" + request_with_head_bytes(62)).status,
            Verdict::kAccepted);
  EXPECT_EQ(testing::judge_at_every_cut(judge, "\r\n" + request_with_head_bytes(63)).status, 431);
}

TEST(HeadLimits, AnOverlongHeadIsRefusedAsSoonAsItIs) {
  RequestJudge judge;
  judge.limits.head_bytes_max = 1000;
  const std::string bytes = request_with_head_bytes(5000);
  for (std::size_t size = 0; size < 1000; ++size) {
    ASSERT_EQ(judge(std::string_view(bytes).substr(0, size)).status, Verdict::kIncomplete) << size;
  }
  EXPECT_EQ(judge(std::string_view(bytes).substr(0, 1000)).status, 431);
}

TEST(HeadLimits, RequestLineBytes) {
  for (const std::uint32_t max : {20u, 400u}) {
    for (const std::size_t size : {max - 1, max, max + 1, max + 2, max + 3, 4 * max}) {
      for (const std::string_view before : {"", "\r\n"}) {
        std::string bytes = "GET /";
        bytes.append(size - 14, 'x').append(" HTTP/1.1\r\nHost: a\r\n\r\n").insert(0, before);
        RequestJudge judge;
        judge.limits.request_line_bytes_max = max;
        EXPECT_EQ(testing::judge_at_every_cut(judge, bytes).status, size <= max ? Verdict::kAccepted : 414)
            << size << " of " << max;
      }
    }
  }
}

TEST(HeadLimits, AnOverlongRequestLineIsRefusedAsSoonAsItIs) {
  RequestJudge judge;
  judge.limits.request_line_bytes_max = 700;
  const std::string bytes = "GET /" + std::string(5000, 'x');
  for (std::size_t size = 0; size <= 700; ++size) {
    ASSERT_EQ(judge(std::string_view(bytes).substr(0, size)).status, Verdict::kIncomplete) << size;
  }
  EXPECT_EQ(judge(std::string_view(bytes).substr(0, 701)).status, 414);
}

TEST(HeadLimits, AnOverlongLineComesBeforeWhatIsWrongBehindTheLimit) {
  RequestJudge judge;
  judge.limits.request_line_bytes_max = 100;
  const std::string start = "GET /" + std::string(200, 'x');
  EXPECT_EQ(testing::judge_at_every_cut(judge, start + "\x01 HTTP/1.1\r\n\r\n").status, 414);
  EXPECT_EQ(testing::judge_at_every_cut(judge, start + "\n").status, 414);
  EXPECT_EQ(testing::judge_at_every_cut(judge, start).status, 414);
}

TEST(HeadLimits, MethodBytes) {
  for (const std::size_t size : {63u, 64u, 65u}) {
    RequestJudge judge;
    const std::string bytes = std::string(size, 'M') + " / HTTP/1.1\r\nHost: a\r\n\r\n";
    EXPECT_EQ(testing::judge_at_every_cut(judge, bytes).status, size <= 64 ? Verdict::kAccepted : 501)
        << size;
  }
  RequestJudge judge;
  EXPECT_EQ(judge(std::string(65, 'M')).status, 501);
}

TEST(HeadLimits, FieldCount) {
  for (const std::uint32_t max : {2u, 100u, kFieldCountMax, 1000u}) {
    const std::uint32_t effective = std::min(max, kFieldCountMax);
    for (const std::uint32_t count : {effective - 1, effective, effective + 1}) {
      std::string bytes = "GET / HTTP/1.1\r\nHost: a\r\n";
      for (std::uint32_t i = 1; i < count; ++i) bytes += "X: y\r\n";
      bytes += "\r\n";
      RequestJudge judge;
      judge.limits.field_count_max = max;
      EXPECT_EQ(testing::judge_at_every_cut(judge, bytes).status,
                count <= effective ? Verdict::kAccepted : 431)
          << count << " of " << max;
    }
  }
}

TEST(HeadLimits, OfResponsesAre502) {
  for (const std::size_t size : {299u, 300u, 301u}) {
    ResponseJudge judge;
    judge.limits.head_bytes_max = 300;
    std::string bytes = "HTTP/1.1 200 OK\r\nX: ";
    bytes.append(size - bytes.size() - 4, 'x').append("\r\n\r\n");
    EXPECT_EQ(testing::judge_at_every_cut(judge, bytes).status, size <= 300 ? Verdict::kAccepted : 502)
        << size;
  }
  for (const std::size_t count : {2u, 3u, 4u}) {
    ResponseJudge judge;
    judge.limits.field_count_max = 3;
    std::string bytes = "HTTP/1.1 200 OK\r\n";
    for (std::size_t i = 0; i < count; ++i) bytes += "X: y\r\n";
    bytes += "\r\n";
    EXPECT_EQ(testing::judge_at_every_cut(judge, bytes).status, count <= 3 ? Verdict::kAccepted : 502)
        << count;
  }
}

TEST(EarlyError, ControlCharactersAtOnceHoweverLongTheHead) {
  for (const std::string_view bad : {"\n", "\r ", "\x01", "\x7f", "\v"}) {
    RequestJudge judge;
    std::string bytes = "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(3000, 'x');
    EXPECT_EQ(judge(bytes).status, Verdict::kIncomplete);
    for (int i = 0; i < 10; ++i) {
      bytes += 'x';
      ASSERT_EQ(judge(bytes).status, Verdict::kIncomplete);
    }
    bytes += bad;
    EXPECT_EQ(judge(bytes).status, 400) << testing::readable(bad);
  }
}

TEST(EarlyError, ShortHeadsAreJudgedAtEachByte) {
  struct {
    std::string_view bytes;
    std::size_t known_after;  // bytes
  } const cases[] = {
      {"GE(T / HTTP/1.1\r\n\r\n", 3},
      {"GET  / HTTP/1.1\r\n\r\n", 5},
      {"GET /\x01 HTTP/1.1\r\n\r\n", 6},
      {"GET / HTTP/2.0\r\n\r\n", 14},
      {"GET / FTP/1.1\r\n\r\n", 7},
      {"GET / HTTP/1.1x\r\n\r\n", 15},
      {"GET / HTTP/1.1\r\nX : a\r\n\r\n", 18},
      {"GET / HTTP/1.1\r\n X", 17},
      {"GET / HTTP/1.1\r\n: a\r\n\r\n", 17},
      {"GET / HTTP/1.1\r\nX\r\n\r\n", 19},
      {"GET a HTTP/1.1\r\n", 16},
  };
  for (const auto& c : cases) {
    RequestJudge judge;
    for (std::size_t size = 0; size < c.known_after; ++size) {
      EXPECT_EQ(judge(c.bytes.substr(0, size)).status, Verdict::kIncomplete)
          << testing::readable(c.bytes) << size;
    }
    EXPECT_GE(judge(c.bytes.substr(0, c.known_after)).status, 400) << testing::readable(c.bytes);
  }
}

// A head that comes byte by byte is not parsed from its beginning for each byte: 32 KiB of it would be half
// a billion byte visits. The count of full attempts is what parse_again_at lets happen.
TEST(HeadScanner, ByteByByteIsLinear) {
  RequestJudge judge;
  std::string bytes = "GET / HTTP/1.1\r\nHost: a\r\n";
  while (bytes.size() < 30'000)
    bytes += "X-" + std::to_string(bytes.size()) + ": " + std::string(500, 'v') + "\r\n";
  bytes += "\r\n";
  std::uint32_t attempts = 0;
  std::uint32_t again = 0;
  for (std::size_t size = 1; size < bytes.size(); ++size) {
    ASSERT_EQ(judge(std::string_view(bytes).substr(0, size)).status, Verdict::kIncomplete) << size;
    if (judge.scanner.parse_again_at != again) ++attempts;
    again = judge.scanner.parse_again_at;
  }
  EXPECT_EQ(judge(bytes).status, Verdict::kAccepted);
  EXPECT_LT(attempts, 256u + 16u);
}

}  // namespace
}  // namespace lb::http
