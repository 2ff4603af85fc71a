// The goal: loading and validating 10,000 backends takes less than 100 ms, 100,000 no more than ten times
// that.
#include <benchmark/benchmark.h>

#include <string>

#include "lb/config/config.hpp"

namespace lb {
namespace {

std::string file_of(std::int64_t backends) {
  std::string text = "{\n  \"listen_port\": 8080,\n  \"backends\": [\n";
  for (std::int64_t i = 0; i < backends; ++i) {
    text += R"(    {"name": "backend-)" + std::to_string(i) + R"(", "host": "10.)" +
            std::to_string(i >> 16U & 255U) + "." + std::to_string(i >> 8U & 255U) + "." +
            std::to_string(i & 255U) + R"(", "port": 9001, "weight": 3, "max_connections": 100})";
    text += i + 1 < backends ? ",\n" : "\n";
  }
  return text + "  ]\n}\n";
}

void load_and_validate(benchmark::State& state) {
  const std::string text = file_of(state.range(0));
  for (auto _ : state) {
    const ConfigResult result = config_parse(text);
    if (!result || !config_validate(*result->config).empty()) state.SkipWithError("the file is not valid");
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}
BENCHMARK(load_and_validate)->Arg(2)->Arg(100)->Arg(10'000)->Arg(100'000)->Unit(benchmark::kMillisecond);

void print(benchmark::State& state) {
  const ConfigResult result = config_parse(file_of(state.range(0)));
  if (!result) return state.SkipWithError("the file is not valid");
  for (auto _ : state) benchmark::DoNotOptimize(config_print(*result->config));
}
BENCHMARK(print)->Arg(10'000)->Unit(benchmark::kMillisecond);

/// Every backend the same: the worst case for finding duplicates and for reporting.
void all_faulty(benchmark::State& state) {
  std::string text = "{\"listen_port\": 8080, \"backends\": [";
  for (std::int64_t i = 0; i < state.range(0); ++i) text += "{\"host\": \"a\", \"prot\": 0},";
  text.back() = ']';
  text += '}';
  for (auto _ : state) {
    if (config_parse(text)) state.SkipWithError("the file is valid");
  }
}
BENCHMARK(all_faulty)->Arg(10'000)->Arg(100'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace lb
