#include <gtest/gtest.h>

#include "harness/traffic/backend_script.hpp"
#include "harness/traffic/marks.hpp"
#include "harness/traffic/traffic_spec.hpp"

namespace lb::traffic {
namespace {

TEST(TrafficSpec, DefaultsRangesAndKinds) {
  const auto spec = parse_traffic_spec(
      R"({"ramp_ms":5,"defaults":{"timeout_ms":1500,"params":{"delay_ms":[1,2]}},"streams":[
    {"kind":"keepalive","clients":3,"think_ms":[0,2.5]},
    {"kind":"chunked","name":"c","timeout_ms":9,"params":{"size":7}}]})");
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->ramp, 5 * kMilli);
  EXPECT_EQ(spec->streams[0].name, "keepalive");
  EXPECT_EQ(spec->streams[0].clients, 3U);
  EXPECT_EQ(spec->streams[0].think_us, (Range{0, 2500}));
  EXPECT_EQ(spec->streams[0].timeout, 1500 * kMilli);
  EXPECT_EQ(spec->streams[0].delay_ms, (Range{1, 2}));
  EXPECT_EQ(spec->streams[1].timeout, 9 * kMilli);
  EXPECT_TRUE(spec->streams[1].chunked_request);
  EXPECT_EQ(spec->streams[1].size, (Range{7, 7}));
  EXPECT_EQ(spec->streams[1].body, (Range{0, 20'000}));
}

TEST(TrafficSpec, ErrorsNameTheirPlace) {
  const auto message = [](const char* text) {
    const auto spec = parse_traffic_spec(text);
    return spec ? std::string("accepted") : spec.error().message;
  };
  EXPECT_EQ(message("{"), "spec: /: not a JSON object");
  EXPECT_EQ(message(R"({"streams":[]})"), "spec: /streams: expected 1 to 64 streams");
  EXPECT_EQ(message(R"({"streams":[{"kind":"new","clients":0}]})"), "spec: /streams/0/clients: cannot be 0");
  EXPECT_EQ(message(R"({"streams":[{"kind":"new","rat":1}]})"),
            "spec: /streams/0/rat: unknown key (or not one of this kind)");
  EXPECT_EQ(message(R"({"streams":[{"kind":"new","params":{"depth":2}}]})"),
            "spec: /streams/0/params/depth: unknown key (or not one of this kind)");
  EXPECT_EQ(message(R"({"streams":[{"kind":"new"},{"kind":"new"}]})"),
            "spec: /streams/1/name: 'new' is there twice");
  EXPECT_EQ(message(R"({"streams":[{"kind":"new","target":"127.0.0.1:99999"}]})"),
            "spec: /streams/0/target: cannot be \"127.0.0.1:99999\"");
  EXPECT_EQ(message(R"({"streams":[{"kind":"new","params":{"size":[3,1]}}]})"),
            "spec: /streams/0/params/size: cannot be [3,1]");
  EXPECT_EQ(message(R"({"streams":[{"kind":"new","params":{"headers":{"A":"b\r\nc"}}}]})"),
            "spec: /streams/0/params/headers: cannot be {\"A\":\"b\\r\\nc\"}");
}

TEST(TrafficSpec, RangesPickOnlyInside) {
  Random random(1);
  bool low = false;
  bool high = false;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t n = Range{2, 4}.pick(random);
    EXPECT_TRUE(n >= 2 && n <= 4);
    low = low || n == 2;
    high = high || n == 4;
  }
  EXPECT_TRUE(low && high);
  EXPECT_EQ((Range{9, 9}.pick(random)), 9U);
}

TEST(BackendScript, ReadsAndRejects) {
  const auto script = parse_script(R"({"mode":"status","every":3,"headers":{"A":"b"},"delay_ms":1.5})");
  ASSERT_TRUE(script) << script.error().message;
  EXPECT_EQ(script->reply.mode, Mode::status);
  EXPECT_EQ(script->reply.status, 503);
  EXPECT_EQ(script->every, 3U);
  EXPECT_EQ(script->reply.delay, 1'500'000U);
  EXPECT_EQ(script->headers, "A: b\r\n");
  EXPECT_EQ(parse_script(R"({"mode":"nonsense"})").error().message, "script: 'mode' cannot be \"nonsense\"");
  EXPECT_EQ(parse_script(R"({"speed":1})").error().message, "script: unknown key 'speed'");
  EXPECT_FALSE(parse_script("[]"));
  EXPECT_FALSE(parse_script(R"({"headers":{"A":"b\nc"}})"));
}

TEST(BackendScript, QueryOverrides) {
  Reply reply;
  apply_query(reply,
              "/any?size=5&chunked=1&chunk=2&status=204&reset=mid&delay_ms=3&rate=9&nonsense=1&close=1");
  EXPECT_EQ(reply.size, 5U);
  EXPECT_TRUE(reply.chunked);
  EXPECT_EQ(reply.chunk, 2U);
  EXPECT_EQ(reply.status, 204);
  EXPECT_EQ(reply.mode, Mode::reset);
  EXPECT_EQ(reply.at, ResetAt::mid);
  EXPECT_EQ(reply.delay, 3 * kMilli);
  EXPECT_EQ(reply.rate, 9U);
  EXPECT_TRUE(reply.close);
  Reply untouched;
  apply_query(untouched, "/any?size=x&chunk=0&status=7");
  EXPECT_EQ(untouched.size, 128U);
  EXPECT_EQ(untouched.chunk, 4096U);
  EXPECT_EQ(untouched.status, 200);
}

TEST(Marks, WindowsAndNearest) {
  const auto marks = parse_marks(R"([{"name":"b","t_request_ns":200,"t_answer_ns":210,"window_end_ns":300},
    {"t_request_ns":100,"t_answer_ns":110,"window_end_ns":150,"label":7,"extra":1}])");
  ASSERT_TRUE(marks) << marks.error().message;
  ASSERT_EQ(marks->size(), 2U);
  EXPECT_EQ((*marks)[0].label, "7");
  EXPECT_EQ((*marks)[1].name, "b");
  const Windows windows(*marks);
  EXPECT_FALSE(windows.touches(10, 99));
  EXPECT_TRUE(windows.touches(10, 100));
  EXPECT_TRUE(windows.touches(150, 160));
  EXPECT_FALSE(windows.touches(151, 199));
  EXPECT_TRUE(windows.touches(1, 1000));
  EXPECT_FALSE(windows.touches(301, 400));
  EXPECT_EQ(nearest_mark(*marks, 50), 0);
  EXPECT_EQ(nearest_mark(*marks, 199), 0);
  EXPECT_EQ(nearest_mark(*marks, 200), 1);
  EXPECT_EQ(nearest_mark({}, 200), -1);
  EXPECT_FALSE(parse_marks("{}"));
  EXPECT_FALSE(parse_marks(R"([{"t_request_ns":5,"t_answer_ns":4}])"));
}

TEST(Marks, RemovalsEndWhenABackendIsAddedAgain) {
  const auto marks = parse_marks(R"([{"t_request_ns":100,"t_answer_ns":110,"removed":["b2"]},
    {"t_request_ns":150,"t_answer_ns":160,"removed":["b1"],"ok":false},
    {"t_request_ns":200,"t_answer_ns":210,"added":["b2"]}])");
  ASSERT_TRUE(marks);
  const Removals removals(*marks);
  EXPECT_FALSE(removals.forbidden_since("b2", 105, 106)) << "before the answer";
  EXPECT_EQ(removals.forbidden_since("b2", 111, 112), 110U);
  EXPECT_FALSE(removals.forbidden_since("b2", 199, 201))
      << "it may have been chosen by the new configuration";
  EXPECT_FALSE(removals.forbidden_since("b2", 300, 301));
  EXPECT_FALSE(removals.forbidden_since("b1", 170, 171)) << "a rejected reload removes nothing";
}

}  // namespace
}  // namespace lb::traffic
