// The comparison on ledgers written by hand: each finding, and its absence.
#include "harness/traffic/judge.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/traffic/report.hpp"
#include "harness/traffic/rig_for_test.hpp"

namespace lb::traffic {
namespace {

constexpr const char* kTables = R"({"streams":[{"name":"ka","kind":"keepalive"},{"name":"n","kind":"new"}],
  "backends":["b1","b2"],"labels":["1","2"],"target":"x","reason":"stop"})";
constexpr std::uint8_t kComplete = kBackendComplete | kBackendBodyComplete | kBackendSomeSent;

class Ledgers {
 public:
  TrafficRecord& sent(std::uint64_t nonce, Outcome outcome, std::uint64_t at) {
    TrafficRecord r;
    r.nonce = nonce;
    r.outcome = static_cast<std::uint8_t>(outcome);
    r.t_due = r.t_connect_begin = r.t_connected = r.t_send = at;
    r.t_first_byte = r.t_end = at + 1000;
    r.connection = static_cast<std::uint32_t>(nonce);
    r.status = 200;
    r.backend = 0;
    r.label = 0;
    return traffic_[traffic_.append(r)];
  }
  BackendRecord& seen(std::uint64_t nonce, std::uint8_t flags, std::uint64_t at, std::uint16_t backend = 0) {
    BackendRecord r;
    r.nonce = nonce;
    r.t_begin = at + 100;
    r.t_end = at + 200;
    r.status = 200;
    r.flags = flags;
    r.backend = backend;
    return backend_[backend_.append(r)];
  }
  std::unique_ptr<Case> judge(const std::string& marks = "[]", bool by_connection = false) {
    EXPECT_TRUE(write_ledger(folder_ / "t", traffic_, kTables, 1));
    EXPECT_TRUE(write_ledger(folder_ / "b", backend_, R"({"backends":["b1","b2"]})", 1));
    JudgeOptions options;
    options.traffic = {folder_ / "t"};
    options.backends = {folder_ / "b"};
    options.marks = must(parse_marks(marks));
    options.removed_counts_connection = by_connection;
    options.excuse_faults = excuse;
    auto judged = must(Case::open(std::move(options)));
    judged->compare();
    return judged;
  }

  bool excuse = false;

 private:
  TestFolder folder_;
  RecordStore<TrafficRecord> traffic_{1000};
  RecordStore<BackendRecord> backend_{1000};
};

TEST(Judge, AllAnsweredAndSeenOnce) {
  Ledgers l;
  for (std::uint64_t i = 1; i <= 10; ++i) {
    l.sent(i, Outcome::ok, i * 1000);
    l.seen(i, kComplete, i * 1000);
  }
  const auto judged = l.judge();
  EXPECT_EQ(judged->verdict(), Verdict::zero_drops);
  EXPECT_EQ(judged->comparison.answered, 10U);
  EXPECT_EQ(judged->comparison.seen_not_sent, 0U);
}

TEST(Judge, AnsweredButSeenByNobodyIsADrop) {
  Ledgers l;
  l.sent(1, Outcome::ok, 1000);
  l.sent(2, Outcome::ok, 2000);
  l.seen(1, kComplete, 1000);
  const auto judged = l.judge();
  EXPECT_EQ(judged->comparison.answered_not_seen, 1U);
  EXPECT_EQ(judged->count(Outcome::wrong_body), 1U);
  EXPECT_EQ(judged->verdict(), Verdict::drops);
}

TEST(Judge, AnEmptyBackendLedgerIsNoEvidence) {
  Ledgers l;
  l.sent(1, Outcome::ok, 1000);
  EXPECT_EQ(l.judge()->verdict(), Verdict::cannot_judge);
}

TEST(Judge, NothingAttemptedIsNoEvidence) {
  Ledgers l;
  const auto judged = l.judge();
  EXPECT_EQ(judged->verdict(), Verdict::cannot_judge);
  EXPECT_NE(report_json(*judged, {}).find("no request was made"), std::string::npos);
}

TEST(Judge, ExecutedTwiceIsADuplicate) {
  Ledgers l;
  l.sent(1, Outcome::ok, 1000);
  l.seen(1, kComplete, 1000);
  l.seen(1, kComplete, 1000, 1);
  const auto judged = l.judge();
  EXPECT_EQ(judged->comparison.duplicated, 1U);
  EXPECT_EQ(judged->count(Outcome::duplicated), 1U);
  EXPECT_EQ(judged->verdict(), Verdict::drops);
}

TEST(Judge, TriedAgainAfterNoAnswerIsARetryAndNoDrop) {
  Ledgers l;
  l.sent(1, Outcome::ok, 1000);
  l.seen(1, 0, 1000, 1);
  l.seen(1, kComplete, 1000);
  const auto judged = l.judge();
  EXPECT_EQ(judged->comparison.seen_twice, 1U);
  EXPECT_EQ(judged->comparison.retried, 1U);
  EXPECT_EQ(judged->verdict(), Verdict::zero_drops);
}

TEST(Judge, TryingAgainWhatIsNotIdempotentIsADuplicate) {
  Ledgers l;
  l.sent(1, Outcome::ok, 1000).flags = kTrafficNotIdempotent;
  l.seen(1, kBackendNotIdempotent, 1000, 1);
  l.seen(1, kComplete | kBackendNotIdempotent, 1000);
  EXPECT_EQ(l.judge()->count(Outcome::duplicated), 1U);
}

TEST(Judge, UnservedYetExecutedIsLost) {
  Ledgers l;
  l.sent(1, Outcome::unserved, 1000);
  l.sent(2, Outcome::unserved, 1000);
  l.seen(2, kComplete, 1000);
  const auto judged = l.judge();
  EXPECT_EQ(judged->count(Outcome::unserved), 1U);
  EXPECT_EQ(judged->count(Outcome::lost), 1U);
  EXPECT_EQ(judged->verdict(), Verdict::drops);
}

TEST(Judge, AWrongRequestBodyIsADropHoweverItWasAnswered) {
  Ledgers l;
  l.sent(1, Outcome::ok, 1000);
  l.seen(1, kComplete | kBackendBodyWrong, 1000);
  const auto judged = l.judge();
  EXPECT_EQ(judged->count(Outcome::wrong_body), 1U);
  EXPECT_EQ(judged->items[0].detail, Detail::request_body_wrong);
}

TEST(Judge, SeenByABackendButSentByNobody) {
  Ledgers l;
  l.sent(5, Outcome::ok, 1000);
  l.seen(5, kComplete, 1000);
  l.seen(1, kComplete, 1000);
  l.seen(9, kComplete, 1000);
  EXPECT_EQ(l.judge()->comparison.seen_not_sent, 2U);
}

constexpr const char* kRemoval =
    R"([{"name":"r1","t_request_ns":5000,"t_answer_ns":6000,"window_end_ns":8000,"removed":["b2"],"label":2},
  {"name":"r2","t_request_ns":20000,"t_answer_ns":21000,"window_end_ns":22000,"added":["b2"]}])";

TEST(Judge, UsingARemovedBackend) {
  const auto judge_at = [](std::uint64_t at, std::uint64_t connected, bool by_connection) {
    Ledgers l;
    TrafficRecord& r = l.sent(1, Outcome::ok, at);
    r.backend = 1;
    r.t_connect_begin = connected;
    l.seen(1, kComplete, at, 1);
    return l.judge(kRemoval, by_connection);
  };
  EXPECT_EQ(judge_at(5500, 5500, false)->count(Outcome::removed_backend), 0U) << "before the answer";
  EXPECT_EQ(judge_at(7000, 7000, false)->count(Outcome::removed_backend), 1U);
  EXPECT_EQ(judge_at(25'000, 25'000, false)->count(Outcome::removed_backend), 0U) << "it is configured again";
  EXPECT_EQ(judge_at(7000, 1000, false)->count(Outcome::removed_backend), 1U)
      << "an old connection, strictly";
  const auto lenient = judge_at(7000, 1000, true);
  EXPECT_EQ(lenient->count(Outcome::removed_backend), 0U);
  EXPECT_EQ(lenient->removed.requests, 1U) << "reported all the same";
  EXPECT_EQ(lenient->removed.on_new_connections, 0U);
}

struct Excuse {
  const char* name;
  Outcome outcome;
  std::uint8_t traffic_flags;
  std::vector<std::uint8_t> sightings;  // flags of each
  bool excused;
  std::uint16_t status = 502;
};

TEST(Judge, ExcusesOnlyWhatNoRetryCouldSave) {
  constexpr std::uint8_t kFault = kBackendFaultScripted;
  const std::vector<Excuse> cases = {
      {"first try failed, no second", Outcome::unexpected_status, 0, {kFault}, false},
      {"both tries failed", Outcome::unexpected_status, 0, {kFault, kFault}, true},
      {"a POST", Outcome::unexpected_status, kTrafficNotIdempotent, {kFault}, true},
      {"a POST into a broken connection", Outcome::unexpected_status, kTrafficNotIdempotent, {}, true},
      {"a POST, another status", Outcome::unexpected_status, kTrafficNotIdempotent, {}, false, 503},
      {"never reached anybody", Outcome::unexpected_status, 0, {}, false},
      {"part of an answer", Outcome::truncated, 0, {kFault | kBackendSomeSent}, true},
      {"silence", Outcome::timeout, 0, {kFault | kBackendHung}, true},
      {"a good answer lost", Outcome::unexpected_status, 0, {kFault | kBackendSomeSent, kComplete}, false},
      {"the answer is wrong", Outcome::wrong_body, 0, {kFault | kBackendSomeSent}, false},
      {"garbage passed on", Outcome::malformed, 0, {kFault | kBackendSomeSent}, false},
      {"garbage in TCP mode", Outcome::malformed, kTrafficTunneled, {kFault | kBackendSomeSent}, true},
      {"refused", Outcome::refused, kTrafficTunneled, {}, false},
  };
  for (const Excuse& c : cases) {
    for (const bool excuse : {true, false}) {
      Ledgers l;
      l.excuse = excuse;
      TrafficRecord& r = l.sent(5, c.outcome, 1000);
      r.flags = c.traffic_flags;
      r.status = c.status;
      for (std::size_t i = 0; i < c.sightings.size(); ++i) l.seen(5, c.sightings[i], 1000 + i, i % 2);
      const auto judged = l.judge();
      EXPECT_EQ(judged->count(Outcome::excused) == 1, excuse && c.excused) << c.name;
      EXPECT_EQ(judged->drops() == 0, excuse && c.excused) << c.name;
    }
  }
}

TEST(Judge, ExcusesWhatWasPipelinedBehindABrokenAnswer) {
  Ledgers l;
  l.excuse = true;
  l.sent(1, Outcome::truncated, 1000).connection = 7;
  l.seen(1, kBackendFaultScripted | kBackendSomeSent, 1000);
  l.sent(2, Outcome::closed_under_request, 1000).connection = 7;
  l.sent(3, Outcome::closed_under_request, 2000).connection = 7;  // sent later
  l.sent(4, Outcome::closed_under_request, 1000).connection = 8;  // another connection
  const auto judged = l.judge();
  EXPECT_EQ(judged->count(Outcome::excused), 2U);
  EXPECT_EQ(judged->drops(), 2U);
}

TEST(Judge, LocalErrorsAreNoAttempts) {
  Ledgers l;
  l.sent(1, Outcome::ok, 1000);
  l.seen(1, kComplete, 1000);
  l.sent(2, Outcome::local_error, 1000);
  const auto judged = l.judge();
  EXPECT_EQ(judged->attempts(), 1U);
  EXPECT_EQ(judged->drops(), 0U);
  EXPECT_EQ(judged->verdict(), Verdict::cannot_judge) << "half of the requests could not be made";
}

TEST(Judge, DamagedFilesAreErrors) {
  const TestFolder folder;
  EXPECT_FALSE(LedgerFile<TrafficRecord>::open(folder / "missing"));
  std::ofstream(folder / "short") << "LBTRAF01";
  EXPECT_FALSE(LedgerFile<TrafficRecord>::open(folder / "short"));
  RecordStore<TrafficRecord> store(10);
  store.append(TrafficRecord{});
  ASSERT_TRUE(write_ledger(folder / "t", store, kTables, 7));
  EXPECT_FALSE(LedgerFile<BackendRecord>::open(folder / "t")) << "the other kind";
  const auto good = LedgerFile<TrafficRecord>::open(folder / "t");
  ASSERT_TRUE(good);
  EXPECT_EQ(good->size(), 1U);
  EXPECT_EQ(good->seed(), 7U);
  EXPECT_EQ(good->tables(), kTables);
  ASSERT_EQ(::truncate((folder / "t").c_str(), 100), 0);
  EXPECT_FALSE(LedgerFile<TrafficRecord>::open(folder / "t")) << "cut short";
}

TEST(Report, TellsTheStoryOfADrop) {
  Ledgers l;
  l.sent(1, Outcome::ok, 1000);
  l.seen(1, kComplete, 1000);
  TrafficRecord& dropped = l.sent(2, Outcome::closed_under_request, 4'000'000);
  dropped.connection = 1;
  dropped.request_on_connection = 1;
  dropped.flags = kTrafficKeptAlive;
  dropped.phase = static_cast<std::uint8_t>(Phase::wait);
  dropped.backend = dropped.label = kNone16;
  const auto judged =
      l.judge(R"([{"name":"r1","t_request_ns":3000000,"t_answer_ns":3500000,"window_end_ns":9000000}])");
  const auto report = nlohmann::json::parse(report_json(*judged, {}));
  EXPECT_EQ(report.at("verdict"), "drops");
  EXPECT_EQ(report.at("exit_code"), 1);
  EXPECT_EQ(report.at("totals").at("drops"), 1);
  EXPECT_EQ(report.at("outcomes").at("closed_under_request"), 1);
  EXPECT_EQ(report.at("drop_rate").at("method"), "clopper_pearson");
  ASSERT_EQ(report.at("drops").size(), 1U);
  const auto& story = report.at("drops")[0];
  EXPECT_EQ(story.at("nonce"), "0000000000000002");
  EXPECT_EQ(story.at("mark").at("name"), "r1");
  EXPECT_NEAR(story.at("mark").at("after_request_ms").get<double>(), 1.001, 1e-6);
  EXPECT_EQ(story.at("history").size(), 1U);
  EXPECT_EQ(story.at("history")[0].at("backend"), "b1");
  EXPECT_TRUE(story.at("label").is_null());
  EXPECT_NE(story.at("text").get<std::string>().find("no backend saw it"), std::string::npos);
  EXPECT_EQ(report.at("marks")[0].at("drops_inside"), 1);
  EXPECT_EQ(report.at("drops_per_mark")[0], 1);
  EXPECT_EQ(report.at("timeline").at("connections").size(), 1U);
  EXPECT_EQ(report.at("timeline").at("connections")[0].at("drops").size(), 1U);
}

TEST(Report, LatencyInsideAndOutsideOfWindows) {
  Ledgers l;
  for (std::uint64_t i = 1; i <= 20; ++i) {
    const bool inside = i > 10;
    TrafficRecord& r = l.sent(i, Outcome::ok, inside ? 5'000'000 + i : 1000 * i);
    r.t_end = r.t_send + (inside ? 50'000 : 10'000);
    if (i % 2 == 0) r.flags = kTrafficKeptAlive;
    l.seen(i, kComplete, r.t_send);
  }
  const auto judged =
      l.judge(R"([{"t_request_ns":4900000,"t_answer_ns":4950000,"window_end_ns":6000000,"label":"1"}])");
  const auto report = nlohmann::json::parse(report_json(*judged, {}));
  const auto& latency = report.at("latency");
  EXPECT_EQ(latency.at("kept_alive").at("inside").at("n"), 5);
  EXPECT_DOUBLE_EQ(latency.at("kept_alive").at("inside").at("p50_us").get<double>(), 50);
  EXPECT_DOUBLE_EQ(latency.at("new_connection").at("outside").at("p99_us").get<double>(), 10);
  EXPECT_DOUBLE_EQ(latency.at("p99_ratio").at("kept_alive").get<double>(), 5);
  EXPECT_EQ(report.at("kinds").at("keepalive").at("latency").at("all").at("n"), 20);
  EXPECT_EQ(report.at("marks")[0].at("attempts_inside"), 10);
  EXPECT_EQ(report.at("drop_rate").at("method"), "rule_of_three");
  EXPECT_FALSE(report.at("marks")[0].at("first_with_label_ms").is_null());
  EXPECT_TRUE(report.at("marks")[0].at("last_without_label_ms").is_null());
}

}  // namespace
}  // namespace lb::traffic
