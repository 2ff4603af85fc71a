#include <gtest/gtest.h>

#include <string>

#include "lb/http/http_testing.hpp"
#include "lb/http/writer.hpp"

namespace lb::http {
namespace {

TEST(MakeResponse, Golden) {
  EXPECT_EQ(make_response(503, "no backend is up", true, Method::get, 0, ""),
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 42\r\n\r\n"
            "503 Service Unavailable: no backend is up\n");
  EXPECT_EQ(
      make_response(429, "slow down", false, Method::post, 7, "X: y\r\n"),
      "HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\nContent-Length: 33\r\nRetry-After: 7\r\n"
      "Connection: close\r\nX: y\r\n\r\n429 Too Many Requests: slow down\n");
  EXPECT_EQ(make_response(400, "", false, Method::other, 0, ""),
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 16\r\nConnection: "
            "close\r\n\r\n"
            "400 Bad Request\n");
}

TEST(MakeResponse, HeadHasTheLengthAndNoBody) {  // RFC 9110 9.3.2
  const std::string get = make_response(502, "x", true, Method::get, 0, "");
  const std::string head = make_response(502, "x", true, Method::head, 0, "");
  EXPECT_EQ(head + "502 Bad Gateway: x\n", get);
}

TEST(MakeResponse, StatusesWithoutContent) {  // RFC 9110 8.6
  EXPECT_EQ(make_response(204, "x", true, Method::get, 0, ""), "HTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(make_response(100, "", true, Method::get, 0, ""), "HTTP/1.1 100 Continue\r\n\r\n");
}

TEST(MakeResponse, IsReadBackAsOneWholeResponse) {
  for (std::uint16_t status = 200; status < 600; ++status) {
    const std::string bytes = make_response(status, "detail", status % 2 == 0, Method::get, status % 5, "");
    testing::ResponseJudge judge;
    const testing::Verdict verdict = judge(bytes);
    ASSERT_EQ(verdict.status, testing::Verdict::kAccepted) << verdict;
    EXPECT_EQ(verdict.head_bytes + verdict.framing.length, bytes.size());
    EXPECT_EQ(judge.head->status, status);
    EXPECT_EQ(judge.head->reason, reason_phrase(status));
  }
}

TEST(ReasonPhrase, KnownAndUnknown) {
  EXPECT_EQ(reason_phrase(200), "OK");
  EXPECT_EQ(reason_phrase(431), "Request Header Fields Too Large");
  EXPECT_EQ(reason_phrase(504), "Gateway Timeout");
  EXPECT_EQ(reason_phrase(299), "Unknown");
  EXPECT_EQ(reason_phrase(0), "Unknown");
}

}  // namespace
}  // namespace lb::http
