#include "lb/health/check_answer.hpp"

#include <gtest/gtest.h>

#include <string>

namespace lb {
namespace {

using Verdict = CheckAnswer::Verdict;

/// The verdict on an answer as "passed", "pending" or the reason of the failure; the same in one piece and
/// byte by byte. `eof`: then the backend closes.
std::string judged(const HealthCheckConfig& check, const std::string& answer, bool eof = false) {
  const CheckRules rules{check};
  std::string results[2];
  for (const bool whole : {true, false}) {
    CheckAnswer judge{rules};
    Verdict verdict = judge.request_sent();
    for (std::size_t i = 0; i < answer.size() && verdict == Verdict::pending;) {
      const std::size_t n = whole ? answer.size() : 1;
      verdict = judge.feed(std::string_view{answer}.substr(i, n));
      i += n;
    }
    if (verdict == Verdict::pending && eof) verdict = judge.feed_eof();
    results[whole ? 0 : 1] = verdict == Verdict::passed    ? "passed"
                             : verdict == Verdict::pending ? "pending"
                                                           : judge.reason();
  }
  EXPECT_EQ(results[0], results[1]) << answer.substr(0, 200);
  return results[0];
}

HealthCheckConfig http(std::string body = {}) {
  HealthCheckConfig check;
  check.expect_body = std::move(body);
  return check;
}

TEST(CheckAnswer, TheStatusDecides) {
  EXPECT_EQ(judged(http(), "HTTP/1.1 200 OK\r\n\r\n"), "passed") << "the body is not waited for";
  EXPECT_EQ(judged(http(), "HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"), "passed");
  EXPECT_EQ(judged(http(), "HTTP/1.1 503 No\r\n\r\n"), "status 503, expected 200-399");
  EXPECT_EQ(judged(http(), "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"), "passed");
  EXPECT_EQ(judged(http(), "HTTP/1.1 200 OK\r\n"), "pending");
  HealthCheckConfig strict;
  strict.expect_status = "204,404";
  EXPECT_EQ(judged(strict, "HTTP/1.1 404 Not Found\r\n\r\n"), "passed");
  EXPECT_EQ(judged(strict, "HTTP/1.1 200 OK\r\n\r\n"), "status 200, expected 204,404");
}

TEST(CheckAnswer, WhatIsNoAnswerFails) {
  EXPECT_EQ(judged(http(), "", true), "the connection was closed without an answer");
  EXPECT_EQ(judged(http(), "HTTP/1.1 200", true), "the answer was cut short");
  EXPECT_TRUE(judged(http(), "SSH-2.0-OpenSSH_9.2\r\n").starts_with("a malformed answer: "));
  std::string interim;
  for (std::size_t i = 0; i <= kCheckInterimMax; ++i) interim += "HTTP/1.1 103 Early\r\n\r\n";
  EXPECT_EQ(judged(http(), interim), "too many interim answers");
  EXPECT_TRUE(judged(http(), "HTTP/1.1 200 OK\r\nX: " + std::string(kCheckBytesMax, 'a'))
                  .starts_with("a malformed answer: "))
      << "an endless head";
}

TEST(CheckAnswer, TheBodyMustContainWhatIsExpected) {
  const std::string head = "HTTP/1.1 200 OK\r\n";
  EXPECT_EQ(judged(http("all well"), head + "Content-Length: 100\r\n\r\nxx all well"), "passed")
      << "the rest is not waited for";
  EXPECT_EQ(judged(http("all well"), head + "Content-Length: 8\r\n\r\nall illx"),
            "the answer does not contain \"all well\"");
  EXPECT_EQ(judged(http("ok"), head + "Content-Length: 1\r\n\r\nok"), "the answer does not contain \"ok\"")
      << "what stands behind the body is not the body";
  EXPECT_EQ(judged(http("abcd"), head + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"),
            "passed")
      << "framing is no part of it";
  EXPECT_EQ(judged(http("zz"), head + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
            "the answer does not contain \"zz\"");
  EXPECT_TRUE(judged(http("zz"), head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n")
                  .starts_with("a malformed answer: "));
  EXPECT_EQ(judged(http("end"), head + "\r\nto the end", true), "passed");
  EXPECT_EQ(judged(http("ok"), head + "\r\nto the e"), "pending");
  EXPECT_EQ(judged(http("ok"), head + "\r\nto the end", true), "the answer does not contain \"ok\"");
  EXPECT_EQ(judged(http("ok"), "HTTP/1.1 204 None\r\n\r\n"), "the answer does not contain \"ok\"");
  EXPECT_EQ(judged(http("ok"), "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nok"),
            "status 500, expected 200-399");
}

TEST(CheckAnswer, AnAnswerWithoutEndIsReadUpToTheLimit) {
  const std::string head = "HTTP/1.1 200 OK\r\n\r\n";
  const std::string filler(kCheckBytesMax - 2, 'x');
  EXPECT_EQ(judged(http("ok"), head + filler + "ok"), "passed");
  EXPECT_EQ(judged(http("ok"), head + filler + "x" + "ok"), "the answer does not contain \"ok\"");
  EXPECT_EQ(judged(http("ok"), head + filler), "pending");
}

TEST(CheckAnswer, TcpChecks) {
  HealthCheckConfig connect;
  connect.type = HealthCheckType::tcp;
  EXPECT_EQ(judged(connect, ""), "passed");
  HealthCheckConfig ping = connect;
  ping.send = "PING\r\n";
  EXPECT_EQ(judged(ping, ""), "passed") << "sent, and nothing expected";
  ping.expect = "PONG";
  EXPECT_EQ(judged(ping, ""), "pending");
  EXPECT_EQ(judged(ping, "+PONG\r\n"), "passed");
  EXPECT_EQ(judged(ping, "-ERR\r\n"), "pending");
  EXPECT_EQ(judged(ping, "-ERR\r\n", true), "the answer does not contain \"PONG\"");
  EXPECT_EQ(judged(ping, "", true), "the connection was closed without an answer");
  EXPECT_EQ(judged(ping, std::string(kCheckBytesMax, 'x')), "the answer does not contain \"PONG\"");
}

TEST(CheckRequest, SaysWhatIsConfigured) {
  HealthCheckConfig check;
  check.path = "/health?full";
  EXPECT_EQ(
      check_request(check, "127.0.0.1:80"),
      "GET /health?full HTTP/1.1\r\nHost: 127.0.0.1:80\r\nUser-Agent: lb-health-check\r\nAccept: */*\r\n"
      "Connection: close\r\n\r\n");
  check.host = "app.example.org";
  check.method = HealthCheckMethod::head;
  EXPECT_TRUE(
      check_request(check, "b").starts_with("HEAD /health?full HTTP/1.1\r\nHost: app.example.org\r\n"));
  check.type = HealthCheckType::tcp;
  check.send = "PING\r\n";
  EXPECT_EQ(check_request(check, "b"), "PING\r\n");
}

}  // namespace
}  // namespace lb
