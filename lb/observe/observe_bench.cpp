// Cost of an access log line (per request, goal below 300 ns) and of an event (control plane).
#include <benchmark/benchmark.h>

#include <string>

#include "lb/observe/access_log.hpp"
#include "lb/observe/counters.hpp"
#include "lb/observe/event_log.hpp"

namespace lb {
namespace {

void access_line(benchmark::State& state, LogFormat format, std::string_view target) {
  AccessRecord record{.unix_time_us = 1'795'428'000'123'456,
                      .client_ip = "192.168.100.200",
                      .client_port = 50'000,
                      .method = "GET",
                      .target = target,
                      .status = 200,
                      .response_body_bytes = 12'345,
                      .duration_us = 1234,
                      .backend = "backend-17",
                      .generation = 3,
                      .outcome = "ok"};
  std::string out;
  out.reserve(64 * 1024);
  for (auto _ : state) {
    record.unix_time_us += 137;
    append_access_line(out, format, record);
    if (out.size() > 60'000) out.clear();
  }
}
constexpr std::string_view kTarget = "/api/v1/users/12345/orders?page=2&size=50&sort=created_at";
constexpr std::string_view kHostile =
    "/\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\xff\xff\xff\xff\xff\xff\xff\xff\n\n\n\n\n\n\n\n";
BENCHMARK_CAPTURE(access_line, text, LogFormat::text, kTarget);
BENCHMARK_CAPTURE(access_line, json, LogFormat::json, kTarget);
BENCHMARK_CAPTURE(access_line, json_hostile, LogFormat::json, kHostile);

void event(benchmark::State& state, LogFormat format) {
  const auto log = EventLog::open({.format = format, .path = "/dev/null", .generation = 3});
  for (auto _ : state)
    (*log)->info("reload.applied", "generation 3 serves", {{"duration_ms", std::int64_t{12}}});
}
BENCHMARK_CAPTURE(event, text, LogFormat::text);
BENCHMARK_CAPTURE(event, json, LogFormat::json);

void bump_counter(benchmark::State& state) {
  Counters counters;
  for (auto _ : state) {
    bump(counters.requests);
    benchmark::DoNotOptimize(&counters);
    benchmark::ClobberMemory();
  }
}
BENCHMARK(bump_counter);

}  // namespace
}  // namespace lb
