// lb_load: see load.hpp. Talks JSON lines: {"event":"ready",...} when everything is open; then, for each line
// on standard input, one run and its result. Ends with its standard input, which holds idle connections open
// until then.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>

#include "harness/bench/load.hpp"

namespace {

using lb::bench::Load;
using lb::bench::LoadOptions;
using lb::bench::LoadResult;

/// Microseconds at quantiles; nearest rank.
nlohmann::json latency_us(std::vector<std::uint32_t>& samples) {
  if (samples.empty()) return nullptr;
  std::ranges::sort(samples);
  const auto at = [&](double q) {
    const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(samples.size())));
    return samples[std::min(std::max<std::size_t>(rank, 1), samples.size()) - 1] * 0.064;
  };
  return {{"p50", at(0.5)}, {"p90", at(0.9)}, {"p99", at(0.99)}, {"p99.9", at(0.999)}, {"max", at(1.0)}};
}

void print(const char* event, LoadResult result) {
  const nlohmann::json line{{"event", event},
                            {"requests", result.requests},
                            {"errors", result.errors},
                            {"error", result.error},
                            {"connections", result.connections},
                            {"resumed", result.resumed},
                            {"unsent", result.unsent},
                            {"seconds", result.seconds},
                            {"latency_us", latency_us(result.latency_ns_64)}};
  std::cout << line.dump() << '\n' << std::flush;
}

}  // namespace

int main(int argc, char** argv) try {
  LoadOptions options;
  CLI::App app{"Load for the benchmark of proxies"};
  app.add_option("--port", options.port, "on 127.0.0.1")->required()->check(CLI::Range(1, 65535));
  app.add_option("--connections", options.connections)->check(CLI::Range(1, 100'000));
  app.add_option("--seconds", options.seconds, "of a run")->check(CLI::Range(0.01, 600.0));
  app.add_option("--requests-max", options.requests_max, "of a run");
  app.add_option("--rate", options.rate, "requests a second, open loop; 0: as fast as answers come")
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--body-bytes", options.body_bytes, "of each response");
  app.add_flag("--close", options.close, "a connection for each request");
  const std::map<std::string, LoadOptions::Tls> kinds{{"none", LoadOptions::Tls::none},
                                                      {"full", LoadOptions::Tls::full},
                                                      {"resume", LoadOptions::Tls::resume}};
  app.add_option("--tls", options.tls, "none, full or resume")->transform(CLI::CheckedTransformer(kinds));
  CLI11_PARSE(app, argc, argv);
  if (options.close && options.rate > 0)
    return app.exit(CLI::ValidationError("--close and --rate exclude each other"));
  options.target = "/x?size=" + std::to_string(options.body_bytes);

  Load load{options};
  print("ready", load.prepare());
  for (std::string line; std::getline(std::cin, line);) print("done", load.run());
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "lb_load: %s\n", error.what());
  return 2;
}
