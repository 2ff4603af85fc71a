// Long-lived kinds and TLS against the fake backends and the faulty balancer.
#include "harness/traffic/report.hpp"
#include "harness/traffic/rig_for_test.hpp"

namespace lb::traffic {
namespace {

constexpr const char* kPace =
    R"("interval_ms":[2,10],"message":[1,300],"peer_interval_ms":[2,10],"peer_message":[1,300])";

std::string long_lived(const std::string& more = "") {
  const std::string pace = kPace + more;
  return R"({"ramp_ms":10,"defaults":{"timeout_ms":2000},"streams":[
    {"kind":"idle","clients":20,"think_ms":[1,30]},
    {"kind":"websocket","clients":6,"params":{)" +
         pace + R"(}},{"kind":"tcp_tunnel","clients":6,"params":{)" + pace +
         R"(}},{"kind":"events","clients":6,"params":{)" + pace +
         R"(}},{"kind":"long_upload","clients":4,"params":{"bytes_per_s":20000}}]})";
}

/// Reloads three times, backends unchanged.
std::vector<Mark> reloads(Rig& rig) {
  std::vector<Mark> marks;
  for (int i = 0; i < 3; ++i) {
    Mark mark;
    mark.name = "reload " + std::to_string(i + 1);
    mark.t_request = now_ns();
    must(rig.balancer->reload(rig.list(3), now_ns()));
    mark.t_answer = now_ns();
    mark.window_end = mark.t_answer + 100 * kMilli;
    marks.push_back(mark);
    rig.run_for(150 * kMilli);
  }
  return marks;
}

TEST(LongLived, RightBalancerIsCrossedWithoutLoss) {
  Rig rig(3);
  rig.put_balancer(Control::none, 100 * kMilli);
  rig.put_traffic(long_lived());
  rig.run_for(150 * kMilli);
  const auto judged = rig.judge(reloads(rig));
  EXPECT_EQ(judged->verdict(), Verdict::zero_drops) << report_text(*judged);
  const StreamCounters& websockets = rig.traffic->counters()[1];
  EXPECT_EQ(websockets.ok, 6U);
  EXPECT_GT(websockets.messages_sent, 100U);
  EXPECT_GT(websockets.messages_received, 100U);
  const std::string report = report_json(*judged, {});
  EXPECT_NE(report.find(R"("websocket":{"closed_idle":0,"crossed":6,"cut":0,"told_to_leave":0})"),
            report.npos);
}

TEST(LongLived, FiniteLivesEndByThemselves) {
  Rig rig;
  rig.put_traffic(long_lived(R"(,"lifetime_ms":[50,100])"));
  rig.run_for(500 * kMilli);
  const auto judged = rig.judge();
  EXPECT_EQ(judged->verdict(), Verdict::zero_drops) << report_text(*judged);
  for (std::size_t i = 1; i <= 3; ++i) EXPECT_GT(rig.traffic->counters()[i].ok, 12U) << i;
}

struct Spoiler {
  Control control;
  Outcome outcome;
};

void PrintTo(const Spoiler& c, std::ostream* out) {
  *out << name_of(c.control);
}

class Spoilt : public testing::TestWithParam<Spoiler> {};

TEST_P(Spoilt, IsFoundOut) {
  Rig rig(3);
  rig.put_balancer(GetParam().control, 100 * kMilli);
  rig.put_traffic(long_lived());
  rig.run_for(150 * kMilli);
  const auto judged = rig.judge(reloads(rig));
  EXPECT_EQ(judged->verdict(), Verdict::drops);
  EXPECT_GT(judged->count(GetParam().outcome), 0U) << report_text(*judged);
}

INSTANTIATE_TEST_SUITE_P(Controls, Spoilt,
                         testing::Values(Spoiler{Control::kill_tunnel, Outcome::truncated},
                                         Spoiler{Control::lose_tunnel, Outcome::wrong_body},
                                         Spoiler{Control::repeat_tunnel, Outcome::wrong_body},
                                         Spoiler{Control::reorder_tunnel, Outcome::wrong_body},
                                         Spoiler{Control::lose_event, Outcome::wrong_body}),
                         [](const auto& tested) { return std::string(name_of(tested.param.control)); });

TEST(LongLived, IdleConnectionsThatAreClosedAreCountedApart) {
  Rig rig(2);
  rig.script(R"({"idle_close_ms":20})");
  rig.put_traffic(R"({"ramp_ms":1,"streams":[{"kind":"idle","clients":5,"think_ms":60}]})");
  rig.run_for(300 * kMilli);
  const auto judged = rig.judge();
  EXPECT_EQ(judged->verdict(), Verdict::zero_drops);
  EXPECT_GE(judged->count(Outcome::closed_idle), 15U);
  EXPECT_EQ(judged->attempts(), judged->count(Outcome::ok));
}

class OverTls : public testing::TestWithParam<const char*> {};

TEST_P(OverTls, EveryKindPasses) {
  Rig rig(2, true);
  const std::string tls =
      R"("tls":{"ca":")" + (rig.folder / "cert.pem") + R"(","resume":)" + GetParam() + "}";
  const std::string pace = std::string(kPace) + "," + tls;
  rig.put_traffic(
      R"({"ramp_ms":10,"defaults":{"timeout_ms":2000},"streams":[{"kind":"new","clients":4,"rate":40,"params":{)" +
      tls + R"(}},{"kind":"keepalive","clients":4,"think_ms":[0,5],"params":{"size":[0,60000],)" + tls +
      R"(}},{"kind":"pipelined","clients":2,"params":{)" + tls +
      R"(}},{"kind":"chunked","clients":2,"params":{)" + tls +
      R"(}},{"kind":"slow_upload","clients":2,"params":{"body":30000,)" + tls +
      R"(}},{"kind":"websocket","clients":3,"params":{)" + pace +
      R"(}},{"kind":"events","clients":3,"params":{)" + pace + R"(}}]})");
  rig.run_for(700 * kMilli);
  const auto judged = rig.judge();
  EXPECT_EQ(judged->verdict(), Verdict::zero_drops) << report_text(*judged);
  const StreamCounters& fresh = rig.traffic->counters()[0];
  EXPECT_GT(fresh.tls_handshakes, 40U);
  const bool resumes = std::string(GetParam()) == "true";
  EXPECT_EQ(fresh.tls_resumed > 0, resumes);
  if (resumes) {
    EXPECT_GT(fresh.tls_resumed, fresh.tls_handshakes / 2) << "all but those that overlap a client's first";
  }
}

INSTANTIATE_TEST_SUITE_P(Resumption, OverTls, testing::Values("false", "true"), [](const auto& tested) {
  return std::string(tested.param[0] == 't' ? "on" : "off");
});

TEST(Tls, WrongCertificateIsNotTaken) {
  Rig rig(1, true);
  const std::string mine = rig.folder / "cert.pem";
  rig.make_certificate();  // another one of the same name: what the backend shows does not lead to it
  rig.put_traffic(R"({"ramp_ms":1,"streams":[{"kind":"new","clients":1,"params":{"tls":{"ca":")" + mine +
                  R"("}}}]})");
  rig.run_until([&] { return rig.done() > 0; });
  const auto judged = rig.judge();
  EXPECT_GT(judged->count(Outcome::malformed), 0U) << report_text(*judged);
  EXPECT_EQ(judged->count(Outcome::ok), 0U);
}

TEST(Tls, MissingFilesAreNamed) {
  EXPECT_FALSE(tls_client_context("/nonexistent.pem"));
  const auto made = tls_server_context("/nonexistent.pem", "/nonexistent.key");
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("/nonexistent.pem"), std::string::npos);
}

}  // namespace
}  // namespace lb::traffic
