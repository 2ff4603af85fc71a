// The subcommands that ask a running balancer: reload, status, plan.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "lb/admin/control_client.hpp"
#include "lb/admin/control_path.hpp"
#include "lb/admin/plan.hpp"
#include "lb/admin/reload_report.hpp"
#include "lb/admin/status_text.hpp"
#include "lb/base/guard.hpp"
#include "lb/base/json_line.hpp"
#include "lb/config/config.hpp"
#include "lb/config/diff.hpp"
#include "lb/main/cli.hpp"
#include "lb/main/print_line.hpp"
#include "lb/tls/file_check.hpp"

namespace lb {
namespace {

constexpr int kExitRejected = 1;
constexpr int kExitNotReachable = 2;

const char* name_of(AskArgs::What what) noexcept {
  switch (what) {
    case AskArgs::What::reload:
      return "lb reload";
    case AskArgs::What::plan:
      return "lb plan";
    case AskArgs::What::status:
      break;
  }
  return "lb status";
}

std::vector<std::string> control_candidates(const AskArgs& args) {
  if (!args.pid_file.empty()) return {control_beside(args.pid_file)};
  if (!args.control.empty()) return {args.control};
  const auto folder = control_folder(false);
  return folder ? control_names(*folder, args.config) : std::vector<std::string>{};
}

/// A generation that serves although its supervisor was killed, if one waits beside `control`.
std::optional<std::string> orphan_beside(const std::string& control) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::path target = fs::read_symlink(control, error);
  if (error || target.empty()) target = control;
  const std::string prefix = target.filename().string() + ".orphan.";
  const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path{"."};
  for (fs::directory_iterator it{folder, error}, end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  }
  return std::nullopt;
}

/// The answer of the balancer that the arguments name; empty when there is none, and why has been told.
std::optional<std::string> ask_balancer(const AskArgs& args, const ControlQuery& query) {
  const auto paths = control_candidates(args);
  Result<std::string> answer = std::unexpected(Error{.message = "nothing listens for " + args.config});
  const auto timeout = std::chrono::duration_cast<Duration>(std::chrono::duration<double>{args.timeout_s});
  for (const std::string& path : paths) {
    answer = ask_control(path, query, timeout);
    const bool absent =
        !answer && (answer.error().os_error == ENOENT || answer.error().os_error == ECONNREFUSED);
    if (!absent) break;
  }
  if (answer) return *std::move(answer);
  const char* name = name_of(args.what);
  std::fprintf(stderr, "%s: cannot reach the balancer: %s\n", name, answer.error().message.c_str());
  for (const std::string& path : paths) {
    const auto generation = orphan_beside(path);
    if (!generation) continue;
    std::fprintf(stderr, "%s: its supervisor is gone, generation %s serves on; start lb again to take over\n",
                 name, generation->c_str());
  }
  return std::nullopt;
}

int told(bool json, const std::string& line, const std::string& text) {
  if (json) {
    print_line(stdout, line);
  } else {
    std::fputs(text.c_str(), stdout);
  }
  return std::fflush(stdout) == 0 ? 0 : kExitNotReachable;
}

/// The whole of an applied reload, once its drain is over.
int show_whole(const AskArgs& args, const std::string& answer) {
  std::string error;
  const auto number =
      static_cast<std::int64_t>(count_of(OrderedJson::parse(answer, nullptr, false), "number"));
  const auto line = ask_balancer(args, {.command = ControlCommand::reloads, .number = number, .wait = true});
  if (!line) return kExitNotReachable;
  const OrderedJson record = one_reload(*line, error);
  if (record.is_null()) {
    print_line(stderr, "lb reload: " + error);
    return kExitNotReachable;
  }
  return told(args.json, json_line(record), reload_report(record, text_style(STDOUT_FILENO)));
}

int show_reload(const AskArgs& args, const std::string& answer) {
  const ReloadText text = reload_text(answer);
  if (!text.understood) {
    print_line(stderr, "lb reload: " + text.reason);
    return kExitNotReachable;
  }
  const bool waits = args.wait && text.applied;
  if (args.json && !waits) print_line(stdout, answer);
  std::fputs(text.warnings.c_str(), stderr);
  if (!text.applied) {
    print_line(stderr, text.reason);
    return kExitRejected;
  }
  if (waits) return show_whole(args, answer);
  if (args.json) return 0;
  print_line(stdout, text.summary);
  if (!text.drains.empty())
    print_line(stdout, "  " + text.drains + "; lb status --reloads tells how that ends");
  return 0;
}

int show_status(const AskArgs& args) {
  const TextStyle style = text_style(STDOUT_FILENO);
  if (args.reload_number != 0) {
    const auto line = ask_balancer(args, {.command = ControlCommand::reloads, .number = args.reload_number});
    if (!line) return kExitNotReachable;
    std::string error;
    const OrderedJson record = one_reload(*line, error);
    if (record.is_null()) {
      print_line(stderr, "lb status: " + error);
      return kExitNotReachable;
    }
    return told(args.json, json_line(record), reload_report(record, style));
  }
  const auto line =
      ask_balancer(args, {.command = args.reloads ? ControlCommand::reloads : ControlCommand::status});
  if (!line) return kExitNotReachable;
  if (const std::string error = error_of_answer(*line); !error.empty()) {
    print_line(stderr, "lb status: " + error);
    return kExitNotReachable;
  }
  return told(args.json, *line, args.reloads ? reloads_table(*line, style) : status_text(*line));
}

/// The plan of `file`; empty when there is none, and why has been told.
std::optional<Plan> make_plan_of(const AskArgs& args) {
  const auto planned = config_load(args.file, tls::file_check(std::chrono::system_clock::now()));
  if (!planned) {
    print_line(stderr, planned.error().text(args.file));
    return std::nullopt;
  }
  for (const ConfigError& warning : planned->warnings)
    print_line(stderr, config_error_line(args.file, warning));
  const auto failed = [](const std::string& reason) {
    print_line(stderr, "lb plan: " + reason);
    return std::nullopt;
  };
  const auto line = ask_balancer(args, {.command = ControlCommand::plan});
  if (!line) return std::nullopt;
  const auto state = parse_running_state(*line);
  if (!state) return failed(state.error().message);
  const auto running = config_parse(state->text, state->format);
  if (!running) {  // the balancer is of another version
    return failed("the configuration that serves is not valid for this version of lb:\n" +
                  running.error().text("generation " + std::to_string(state->generation)));
  }
  auto changes = guarded("config_diff", [&] { return config_diff(*running->config, *planned->config); });
  if (!changes) return failed(changes.error().message);
  return make_plan(*state, *running->config, *planned, std::move(*changes));
}

int show_plan(const AskArgs& args) {
  const auto plan = make_plan_of(args);
  if (!plan) return kExitUsage;
  const int code = told(args.json, plan_json(*plan), plan_text(*plan, text_style(STDOUT_FILENO)));
  return code == 0 ? plan_exit_code(plan->verdict) : code;
}

}  // namespace

TextStyle text_style(int fd) {
  const char* no_colour = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return {.colour = ::isatty(fd) == 1 && (no_colour == nullptr || no_colour[0] == '\0') && term != nullptr &&
                    std::string_view{term} != "dumb"};
}

int ask(const AskArgs& args) {
  if (args.pid_file.empty() && args.control.empty() && args.config.empty()) {
    std::fprintf(
        stderr,
        "%s: which balancer? Give --pid-file FILE, --control PATH, or -c FILE as it was started with\n",
        name_of(args.what));
    return kExitUsage;
  }
  switch (args.what) {
    case AskArgs::What::plan:
      return show_plan(args);
    case AskArgs::What::status:
      return show_status(args);
    case AskArgs::What::reload:
      break;
  }
  const auto answer = ask_balancer(args, {.command = ControlCommand::reload});
  return answer ? show_reload(args, *answer) : kExitNotReachable;
}

}  // namespace lb
