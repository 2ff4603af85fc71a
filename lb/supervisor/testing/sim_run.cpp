// Running a seed, and making its story short.
#include <algorithm>
#include <cctype>
#include <iterator>

#include "lb/supervisor/testing/sim_world.hpp"

namespace lb::simulator {
namespace {

/// The violation without its numbers: what a shorter story must lead to as well.
std::string kind_of(std::string violation) {
  std::erase_if(violation, [](unsigned char c) { return std::isdigit(c) != 0; });
  return violation;
}

}  // namespace

const char* sabotage_name(Sabotage sabotage) noexcept {
  constexpr const char* kNames[kSabotages] = {"none",
                                              "lose_answer",
                                              "answer_twice",
                                              "lose_kill",
                                              "lose_restart",
                                              "release_too_early",
                                              "refuse_rollback",
                                              "missing_acknowledge",
                                              "early_ready",
                                              "close_parked_sockets",
                                              "park_drains",
                                              "release_needed",
                                              "keep_parked",
                                              "resume_deaf",
                                              "resume_old_shards",
                                              "resume_lost_backends",
                                              "resume_unanswered",
                                              "ignore_probe"};
  return kNames[static_cast<int>(sabotage)];
}

Report run(const Options& options) {
  return World{options}.run();
}

/// Leaves out ever smaller pieces of what happened, as long as the same violation remains (delta debugging;
/// Zeller and Hildebrandt, 2002).
Report shrink(const Options& options) {
  Options quiet = options;
  quiet.story = false;
  Report first = run(quiet);
  if (first.violation.empty()) return first;
  const std::string kind = kind_of(first.violation);
  std::vector<Oddity> kept{first.oddities};
  for (std::size_t piece = std::max<std::size_t>(1, kept.size() / 2);; piece /= 2) {
    for (std::size_t at = 0; at < kept.size();) {
      Options fewer = quiet;
      const std::size_t end = std::min(kept.size(), at + piece);
      fewer.left_out.insert(kept.begin() + static_cast<std::ptrdiff_t>(at),
                            kept.begin() + static_cast<std::ptrdiff_t>(end));
      const Report report = run(fewer);
      if (kind_of(report.violation) != kind) {
        at = end;
        continue;
      }
      quiet = std::move(fewer);
      kept = report.oddities;
    }
    if (piece <= 1) break;
  }
  quiet.story = true;
  return run(quiet);
}

}  // namespace lb::simulator
