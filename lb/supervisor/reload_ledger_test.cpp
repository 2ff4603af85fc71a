#include "lb/supervisor/reload_ledger.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace lb {
namespace {

using Json = nlohmann::ordered_json;
using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr Instant kAsked{std::chrono::hours{7}};

ReloadRecord applied(std::int64_t from, std::int64_t to) {
  ReloadRecord record{
      .cause = ReloadCause::control, .from = from, .to = to, .applied = true, .config = "abc"};
  record.times = {.asked = kAsked,
                  .spawned = kAsked + microseconds{500},
                  .loaded = kAsked + milliseconds{6},
                  .ready = kAsked + milliseconds{9},
                  .switched = kAsked + milliseconds{10}};
  record.at_switch = DrainingMessage{.connections = 64, .tunnels = 2, .requests = 3};
  record.kernel_before.listen_drops = 5;
  return record;
}

DrainedMessage drained() {
  return {.completed = 3,
          .closed_idle = 1,
          .force_closed = 2,
          .handed_over = 57,
          .duration_ms = 40,
          .moved_idle = 50,
          .moved_after_exchange = 4,
          .moved_upgrade_tunnels = 2,
          .moved_tcp_tunnels = 1,
          .moved_upstreams = 5,
          .counters = {{"connections_accepted", 1000}, {"adopted", 7}},
          .connections_at_start = 64,
          .ended = 4,
          .forced = {{"10.0.0.1", "0.0.0.0:80", "b1", "tcp", 31'000}}};
}

TEST(ReloadLedger, ARecordIsWholeOnceTheOldGenerationHasDrained) {
  ReloadLedger ledger;
  EXPECT_EQ(ledger.add(applied(1, 2)).number, 1);
  EXPECT_FALSE(ledger.find(1)->whole());
  KernelCounters kernel;
  kernel.listen_drops = 9;
  ledger.drained(1, kAsked + milliseconds{50}, drained(), kernel);
  ASSERT_TRUE(ledger.find(1)->whole());
  Json json = reload_json(*ledger.find(1));
  EXPECT_EQ(json["times_ms"].dump(),
            R"({"asked":0.0,"spawned":0.5,"loaded":6.0,"ready":9.0,"switched":10.0,"drained":50.0})");
  EXPECT_EQ(
      json["drain"].dump(),
      R"({"generation":1,"state":"drained","process":"","at_switch":{"connections":64,"tunnels":2,"requests":3},)"
      R"("accepted":1000,"adopted":7,"connections":64,"came":0,"moved":57,"moved_by_kind":{"idle":50,"after_exchange":4,"upgrade_tunnels":2,"tcp_tunnels":1,)"
      R"("upstreams":5,"refused":0,"came_back":0},"closed_removed":0,"ended":4,"closed_idle":1,"force_closed":2,)"
      R"("forced":[{"client":"10.0.0.1","listener":"0.0.0.0:80","backend":"b1","kind":"tcp","age_ms":31000}],)"
      R"("requests_completed":3,"duration_ms":40})");
  EXPECT_EQ(json["kernel"]["grown"]["listen_drops"], 4);
  EXPECT_EQ(json["kernel"]["grown"]["resets_sent"], nullptr) << "not told";
  ledger.ended(1, kAsked + milliseconds{60}, "exit status 0", kernel);
  json = reload_json(*ledger.find(1));
  EXPECT_EQ(json["drain"]["state"], "gone");
  EXPECT_EQ(json["times_ms"]["gone"], 60.0);
}

TEST(ReloadLedger, ADrainBelongsToTheReloadThatCausedIt) {
  ReloadLedger ledger;
  ledger.add(applied(1, 2));
  ledger.add(applied(2, 3));
  ledger.ended(1, kAsked, "killed by signal 9 (Killed)", {});
  EXPECT_TRUE(ledger.find(1)->whole()) << "it died, and nothing more will come";
  EXPECT_EQ(reload_json(*ledger.find(1))["drain"]["process"], "killed by signal 9 (Killed)");
  EXPECT_FALSE(ledger.find(2)->whole());
  ledger.drained(7, kAsked, drained(), {});
  EXPECT_FALSE(ledger.find(2)->whole()) << "of a generation that no reload replaced";
}

TEST(ReloadLedger, OneThatIsReplacedTwiceIsOfTheLastTime) {
  ReloadLedger ledger;  // it was resumed in between
  ledger.add(applied(1, 2));
  ledger.drained(1, kAsked, drained(), {});
  ledger.add(applied(1, 3));
  EXPECT_FALSE(ledger.find(2)->whole());
  ledger.drained(1, kAsked, drained(), {});
  EXPECT_TRUE(ledger.find(2)->whole());
}

TEST(ReloadLedger, RejectedOnesAndFirstOnesAreWholeAtOnce) {
  ReloadLedger ledger;
  ReloadRecord rejected = applied(1, 2);
  rejected.applied = false;
  EXPECT_TRUE(ledger.add(rejected).whole());
  EXPECT_EQ(reload_json(*ledger.find(1))["drain"], nullptr);
  EXPECT_TRUE(ledger.add(applied(0, 3)).whole()) << "nothing was replaced";
}

TEST(ReloadLedger, ProbesAreOfTheGenerationThatTheReloadStarted) {
  ReloadLedger ledger;
  ledger.add(applied(1, 2));
  EXPECT_EQ(reload_json(*ledger.find(1))["probes"], nullptr);
  ledger.probed(2, kAsked + milliseconds{12},
                {{"127.0.0.1:80", true, 210, ""}, {"[::1]:80", false, 0, "refused"}});
  const Json json = reload_json(*ledger.find(1));
  EXPECT_EQ(json["probes"].dump(), R"([{"listener":"127.0.0.1:80","ok":true,"us":210,"error":""},)"
                                   R"({"listener":"[::1]:80","ok":false,"us":0,"error":"refused"}])");
  EXPECT_EQ(json["times_ms"]["probed"], 12.0);
}

TEST(ReloadLedger, KeepsTheLast) {
  ReloadLedger ledger;
  for (std::int64_t i = 1; i <= static_cast<std::int64_t>(ReloadLedger::kKept) + 1; ++i)
    ledger.add(applied(i, i + 1));
  EXPECT_EQ(ledger.records().size(), ReloadLedger::kKept);
  EXPECT_EQ(ledger.records().front().number, static_cast<std::int64_t>(ReloadLedger::kKept) + 1);
  EXPECT_EQ(ledger.find(1), nullptr);
  EXPECT_NE(ledger.find(2), nullptr);
  ledger.drained(1, kAsked, drained(), {});  // of one that is forgotten
}

TEST(ReloadLedger, IsHandedToTheNextSupervisor) {
  ReloadLedger first;
  first.add(applied(1, 2));
  first.add(applied(2, 3));
  ReloadLedger second;
  second.restore(first.json().dump());
  EXPECT_EQ(second.json().dump(), first.json().dump());
  EXPECT_EQ(second.json(1).size(), 1U);
  EXPECT_EQ(second.json(3).size(), 0U);
  EXPECT_EQ(second.add(applied(3, 4)).number, 3);
  EXPECT_EQ(second.json()[1]["number"], 2);
  EXPECT_EQ(second.json(1)[0]["number"], 1);
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(ReloadLedger::kKept) - 2; ++i)
    second.add(applied(i, i + 1));
  EXPECT_EQ(second.json().size(), ReloadLedger::kKept);
  EXPECT_EQ(second.json().back()["number"], 2) << "the oldest goes";
}

TEST(ReloadLedger, WhatIsNoLedgerRestoresNothing) {
  for (const char* text :
       {"", "{}", "[", "7", R"([7,null,{}, {"number":-1}, {"number":"x"}, {"number":1e300}, {"number":1.5}])",
        R"([{"number":18446744073709551615}])"}) {
    ReloadLedger ledger;
    ledger.restore(text);
    EXPECT_EQ(ledger.json().size(), 0U) << text;
    EXPECT_EQ(ledger.add(applied(1, 2)).number, 1);
  }
}

TEST(ReloadLedger, TheSummaryIsWhatTheHistoryAlwaysTold) {
  const Json json = reload_summary_json(applied(1, 2));
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  EXPECT_EQ(keys, (std::vector<std::string>{"ok", "applied", "rollback", "from", "generation", "config",
                                            "duration_ms", "phases_ms", "warnings", "reason", "changes",
                                            "changes_total", "time"}));
}

}  // namespace
}  // namespace lb
