#include "lb/admin/status_text.hpp"

#include <gtest/gtest.h>

namespace lb {
namespace {

TEST(ReloadText, AppliedAndRejected) {
  auto text = reload_text(
      R"({"ok":true,"from":1,"generation":2,"config":"abc","duration_ms":12.34,"warnings":["backend b: refused"],"reason":""})");
  EXPECT_TRUE(text.understood);
  EXPECT_TRUE(text.applied);
  EXPECT_EQ(text.summary, "generation 1 -> 2, config abc, 12.3 ms");
  EXPECT_EQ(text.warnings, "warning: backend b: refused\n");
  text = reload_text(R"({"ok":false,"reason":"f:1:1: /x: no\nf:2:1: /y: no"})");
  EXPECT_TRUE(text.understood);
  EXPECT_FALSE(text.applied);
  EXPECT_EQ(text.reason, "f:1:1: /x: no\nf:2:1: /y: no");
  text = reload_text(R"({"ok":false,"error":"too many"})");
  EXPECT_FALSE(text.understood) << "nothing was rejected";
  EXPECT_EQ(text.reason, "too many");
}

TEST(ReloadText, WhatIsNoAnswer) {
  for (const char* line : {"", "null", "[]", "{}", "{\"ok\"", "7"})
    EXPECT_FALSE(reload_text(line).understood) << line;
  EXPECT_FALSE(reload_text(R"({"ok":"yes"})").applied);
}

TEST(ErrorOfAnswer, IsThereWhenNothingWasDone) {
  EXPECT_EQ(error_of_answer(R"({"ok":true,"pid":7})"), "");
  EXPECT_EQ(error_of_answer(R"({"ok":false,"error":"too many"})"), "too many");
  EXPECT_EQ(error_of_answer("{"), "the answer is not understood");
}

TEST(StatusText, ShowsWhatIsThere) {
  const std::string text = status_text(
      R"({"ok":true,"pid":7,"version":"0.1.0","uptime_s":5,"current":2,"config_file":"lb.json","generations":[
        {"generation":2,"pid":9,"state":"serving","config":"abc","age_s":5,"connections":3,"requests_in_flight":1,"fresh":true},
        {"generation":1,"pid":8,"state":"draining","config":"abd","age_s":9,"fresh":false}],
        "listeners":[{"endpoint":"127.0.0.1:0","address":"127.0.0.1:41","shards":2}],
        "backends":[{"name":"b1","endpoint":"10.0.0.1:1","in_flight":4,"aside":true,"resolved":true,"latency":{"count":2,"sum_us":5000}}],"backends_total":3,
        "counters":{"requests":12},"restarts":0,"reloads":{"requested":3,"applied":1,"rejected":2,"last_error":"oh"}})");
  for (const char* part :
       {"lb 0.1.0, pid 7, up 5 s, serving generation 2", "127.0.0.1:0 = 127.0.0.1:41  2 sockets", "draining",
        "did not answer", "put aside", "2.5 ms", "... and 2 more", "requests ", "1 applied, 2 rejected",
        "last error: oh"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

TEST(StatusText, SurvivesOtherVersionsAndNonsense) {
  for (const char* line :
       {"", "x", "[]", R"({"ok":true})", R"({"ok":false,"error":"no"})", R"({"ok":1})",
        R"({"ok":true,"generations":7,"listeners":{},"backends":[1,"x",null],"counters":[],"reloads":"?"})",
        R"({"ok":true,"generations":[null,{"fresh":"?"}],"backends":[{"aside":7}]})"}) {
    EXPECT_FALSE(status_text(line).empty()) << line;
  }
}

TEST(StatusText, TellsBackupsAndSlowStart) {
  const std::string text = status_text(
      R"({"ok":true,"backends":[{"name":"b1","share_percent":42},{"name":"b2","backup":true,"share_percent":100},
          {"name":"b3","backup":true,"standing":"down","since_s":7,"share_percent":10}]})");
  EXPECT_NE(text.find("failed  slow start, 42 % of its weight\n"), std::string::npos) << text;
  EXPECT_NE(text.find("failed  backup\n"), std::string::npos) << text;
  EXPECT_NE(text.find("failed  backup  down for 7 s\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace lb
