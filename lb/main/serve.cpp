// `lb -c FILE`: the supervisor with everything wired to it.
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <random>

#include "lb/main/cli.hpp"
#include "lb/main/control_adapter.hpp"
#include "lb/supervisor/supervisor.hpp"

namespace lb {
namespace {

/// Of a run that was not given one; it is logged, so that any run can be repeated.
std::uint64_t random_seed() {
  std::random_device device;
  return (std::uint64_t{device()} << 32U) | device();
}

}  // namespace

int serve(const ServeArgs& args, const char* argv0) {
  const LogFormat format = args.log_json ? LogFormat::json : LogFormat::text;
  const bool colour = args.log.empty() && !args.log_json && text_style(STDERR_FILENO).colour;
  auto log = EventLog::open({.format = format, .path = args.log, .role = "supervisor", .colour = colour});
  if (!log) {
    std::fprintf(stderr, "lb: %s\n", log.error().message.c_str());
    return exit_code(StartFailure::other);
  }
  EventLog& events = **log;
  const auto result = run_supervisor(
      {.generation_program = {.path = own_program_path(argv0), .args = {"__generation"}},
       .config_path = args.config,
       .pid_file = args.pid_file,
       .control_path = args.control,
       .default_control_path = [&](const std::string& path) { return default_control_path(path, events); },
       .open_control = control_opener(args.config),
       .log_path = args.log,
       .log_format = format,
       .log_colour = colour,
       .access_log = args.access_log,
       .last_good_path =
           args.last_good.empty() && args.fallback_last_good ? args.config + ".last-good" : args.last_good,
       .fallback_last_good = args.fallback_last_good,
       .ticket_keys_renewed_after = Milliseconds{std::llround(args.ticket_keys_renewed_after_s * 1000)},
       .seed = args.seed.value_or(random_seed()),
       .version = LB_VERSION},
      events);
  if (!result.message.empty()) {
    const bool about_the_file = result.code == exit_code(StartFailure::invalid_config) ||
                                result.code == exit_code(StartFailure::unreadable_config);
    std::fprintf(stderr, "%s%s\n", about_the_file ? "" : "lb: ", result.message.c_str());
  }
  return result.code;
}

}  // namespace lb
