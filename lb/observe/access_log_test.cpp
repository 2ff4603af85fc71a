#include "lb/observe/access_log.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>

#include "lb/observe/line_format.hpp"

namespace lb {
namespace {

AccessRecord record() {
  return {.unix_time_us = 1'795'428'000'123'456,  // 2026-11-23T10:00:00.123456Z
          .client_ip = "127.0.0.1",
          .client_port = 5000,
          .method = "GET",
          .target = "/x",
          .status = 200,
          .response_body_bytes = 128,
          .request_body_bytes = 7,
          .duration_us = 1234,
          .backend = "b1",
          .generation = 3,
          .retries = 0,
          .outcome = "ok"};
}

std::string line(LogFormat format, const AccessRecord& r) {
  std::string out;
  append_access_line(out, format, r);
  return out;
}

TEST(AccessLog, Text) {
  EXPECT_EQ(line(LogFormat::text, record()),
            "127.0.0.1:5000 [2026-11-23T10:00:00.123456Z] \"GET /x\" 200 128 1.234ms backend=b1 gen=3 ok\n");
}

TEST(AccessLog, TextOfAnIpv6ClientAndRetries) {
  AccessRecord r = record();
  r.client_ip = "2001:db8::1";
  r.retries = 2;
  r.outcome = "upstream_closed";
  EXPECT_EQ(line(LogFormat::text, r),
            "[2001:db8::1]:5000 [2026-11-23T10:00:00.123456Z] \"GET /x\" 200 128 1.234ms backend=b1 gen=3 "
            "retries=2 upstream_closed\n");
}

TEST(AccessLog, TextOfARequestThatWasNotUnderstood) {
  const AccessRecord r{
      .unix_time_us = 0, .status = 400, .duration_us = 9, .generation = 1, .outcome = "rejected"};
  EXPECT_EQ(line(LogFormat::text, r),
            "-:0 [1970-01-01T00:00:00.000000Z] \"- -\" 400 0 0.009ms backend=- gen=1 rejected\n");
}

TEST(AccessLog, Json) {
  EXPECT_EQ(line(LogFormat::json, record()),
            "{\"time\":\"2026-11-23T10:00:00.123456Z\",\"client_ip\":\"127.0.0.1\",\"client_port\":5000,"
            "\"method\":\"GET\",\"target\":\"/x\",\"status\":200,\"response_body_bytes\":128,"
            "\"request_body_bytes\":7,\"duration_us\":1234,\"backend\":\"b1\",\"generation\":3,\"retries\":0,"
            "\"outcome\":\"ok\"}\n");
}

TEST(AccessLog, ALineIsAppended) {
  std::string out = "first\n";
  append_access_line(out, LogFormat::text, record());
  append_access_line(out, LogFormat::json, record());
  EXPECT_EQ(std::ranges::count(out, '\n'), 3);
  EXPECT_TRUE(out.starts_with("first\n127.0.0.1:5000 "));
}

TEST(AccessLog, ARequestCannotForgeALine) {
  AccessRecord r = record();
  r.method = "GE\"T";
  r.target = "/\" 200 0 0.001ms backend=b9 gen=1 ok\n6.6.6.6:1 [2026] \"GET /\\\r\x1b[2J\xff";
  r.backend = "b 1\"";
  r.client_ip = "unix\n";
  r.outcome = "ok ok";
  EXPECT_EQ(line(LogFormat::text, r),
            "unix\\n:5000 [2026-11-23T10:00:00.123456Z] \"GE\\\"T /\\\" 200 0 0.001ms backend=b9 gen=1 "
            "ok\\n6.6.6.6:1 [2026] \\\"GET /\\\\\\r\\x1b[2J\\xff\" 200 128 1.234ms backend=b\\x201\\\" gen=3 "
            "ok\\x20ok\n");
  const std::string json = line(LogFormat::json, r);
  EXPECT_EQ(std::ranges::count(json, '\n'), 1);
  EXPECT_NE(json.find("\"target\":\"/\\\" 200 0 0.001ms backend=b9 gen=1 ok\\n6.6.6.6:1 [2026] \\\"GET "
                      "/\\\\\\r\\u001b[2J\\ufffd\""),
            std::string::npos)
      << json;
}

TEST(AccessLog, Extremes) {
  AccessRecord r = record();
  r.unix_time_us = std::numeric_limits<std::int64_t>::max();
  r.client_port = 65'535;
  r.status = 599;
  r.response_body_bytes = ~std::uint64_t{0};
  r.generation = ~std::uint64_t{0};
  r.duration_us = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(line(LogFormat::text, r),
            "127.0.0.1:65535 [9999-12-31T23:59:59.999999Z] \"GET /x\" 599 18446744073709551615 "
            "9223372036854775.807ms backend=b1 gen=18446744073709551615 ok\n");
  r.duration_us = -5;
  EXPECT_NE(line(LogFormat::text, r).find(" 0.000ms "), std::string::npos) << "a clock that went backward";
}

std::string time_text(std::int64_t unix_time_us, unsigned digits) {
  std::string out;
  append_time(out, unix_time_us, digits);
  return out;
}

TEST(LineFormat, Times) {
  EXPECT_EQ(time_text(0, 3), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(time_text(-1, 6), "1969-12-31T23:59:59.999999Z");
  EXPECT_EQ(time_text(1'709'164'799'999'999, 3), "2024-02-28T23:59:59.999Z");
  EXPECT_EQ(time_text(1'709'251'199'000'000, 6), "2024-02-29T23:59:59.000000Z");
  EXPECT_EQ(time_text(std::numeric_limits<std::int64_t>::min(), 3), "0000-01-01T00:00:00.000Z");
}

TEST(LineFormat, Numbers) {
  std::string out;
  for (const double value : {0.0, 1.5, -0.1, 1e300, 1.0 / 3}) {
    append_number(out, value);
    out.push_back(' ');
  }
  append_number(out, std::numeric_limits<double>::infinity());
  out.push_back(' ');
  append_number(out, std::numeric_limits<double>::quiet_NaN());
  out.push_back(' ');
  append_number(out, std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(out, "0 1.5 -0.1 1e+300 0.3333333333333333 null null -9223372036854775808");
}

}  // namespace
}  // namespace lb
