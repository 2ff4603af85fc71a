// lb_simulate: many simulated runs; see simulator.hpp and `make sim`.
//
//   lb_simulate [--seed N] [--seeds N] [--story] [--sabotage NAME]
//
// Runs the seeds N, N+1, ..., each in the world of reloads and on a link of the handoff protocol, and says
// how many a minute it was. The first that violates an invariant is shrunk and told as a story; exit
// status 1. --story tells one seed as it is.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "lb/supervisor/testing/handoff_simulator.hpp"
#include "lb/supervisor/testing/simulator.hpp"

namespace {

using lb::simulator::Options;
using lb::simulator::Report;

struct Arguments {
  Options options{.seed = 1};
  std::uint64_t seeds = 10'000;
};

bool parse(int argc, char** argv, Arguments& arguments) {
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--story") {
      arguments.options.story = true;
      continue;
    }
    if (++i == argc) return false;
    if (name == "--seed") {
      arguments.options.seed = std::strtoull(argv[i], nullptr, 10);
    } else if (name == "--seeds") {
      arguments.seeds = std::strtoull(argv[i], nullptr, 10);
    } else if (name == "--sabotage") {
      int found = -1;
      for (int s = 0; s < lb::simulator::kSabotages; ++s) {
        const auto sabotage = static_cast<lb::simulator::Sabotage>(s);
        if (std::strcmp(lb::simulator::sabotage_name(sabotage), argv[i]) == 0) found = s;
      }
      if (found < 0) return false;
      arguments.options.sabotage = static_cast<lb::simulator::Sabotage>(found);
    } else {
      return false;
    }
  }
  return true;
}

int tell_violation(const Options& options) {
  const Report report = lb::simulator::shrink(options);
  std::printf(
      "%sseed %llu: %s\n\nThe shortest story with this end that was found, of %zu perturbations; the "
      "whole one: make sim SEED=%llu STORY=1\n",
      report.story.c_str(), static_cast<unsigned long long>(options.seed), report.violation.c_str(),
      report.oddities.size(), static_cast<unsigned long long>(options.seed));
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (!parse(argc, argv, arguments)) {
    std::fprintf(stderr, "usage: lb_simulate [--seed N] [--seeds N] [--story] [--sabotage NAME]\n");
    return 2;
  }
  Options options = arguments.options;
  if (options.story) {
    const Report report = run(options);
    std::printf("%sseed %llu: %s\n", report.story.c_str(), static_cast<unsigned long long>(options.seed),
                report.violation.empty() ? "every invariant held" : report.violation.c_str());
    return report.violation.empty() ? 0 : 1;
  }
  const auto begin = std::chrono::steady_clock::now();
  Report total;
  std::uint64_t moved = 0;
  for (std::uint64_t i = 0; i < arguments.seeds; ++i, ++options.seed) {
    const Report report = run(options);
    if (!report.violation.empty()) return tell_violation(options);
    const auto handoff = lb::simulator::run_handoff(options.seed);
    if (!handoff.violation.empty()) {
      const auto told = lb::simulator::run_handoff(options.seed, lb::simulator::HandoffSabotage::none, true);
      std::printf("%sseed %llu of the handoff protocol: %s\n", told.story.c_str(),
                  static_cast<unsigned long long>(options.seed), told.violation.c_str());
      return 1;
    }
    moved += handoff.moved;
    total.count(report);
  }
  const auto number = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
  const double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf(
      "%llu seeds from %llu, every invariant held: %llu steps, %llu reloads applied, %llu rejected, %llu "
      "undone, %llu restarts, %llu parked ones resumed, %llu supervisors; %llu items handed over\n",
      number(arguments.seeds), number(arguments.options.seed), number(total.steps),
      number(total.reloads_applied), number(total.reloads_rejected), number(total.undone),
      number(total.restarts), number(total.resumed), number(total.supervisors), number(moved));
  std::printf("%.1f s, %.0f seeds a minute\n", s, static_cast<double>(arguments.seeds) * 60 / s);
  return 0;
}
