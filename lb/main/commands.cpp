// The subcommands that need no balancer: check, diff, schema.
#include <chrono>
#include <cstdio>

#include "lb/base/guard.hpp"
#include "lb/config/config.hpp"
#include "lb/config/diff.hpp"
#include "lb/main/cli.hpp"
#include "lb/main/print_line.hpp"
#include "lb/tls/file_check.hpp"

namespace lb {
namespace {

constexpr int kExitInvalid = 1;
constexpr int kExitUnreadable = 2;
constexpr int kExitNoAbility = 3;

const char* plural(std::size_t n) {
  return n == 1 ? "" : "s";
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

}  // namespace lb
