// The subcommands that serve nothing: check, diff, schema, reload, status.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <vector>

#include "lb/admin/control_client.hpp"
#include "lb/admin/control_path.hpp"
#include "lb/admin/status_text.hpp"
#include "lb/base/guard.hpp"
#include "lb/config/config.hpp"
#include "lb/config/diff.hpp"
#include "lb/main/cli.hpp"
#include "lb/tls/file_check.hpp"

namespace lb {
namespace {

constexpr int kExitInvalid = 1;
constexpr int kExitUnreadable = 2;
constexpr int kExitRejected = 1;
constexpr int kExitNotReachable = 2;
constexpr int kExitNoAbility = 3;

void print_line(std::FILE* to, const std::string& text) {
  std::fprintf(to, "%s\n", text.c_str());
}

const char* plural(std::size_t n) {
  return n == 1 ? "" : "s";
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

Result<std::string> ask_any(const std::vector<std::string>& paths, const AskArgs& args) {
  Result<std::string> answer = std::unexpected(Error{.message = "nothing listens for " + args.config});
  const auto timeout = std::chrono::duration_cast<Duration>(std::chrono::duration<double>{args.timeout_s});
  for (const std::string& path : paths) {
    answer = ask_control(path, args.reload ? ControlCommand::reload : ControlCommand::status, timeout);
    const bool absent =
        !answer && (answer.error().os_error == ENOENT || answer.error().os_error == ECONNREFUSED);
    if (!absent) break;
  }
  return answer;
}

int show_reload(const std::string& answer, bool json) {
  const ReloadText text = reload_text(answer);
  if (!text.understood) {
    print_line(stderr, "lb reload: " + text.reason);
    return kExitNotReachable;
  }
  if (json) print_line(stdout, answer);
  std::fputs(text.warnings.c_str(), stderr);
  if (!text.applied) {
    print_line(stderr, text.reason);
    return kExitRejected;
  }
  if (!json) print_line(stdout, text.summary);
  return 0;
}

}  // namespace

int check(const CheckArgs& args) {
  const auto loaded = config_load(args.file, tls::file_check(std::chrono::system_clock::now()));
  if (!loaded) {
    print_line(stderr, loaded.error().text(args.file));
    return loaded.error().kind == ConfigErrors::Kind::unreadable ? kExitUnreadable : kExitInvalid;
  }
  const Config& config = *loaded->config;
  for (const ConfigError& warning : loaded->warnings) {
    print_line(stderr, config_error_line(args.file, warning));
  }
  if (args.print) {
    std::fputs(config_print(config).c_str(), stdout);
  } else if (!args.quiet) {
    std::printf("%s: valid, %zu listener%s, %zu backend%s\n", args.file.c_str(), config.listen.size(),
                plural(config.listen.size()), config.backends.size(), plural(config.backends.size()));
  }
  return std::fflush(stdout) == 0 ? 0 : kExitUnreadable;
}

int diff(const DiffArgs& args) {
  const auto before = config_load(args.before);
  const auto after = config_load(args.after);
  if (!before) print_line(stderr, before.error().text(args.before));
  if (!after) print_line(stderr, after.error().text(args.after));
  if (!before || !after) return kExitUnreadable;
  const auto changes = guarded("config_diff", [&] { return config_diff(*before->config, *after->config); });
  if (!changes) {
    print_line(stderr, "lb diff: " + changes.error().message);
    return kExitNoAbility;
  }
  if (args.json) {
    print_line(stdout, changes_json(*changes));
  } else {
    for (const ConfigChange& change : *changes) print_line(stdout, change_line(change));
  }
  if (std::fflush(stdout) != 0) return kExitUnreadable;
  return changes->empty() ? 0 : 1;
}

int schema(const SchemaArgs& args) {
  std::string text = args.markdown ? config_reference() : config_schema();
  if (!text.ends_with('\n')) text += '\n';
  std::fputs(text.c_str(), stdout);
  return std::fflush(stdout) == 0 ? 0 : kExitUnreadable;
}

int ask(const AskArgs& args) {
  const char* name = args.reload ? "lb reload" : "lb status";
  if (args.pid_file.empty() && args.control.empty() && args.config.empty()) {
    std::fprintf(
        stderr,
        "%s: which balancer? Give --pid-file FILE, --control PATH, or -c FILE as it was started with\n",
        name);
    return kExitUsage;
  }
  const auto paths = control_candidates(args);
  const auto answer = ask_any(paths, args);
  if (!answer) {
    std::fprintf(stderr, "%s: cannot reach the balancer: %s\n", name, answer.error().message.c_str());
    for (const std::string& path : paths) {
      const auto generation = orphan_beside(path);
      if (!generation) continue;
      std::fprintf(stderr,
                   "%s: its supervisor is gone, generation %s serves on; start lb again to take over\n", name,
                   generation->c_str());
    }
    return kExitNotReachable;
  }
  if (args.reload) return show_reload(*answer, args.json);
  if (args.json) {
    print_line(stdout, *answer);
  } else {
    std::fputs(status_text(*answer).c_str(), stdout);
  }
  return 0;
}

}  // namespace lb
