#include "lb/admin/reload_report.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>

namespace lb {
namespace {

constexpr const char* kApplied =
    R"({"ok":true,"applied":true,"rollback":false,"from":6,"generation":7,"config":"0123456789abcdef",
  "duration_ms":11.8,"phases_ms":{"load":4.1,"compare":0.2,"listen":0.3,"warm":2.0},"warnings":["backend b9: refused"],"reason":"",
  "changes":[{"kind":"added","path":"/backends/b3","before":null,"after":{},"words":"backend b3 added: 127.0.0.1:9003, weight 2"},
             {"kind":"changed","path":"/drain_timeout","before":30,"after":10,"words":"drain_timeout: 30 -> 10"}],"changes_total":3,
  "time":1700000000,"number":12,"cause":"control","whole":true,
  "times_ms":{"asked":0.0,"spawned":0.5,"loaded":7.0,"ready":11.0,"switched":12.3,"probed":13.0,"drained":30.1,"gone":31.0},
  "probes":[{"listener":"127.0.0.1:8080","ok":true,"us":210,"error":""},{"listener":"[::1]:8080","ok":false,"us":0,"error":"refused"}],
  "drain":{"generation":6,"state":"gone","process":"exit status 0","at_switch":{"connections":64,"tunnels":2,"requests":5},
           "accepted":1000,"adopted":7,"connections":64,"came":0,"moved":57,
           "moved_by_kind":{"idle":50,"after_exchange":3,"upgrade_tunnels":2,"tcp_tunnels":2,"upstreams":9,"refused":0,"came_back":0},
           "closed_removed":1,"ended":4,"closed_idle":1,"force_closed":2,
           "forced":[{"client":"10.0.0.1","listener":"0.0.0.0:80","backend":"b1","kind":"tcp","age_ms":31000}],
           "requests_completed":3,"duration_ms":17},
  "kernel":{"before":{},"grown":{"listen_overflows":0,"listen_drops":0,"abort_on_data":1,"abort_failed":null,"resets_sent":2}}})";

class ReloadReport : public ::testing::Test {
 protected:
  void SetUp() override {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
  }
};

TEST_F(ReloadReport, OfAnAppliedReload) {
  const std::string text = reload_report(OrderedJson::parse(kApplied), {});
  EXPECT_EQ(
      text,
      R"(reload 12  applied, asked by control, generation 6 -> 7, config 0123456789abcdef  2023-11-14 22:13:20
|- warnings   backend b9: refused
|- changed    + backend b3 added: 127.0.0.1:9003, weight 2
|             ~ drain_timeout: 30 -> 10
|             ... and 1 more
|- took       12.3 ms: waited 0.5, loaded 6.5, ready 4.0, switched 1.3
|             of these, in the new generation: load 4.1, compare 0.2, listen 0.3, warm 2.0
|- probe      127.0.0.1:8080 ok in 0.2 ms
|             [::1]:8080 failed: refused
|- drain      generation 6 had 64 connections, 5 requests under way, 2 tunnels of these
|             57 moved, 4 ended, 1 closed idle, 2 cut, 1 closed with their backend; 3 requests completed
|             moved: 50 idle, 3 behind their request, 2 upgraded tunnels, 2 TCP tunnels, 9 connections to backends beside these
|             cut 10.0.0.1 -> 0.0.0.0:80 -> b1, tcp, 31.00 s old
|             ... and 1 more
|             over after 17.8 ms, process gone after 18.7 ms
`- kernel     no listen overflows, no listen drops; 1 abort on data, 2 resets sent (of all programs in this network namespace)
)");
}

TEST_F(ReloadReport, OfOneThatStillDrainsOrWasRejected) {
  EXPECT_EQ(
      reload_report(OrderedJson::parse(
                        R"({"applied":true,"from":1,"generation":2,"config":"abc","number":1,"cause":"signal",
                                  "changes_total":0,"drain":{"generation":1,"state":"draining","process":"",
                                  "at_switch":{"connections":1,"tunnels":0,"requests":0}}})"),
                    {}),
      "reload 1  applied, asked by signal, generation 1 -> 2, config abc  -\n"
      "|- changed    nothing\n"
      "`- drain      generation 1 had 1 connection\n"
      "              still drains\n");
  EXPECT_EQ(
      reload_report(OrderedJson::parse(
                        R"({"applied":false,"from":1,"generation":2,"config":"","number":3,"cause":"watch",
                                  "reason":"lb.json:1:1: /x: no\nlb.json:2:1: /y: no","drain":null})"),
                    {}),
      "reload 3  rejected, asked by watch, generation 1 serves on  -\n"
      "`- reason     lb.json:1:1: /x: no\n"
      "              lb.json:2:1: /y: no\n");
}

TEST_F(ReloadReport, ColoursAreOnlyAddedOnDemand) {
  const OrderedJson record = OrderedJson::parse(kApplied);
  EXPECT_EQ(reload_report(record, {}).find('\x1b'), std::string::npos);
  std::string coloured = reload_report(record, {.colour = true});
  EXPECT_NE(coloured.find("\x1b[32mapplied\x1b[0m"), std::string::npos);
  for (std::size_t at = 0; (at = coloured.find('\x1b')) != std::string::npos;)
    coloured.erase(at, coloured.find('m', at) - at + 1);
  EXPECT_EQ(coloured, reload_report(record, {}));
}

TEST_F(ReloadReport, TheTableHasALineEach) {
  const std::string answer =
      std::string{R"({"ok":true,"reloads":[)"} + kApplied +
      R"x(,{"applied":false,"from":6,"generation":0,"number":11,"cause":"watch","duration_ms":2.5,
                                 "reason":"lb.json:1:1: /x: no\nlb.json:2:1: /y: no","time":1700000000},
                                {"applied":true,"from":5,"generation":6,"number":10,"cause":"signal","duration_ms":1234,
                                 "changes_total":1,"time":1700000000,"drain":{"generation":5,"state":"draining"}},
                                {"applied":true,"from":4,"generation":5,"number":9,"cause":"signal","duration_ms":4,
                                 "changes_total":1,"time":1700000000,"drain":{"generation":4,"state":"gone",
                                 "process":"killed by signal 9 (Killed)"}}]})x";
  EXPECT_EQ(
      reloads_table(answer, {}),
      "reload  time                 asked by  generation        took  changes    moved    ended  closed    "
      "cut  drained in\n"
      "    12  2023-11-14 22:13:20  control   6 -> 7         11.8 ms        3       57        4       1      "
      "2     17.8 ms\n"
      "    11  2023-11-14 22:13:20  watch     6               2.5 ms  rejected: lb.json:1:1: /x: no ...\n"
      "    10  2023-11-14 22:13:20  signal    5 -> 6          1.23 s        1  still drains\n"
      "     9  2023-11-14 22:13:20  signal    4 -> 5          4.0 ms        1  died: killed by signal 9 "
      "(Killed)\n");
  EXPECT_EQ(reloads_table(R"({"ok":true,"reloads":[]})", {}), "no reload so far\n");
}

TEST_F(ReloadReport, SurvivesOtherVersionsAndNonsense) {
  for (const char* line :
       {"", "x", "[]", R"({"ok":true})", R"({"ok":false,"error":"no"})", R"({"ok":true,"reloads":[7]})",
        R"({"ok":true,"reloads":{}})", R"({"ok":true,"reloads":[{"drain":[],"times_ms":7,"kernel":0}]})",
        R"({"ok":true,"reloads":[{"number":"\u001b","changes":[1,{}],"probes":[null],"warnings":[3],
                               "time":99999999999999999,"drain":{"moved":-1,"forced":[1]}}]})"}) {
    EXPECT_FALSE(reloads_table(line, {}).empty()) << line;
    std::string error;
    EXPECT_FALSE(reload_report(one_reload(line, error), {}).empty()) << line;
  }
}

TEST_F(ReloadReport, OneReloadOrWhyNot) {
  std::string error;
  EXPECT_EQ(one_reload(R"({"ok":true,"reloads":[{"number":4}]})", error)["number"], 4);
  EXPECT_EQ(error, "");
  EXPECT_TRUE(one_reload(R"({"ok":false,"error":"reload 9 is not remembered"})", error).is_null());
  EXPECT_EQ(error, "reload 9 is not remembered");
  EXPECT_TRUE(one_reload(R"({"ok":true,"reloads":[]})", error).is_null());
  EXPECT_EQ(error, "the answer names no reload");
}

}  // namespace
}  // namespace lb
