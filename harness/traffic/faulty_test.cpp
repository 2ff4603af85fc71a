// The positive controls: each wrong balancer must be found out, and the right one must not.
#include "harness/traffic/rig_for_test.hpp"

namespace lb::traffic {
namespace {

constexpr const char* kSpec = R"({"ramp_ms":10,"defaults":{"timeout_ms":400},"streams":[
  {"kind":"new","clients":4,"rate":250},{"kind":"keepalive","clients":16,"think_ms":[0,4]},{"kind":"race","clients":30},
  {"kind":"pipelined","clients":2,"think_ms":[0,4]},{"kind":"chunked","clients":2,"think_ms":[0,4]},
  {"kind":"slow_download","clients":2,"params":{"size":20000}},{"kind":"upgrade","clients":3,"params":{"lifetime_ms":[100,400]}}]})";

/// Four reloads under load, with backend b3 taken out and put back.
std::unique_ptr<Case> reload_under_load(Rig& rig, Control control) {
  rig.put_balancer(control, 100 * kMilli);
  rig.put_traffic(kSpec);
  rig.run_for(150 * kMilli);
  std::vector<Mark> marks;
  for (int i = 0; i < 4; ++i) {
    const bool remove = i % 2 == 0;
    rig.traffic->fire(-1, now_ns(), 5 * kMilli);
    Mark mark;
    mark.name = "reload " + std::to_string(i + 1);
    mark.t_request = now_ns();
    must(rig.balancer->reload(rig.list(remove ? 2 : 3), now_ns()));
    mark.t_answer = now_ns();
    mark.window_end = mark.t_answer + 150 * kMilli;
    mark.label = std::to_string(rig.balancer->generation());
    (remove ? mark.removed : mark.added).push_back("b3");
    marks.push_back(mark);
    rig.run_for(200 * kMilli);
  }
  return rig.judge(std::move(marks));
}

TEST(Control, RightOneDropsNothing) {
  Rig rig(3);
  const auto judged = reload_under_load(rig, Control::none);
  EXPECT_EQ(judged->verdict(), Verdict::zero_drops);
  EXPECT_EQ(judged->drops(), 0U);
  EXPECT_EQ(judged->removed.requests, 0U);
  EXPECT_EQ(judged->labels.size(), 5U) << "every generation was seen by clients";
  EXPECT_GT(judged->items.size(), 1000U);
}

struct ControlCase {
  Control control;
  Outcome outcome;
  bool exactly;  // each fault committed is one drop, unless the client had given up waiting for the answer
};

void PrintTo(const ControlCase& c, std::ostream* out) {
  *out << name_of(c.control);
}

class WrongOne : public testing::TestWithParam<ControlCase> {};

TEST_P(WrongOne, IsFoundOut) {
  Rig rig(3);
  const auto judged = reload_under_load(rig, GetParam().control);
  EXPECT_EQ(judged->verdict(), Verdict::drops);
  EXPECT_GT(judged->count(GetParam().outcome), 0U);
  if (GetParam().exactly) {
    const std::uint64_t found = judged->count(GetParam().outcome), committed = rig.balancer->faults();
    EXPECT_LE(found, committed);
    EXPECT_GE(found + judged->count(Outcome::timeout), committed);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Controls, WrongOne,
    testing::Values(ControlCase{Control::rebind, Outcome::reset_before_first_byte, false},
                    ControlCase{Control::close_idle, Outcome::reset_before_first_byte, false},
                    ControlCase{Control::truncate, Outcome::truncated, true},
                    ControlCase{Control::answer_502, Outcome::unexpected_status, true},
                    ControlCase{Control::stale_backend, Outcome::removed_backend, false},
                    ControlCase{Control::duplicate, Outcome::duplicated, true},
                    ControlCase{Control::hang, Outcome::timeout, false},
                    ControlCase{Control::wrong_body, Outcome::wrong_body, true},
                    ControlCase{Control::kill_tunnel, Outcome::truncated, false}),
    [](const auto& tested) { return std::string(name_of(tested.param.control)); });

TEST(Control, NamesAndLists) {
  EXPECT_EQ(control_named("rebind"), Control::rebind);
  EXPECT_EQ(control_named("perfect"), std::nullopt);
  EXPECT_EQ(must(parse_address_list(" 127.0.0.1:1,127.0.0.1:2\n127.0.0.1:3 ")).size(), 3U);
  EXPECT_FALSE(parse_address_list(" \n"));
  EXPECT_FALSE(parse_address_list("here"));
}

}  // namespace
}  // namespace lb::traffic
