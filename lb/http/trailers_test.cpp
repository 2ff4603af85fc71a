#include "lb/http/trailers.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "lb/http/chunked.hpp"

namespace lb::http {
namespace {

TEST(Trailers, Rfc9110_6_5_1_WhatARecipientMightActOnGoesNoFurther) {
  for (const std::string_view name : {"Content-Length",
                                      "transfer-encoding",
                                      "HOST",
                                      "Connection",
                                      "TE",
                                      "Trailer",
                                      "Authorization",
                                      "Cookie",
                                      "Set-Cookie",
                                      "Proxy-Authorization",
                                      "Proxy-Anything",
                                      "X-Forwarded-For",
                                      "X_Forwarded_For",
                                      "Content_Length",
                                      "If-Match",
                                      "Content-Type",
                                      "Age",
                                      "Date",
                                      "Content-Security-Policy",
                                      "Via",
                                      "Strict-Transport-Security",
                                      "Strict_Transport-Security"}) {
    EXPECT_FALSE(may_be_trailer(name)) << name;
  }
  for (const std::string_view name : {"X-Sum", "Digest", "Server-Timing", "grpc-status", "x_y", "H",
                                      "Content-Lengt", "Content-Length2", "Strict-Transport-Security2"}) {
    EXPECT_TRUE(may_be_trailer(name)) << name;
  }
}

TEST(Trailers, TheOthersStayAsTheyCame) {
  const auto left = [](std::string section) { return std::string(forwardable_trailers(section)); };
  EXPECT_EQ(left("\r\n"), "");
  EXPECT_EQ(left("X: 1\r\n\r\n"), "X: 1\r\n");
  EXPECT_EQ(left("Host: a\r\n\r\n"), "");
  EXPECT_EQ(left("Host: a\r\nX:1\r\nCookie: b\r\nY: \r\n\r\n"), "X:1\r\nY: \r\n");
  EXPECT_EQ(left("X: Host: a\r\nContent-Length: 5\r\n\r\n"), "X: Host: a\r\n");
}

TEST(Trailers, TheDecoderGivesTheSectionWhereverItIsCut) {
  constexpr std::string_view kBody = "3\r\nabc\r\n0;x=y\r\nA: 1\r\nB:\r\n\r\nGET /";
  constexpr std::string_view kSection = "A: 1\r\nB:\r\n\r\n";
  for (std::size_t cut = 1; cut < kBody.size(); ++cut) {
    ChunkDecoder decoder;
    std::string section;
    std::size_t consumed = 0;
    bool done = false;
    for (std::string_view rest : {kBody.substr(0, cut), kBody.substr(cut)}) {
      while (!rest.empty() && !done) {
        const ChunkDecoder::Step step = decoder.step(rest);
        ASSERT_FALSE(step.failed);
        section += step.trailer;
        consumed += step.consumed;
        done = step.done;
        rest.remove_prefix(step.consumed);
      }
    }
    EXPECT_TRUE(done);
    EXPECT_EQ(section, kSection) << "cut at " << cut;
    EXPECT_EQ(consumed, kBody.size() - 5) << "cut at " << cut;
  }
}

}  // namespace
}  // namespace lb::http
