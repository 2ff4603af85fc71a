// Traffic against the fake backends without a balancer: nothing may be dropped; and each fault a backend can
// be told to commit must be found as exactly what it is, as often as it happened.
#include <sys/socket.h>

#include <cerrno>

#include "harness/traffic/rig_for_test.hpp"

namespace lb::traffic {
namespace {

/// One stream of `kind`, with more keys.
std::string one(const std::string& kind, const std::string& keys = "", const std::string& params = "") {
  return R"({"ramp_ms":10,"streams":[{"kind":")" + kind + "\"" + (keys.empty() ? "" : "," + keys) +
         R"(,"params":{)" + params + "}}]}";
}

void expect_clean(const Case& judged, std::uint64_t at_least) {
  EXPECT_EQ(judged.verdict(), Verdict::zero_drops);
  EXPECT_EQ(judged.drops(), 0U);
  EXPECT_GE(judged.count(Outcome::ok), at_least);
  EXPECT_EQ(judged.comparison.answered, judged.comparison.backend_records);
  EXPECT_EQ(judged.comparison.seen_not_sent, 0U);
  EXPECT_EQ(judged.comparison.seen_twice, 0U);
  EXPECT_EQ(judged.comparison.backend_disagrees, 0U);
  EXPECT_EQ(judged.comparison.status_disagrees, 0U);
  for (const Item& item : judged.items) {
    if (item.outcome == Outcome::ok) continue;
    ADD_FAILURE() << "stream " << item.stream << ": " << name_of(item.outcome) << ", "
                  << name_of(item.detail);
    break;
  }
}

struct CleanCase {
  const char* name;
  std::string spec;
  std::uint64_t at_least;
  const char* script = "{}";
};

void PrintTo(const CleanCase& c, std::ostream* out) {
  *out << c.name;
}

class Clean : public testing::TestWithParam<CleanCase> {};

TEST_P(Clean, DropsNothing) {
  Rig rig;
  rig.script(GetParam().script);
  rig.put_traffic(GetParam().spec);
  rig.run_for(300 * kMilli);
  const auto judged = rig.judge();
  expect_clean(*judged, GetParam().at_least);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, Clean,
    testing::Values(
        CleanCase{"new_rate", one("new", R"("clients":4,"rate":200)"), 100},
        CleanCase{"new_flat_out", one("new", R"("clients":4)"), 100},
        CleanCase{"new_client_closes", one("new", R"("clients":4)", R"("close":"client")"), 100},
        CleanCase{"new_client_resets", one("new", R"("clients":4)", R"("close":"reset")"), 100},
        CleanCase{"keepalive", one("keepalive", R"("clients":16)"), 500},
        CleanCase{"keepalive_rate", one("keepalive", R"("clients":4,"rate":100)"), 80},
        CleanCase{"keepalive_think", one("keepalive", R"("clients":8,"think_ms":[0,5])"), 50},
        CleanCase{"keepalive_per_connection", one("keepalive", R"("clients":4)", R"("per_connection":[1,3])"),
                  100},
        CleanCase{"keepalive_bodies",
                  one("keepalive", R"("clients":4)", R"("body":[0,200000],"size":[0,200000])"), 20},
        CleanCase{"keepalive_head", one("keepalive", R"("clients":2)", R"("method":"HEAD")"), 50},
        CleanCase{"keepalive_expect", one("keepalive", R"("clients":2)", R"("body":5000,"expect":true)"), 20},
        CleanCase{"keepalive_delay", one("keepalive", R"("clients":8)", R"("delay_ms":[0,5])"), 50},
        CleanCase{
            "keepalive_interim_and_trailer",
            one("keepalive", R"("clients":2)", R"("query":"interim=1&trailer=1","chunked_response":true)"),
            50},
        CleanCase{"keepalive_204",
                  one("keepalive", R"("clients":2,"statuses":[204])", R"("query":"status=204")"), 50},
        CleanCase{"keepalive_server_closes", one("keepalive", R"("clients":4)"), 50, R"({"close_after":3})"},
        CleanCase{"keepalive_idle_closed", one("keepalive", R"("clients":4,"think_ms":[3,6])"), 20,
                  R"({"idle_close_ms":1})"},
        CleanCase{"pipelined", one("pipelined", R"("clients":4)", R"("depth":[1,9],"body":[0,3])"), 200},
        CleanCase{"race", one("race", R"("clients":20)"), 20},
        CleanCase{"slow_download", one("slow_download", R"("clients":3)", R"("size":20000)"), 3},
        CleanCase{"slow_download_client",
                  one("slow_download", R"("clients":3)",
                      R"("size":20000,"slow_side":"client","chunked_response":true)"),
                  3},
        CleanCase{"slow_upload", one("slow_upload", R"("clients":3)", R"("body":20000)"), 3},
        CleanCase{"slow_upload_chunked",
                  one("slow_upload", R"("clients":3)", R"("body":20000,"chunked_request":true)"), 3},
        CleanCase{"slow_upload_slow_reader", one("slow_upload", R"("clients":2)", R"("body":20000)"), 2,
                  R"({"read_rate":150000})"},
        CleanCase{"early_response", one("keepalive", R"("clients":3)", R"("body":[100000,300000])"), 10,
                  R"({"early_response":1})"},
        CleanCase{"chunked", one("chunked", R"("clients":4)"), 50},
        CleanCase{"upgrade", one("upgrade", R"("clients":4)", R"("lifetime_ms":[20,60],"interval_ms":[0,3])"),
                  10},
        CleanCase{"upgrade_half_close",
                  one("upgrade", R"("clients":4)",
                      R"("lifetime_ms":[20,60],"interval_ms":[0,3],"end":"half_close")"),
                  10}),
    [](const auto& tested) { return tested.param.name; });

TEST(EndToEnd, EverythingAtOnce) {
  Rig rig(3);
  rig.put_traffic(
      R"({"ramp_ms":10,"streams":[{"kind":"new","clients":4,"rate":100},{"kind":"keepalive","clients":8},
    {"kind":"pipelined","clients":2},{"kind":"race","clients":10},{"kind":"chunked","clients":2},
    {"kind":"upgrade","clients":2},{"kind":"slow_upload","clients":2,"params":{"body":20000}},
    {"kind":"halfopen","clients":50}]})");
  rig.run_for(100 * kMilli);
  EXPECT_EQ(rig.traffic->fire(-1, now_ns(), kMilli), 10U);
  EXPECT_EQ(rig.traffic->burst(-1, 0, now_ns()), 50U);
  rig.run_for(200 * kMilli);
  const auto judged = rig.judge();
  expect_clean(*judged, 500);
  std::uint64_t race = 0;
  std::uint64_t halfopen = 0;
  for (const Item& item : judged->items) {
    if (judged->streams[item.stream].kind == Kind::race) ++race;
    if (judged->streams[item.stream].kind == Kind::halfopen) ++halfopen;
  }
  EXPECT_EQ(race, 20U) << "a first request each, and one each at the fire";
  EXPECT_EQ(halfopen, 50U);
}

TEST(EndToEnd, IdleConnectionsClosedByTheServerAreCountedButNoDrops) {
  Rig rig(1);
  rig.script(R"({"drop_idle_after":2})");
  rig.put_traffic(one("keepalive", R"("clients":4,"think_ms":[2,4])"));
  rig.run_for(200 * kMilli);
  EXPECT_GT(rig.traffic->counters()[0].idle_closed, 4U);
  expect_clean(*rig.judge(), 20);
}

TEST(EndToEnd, ScheduleIsKeptAndPauseHolds) {
  Rig rig(1);
  rig.put_traffic(one("keepalive", R"("clients":2,"rate":100)"));
  rig.run_for(500 * kMilli);
  EXPECT_NEAR(static_cast<double>(rig.done()), 100, 12);
  rig.traffic->pause(-1, true, now_ns());
  rig.run_for(30 * kMilli);
  const std::uint64_t paused_at = rig.done();
  rig.run_for(100 * kMilli);
  EXPECT_EQ(rig.done(), paused_at);
  rig.traffic->pause(-1, false, now_ns());
  EXPECT_TRUE(rig.run_until([&] { return rig.done() > paused_at + 5; }));
  expect_clean(*rig.judge(), 100);
}

TEST(EndToEnd, UnixSocket) {
  Rig rig(0);
  const std::string address = "unix:" + rig.folder / "socket";
  ASSERT_TRUE(rig.server.add("u", address));
  rig.addresses.push_back(address);
  rig.put_traffic(one("new", R"("clients":8)"));
  rig.run_for(200 * kMilli);
  expect_clean(*rig.judge(), 100);
}

struct FaultCase {
  const char* name;
  const char* script;
  Outcome outcome;
  Phase phase;
  int os_error;
  Detail detail;
  const char* kind = "keepalive";
  const char* params = "";
};

void PrintTo(const FaultCase& c, std::ostream* out) {
  *out << c.name;
}

class EachFault : public testing::TestWithParam<FaultCase> {};

TEST_P(EachFault, IsFoundAsWhatItIsAndAsOftenAsItHappened) {
  const FaultCase& wanted = GetParam();
  Rig rig(1);
  rig.script(wanted.script);
  rig.put_traffic(one(wanted.kind, R"("clients":4,"timeout_ms":150,"think_ms":[0,2])", wanted.params));
  ASSERT_TRUE(rig.run_until([&] { return rig.done() >= 40; }));
  const auto judged = rig.judge();
  EXPECT_EQ(judged->verdict(), Verdict::drops);
  std::uint64_t scripted = 0;
  for (const Sighting& s : judged->sightings)
    scripted += (s.record->flags & kBackendFaultScripted) != 0 ? 1U : 0U;
  EXPECT_GT(judged->count(wanted.outcome), 0U);
  EXPECT_EQ(judged->count(wanted.outcome), scripted) << "found as often as it was committed";
  EXPECT_EQ(judged->count(wanted.outcome), judged->drops()) << "and as nothing else";
  EXPECT_EQ(judged->count(wanted.outcome) + judged->count(Outcome::ok), judged->items.size());
  for (const Item& item : judged->items) {
    if (item.outcome == Outcome::ok) continue;
    EXPECT_EQ(static_cast<Phase>(item.record->phase), wanted.phase)
        << name_of(static_cast<Phase>(item.record->phase));
    EXPECT_EQ(item.record->os_error, wanted.os_error);
    EXPECT_EQ(item.detail, wanted.detail) << name_of(item.detail);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Faults, EachFault,
    testing::Values(FaultCase{"reset_at_request", R"({"mode":"reset","every":3})",
                              Outcome::reset_before_first_byte, Phase::wait, ECONNRESET, Detail::reset},
                    FaultCase{"reset_in_head", R"({"mode":"reset","at":"head","every":3})",
                              Outcome::truncated, Phase::head, ECONNRESET, Detail::reset},
                    FaultCase{"reset_in_body", R"({"mode":"reset","at":"mid","every":3})", Outcome::truncated,
                              Phase::body, ECONNRESET, Detail::reset},
                    FaultCase{"close", R"({"mode":"close","every":3})", Outcome::closed_under_request,
                              Phase::wait, 0, Detail::eof},
                    FaultCase{"close_new", R"({"mode":"close","every":3})", Outcome::closed_under_request,
                              Phase::wait, 0, Detail::eof, "new"},
                    FaultCase{"truncate", R"({"mode":"truncate","every":3})", Outcome::truncated, Phase::body,
                              0, Detail::eof},
                    FaultCase{"truncate_chunked", R"({"mode":"truncate","every":3,"chunked":1})",
                              Outcome::truncated, Phase::body, 0, Detail::eof},
                    FaultCase{"truncate_new", R"({"mode":"truncate","every":3})", Outcome::truncated,
                              Phase::body, 0, Detail::eof, "new"},
                    FaultCase{"hang", R"({"mode":"hang","every":7})", Outcome::timeout, Phase::wait, 0,
                              Detail::timeout_wait},
                    FaultCase{"garbage", R"({"mode":"garbage","every":3})", Outcome::malformed, Phase::head,
                              0, Detail::bad_head},
                    FaultCase{"status", R"({"mode":"status","every":3})", Outcome::unexpected_status,
                              Phase::body, 0, Detail::none},
                    FaultCase{"wrong", R"({"mode":"wrong","every":3})", Outcome::wrong_body, Phase::body, 0,
                              Detail::byte_differs},
                    FaultCase{"wrong_large_chunked", R"({"mode":"wrong","every":3})", Outcome::wrong_body,
                              Phase::body, 0, Detail::byte_differs, "keepalive",
                              R"("size":300000,"chunked_response":true)"},
                    FaultCase{"duplicate", R"({"mode":"duplicate","every":3})", Outcome::wrong_body,
                              Phase::after, 0, Detail::extra_bytes},
                    FaultCase{"reset_upload", R"({"mode":"reset","every":3})",
                              Outcome::reset_before_first_byte, Phase::wait, ECONNRESET, Detail::reset,
                              "keepalive", R"("body":1000)"}),
    [](const auto& tested) { return tested.param.name; });

TEST(EndToEnd, RefusedIsRefused) {
  Rig rig(1);
  rig.script(R"({"mode":"refuse"})");
  rig.put_traffic(one("new", R"("clients":2,"rate":100)"));
  ASSERT_TRUE(rig.run_until([&] { return rig.done() >= 10; }));
  EXPECT_EQ(rig.traffic->counters()[0].outcomes[static_cast<std::size_t>(Outcome::refused)], rig.done());
  rig.script("{}");
  const std::uint64_t before = rig.traffic->counters()[0].ok;
  EXPECT_TRUE(rig.run_until([&] { return rig.traffic->counters()[0].ok > before + 10; }))
      << "the port is open again";
  const auto judged = rig.judge();
  EXPECT_EQ(judged->drops(), judged->count(Outcome::refused));
}

TEST(EndToEnd, ResetAtAccept) {
  Rig rig(1);
  rig.script(R"({"mode":"reset","at":"accept"})");
  rig.put_traffic(one("new", R"("clients":2,"rate":100)"));
  ASSERT_TRUE(rig.run_until([&] { return rig.done() >= 10; }));
  const auto judged = rig.judge();
  EXPECT_EQ(judged->count(Outcome::reset_before_first_byte), judged->items.size());
}

TEST(EndToEnd, ConnectTimeoutIsOne) {
  // A listener that never accepts, with a queue that is full: the kernel answers no further handshake.
  auto address = must(parse_address("127.0.0.1:0"));
  const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length), 0);
  ASSERT_EQ(::listen(listener.get(), 0), 0);
  Rig rig(0);
  rig.addresses.push_back("127.0.0.1:" + std::to_string(local_port(listener.get())));
  const auto target = must(parse_address(rig.addresses[0]));
  std::vector<Connecting> fillers;
  for (int i = 0; i < 3; ++i) fillers.push_back(connect_to(target));
  rig.put_traffic(one("new", R"("clients":2,"rate":50,"connect_timeout_ms":150)"));
  ASSERT_TRUE(rig.run_until([&] { return rig.done() >= 4; }));
  rig.traffic->stop(now_ns());
  rig.run_until([&] { return rig.traffic->in_flight() == 0; });
  EXPECT_EQ(rig.traffic->counters()[0].outcomes[static_cast<std::size_t>(Outcome::connect_timeout)],
            rig.done());
}

TEST(EndToEnd, PipelinedBehindAnAnnouncedCloseIsUnservedAndNoDrop) {
  Rig rig(1);
  rig.script(R"({"close_after":3})");
  rig.put_traffic(one("pipelined", R"("clients":2,"think_ms":1)", R"("depth":5)"));
  ASSERT_TRUE(rig.run_until([&] { return rig.done() >= 50; }));
  const auto judged = rig.judge();
  EXPECT_EQ(judged->verdict(), Verdict::zero_drops);
  EXPECT_GT(judged->count(Outcome::unserved), 0U);
  EXPECT_EQ(judged->count(Outcome::ok) * 2, judged->count(Outcome::unserved) * 3)
      << "of five, three are served";
}

TEST(EndToEnd, PipelinedBehindAResetIsDroppedWhole) {
  Rig rig(1);
  rig.script(R"({"mode":"reset","every":3})");
  rig.put_traffic(one("pipelined", R"("clients":1,"think_ms":1)", R"("depth":5)"));
  ASSERT_TRUE(rig.run_until([&] { return rig.done() >= 50; }));
  const auto judged = rig.judge();
  EXPECT_EQ(judged->count(Outcome::ok) * 3, judged->count(Outcome::reset_before_first_byte) * 2)
      << "of five, two are served";
}

TEST(EndToEnd, UnfinishedRequestsForbidAVerdict) {
  Rig rig(1);
  rig.put_traffic(one("keepalive", R"("clients":2)", R"("delay_ms":5000)"));
  ASSERT_TRUE(rig.run_until([&] { return rig.open_on_backends() == 2; }));
  rig.traffic->abandon();
  const auto judged = rig.judge();
  EXPECT_EQ(judged->count(Outcome::unfinished), 2U);
  EXPECT_EQ(judged->drops(), 0U);
  EXPECT_EQ(judged->verdict(), Verdict::cannot_judge);
}

TEST(EndToEnd, TunnelThatIsCutIsTruncated) {
  Rig rig(1);
  rig.put_traffic(one("upgrade", R"("clients":3)", R"("lifetime_ms":60000)"));
  ASSERT_TRUE(rig.run_until([&] { return rig.server.backends()[0]->counters.upgrades == 3; }));
  rig.run_for(30 * kMilli);
  ASSERT_TRUE(rig.server.remove("b1"));
  ASSERT_TRUE(rig.run_until([&] { return rig.done() >= 3; }));
  EXPECT_GE(rig.traffic->counters()[0].outcomes[static_cast<std::size_t>(Outcome::truncated)], 3U);
}

TEST(EndToEnd, TheSameSeedMakesTheSameRequests) {
  const auto nonces = [](std::uint64_t seed) {
    Rig rig(1);
    rig.put_traffic(one("keepalive", R"("clients":1)"), seed);
    EXPECT_TRUE(rig.run_until([&] { return rig.done() >= 20; }));
    std::vector<std::uint64_t> all;
    for (std::size_t i = 0; i < 20; ++i) all.push_back(rig.traffic->records()[i].nonce);
    return all;
  };
  EXPECT_EQ(nonces(5), nonces(5));
  EXPECT_NE(nonces(5), nonces(6));
}

}  // namespace
}  // namespace lb::traffic
