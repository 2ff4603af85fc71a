#include "lb/main/cli.hpp"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <limits>
#include <string_view>

#include "lb/health/connectivity.hpp"
#include "lb/main/proxy_data_plane.hpp"
#include "lb/supervisor/generation.hpp"
#include "lb/tls/file_check.hpp"

namespace lb {
namespace {

constexpr const char* kGenerationCommand = "__generation";
constexpr double kAskTimeoutMax = 86'400;

void add_serve(CLI::App& app, ServeArgs& args, std::string& log_format) {
  app.add_option("-c,--config", args.config,
                 "Configuration file: JSON, or YAML when its name ends in .yaml or .yml")
      ->type_name("FILE");
  app.add_option("--pid-file", args.pid_file, "Pid file; overrides pid_file of the configuration")
      ->type_name("FILE");
  app.add_option("--control", args.control, "Control socket; overrides admin.socket of the configuration")
      ->type_name("PATH");
  app.add_option("--log", args.log, "Log to this file instead of standard error")->type_name("FILE");
  app.add_option("--log-format", log_format, "text, or json for one object a line")
      ->check(CLI::IsMember({"text", "json"}));
  app.add_option("--access-log", args.access_log,
                 "Access log, - for standard output; overrides the configuration")
      ->type_name("FILE");
  app.add_option("--last-good", args.last_good,
                 "Keep the last configuration that proved good in this file (default with "
                 "--fallback-last-good: the configuration's name and .last-good)")
      ->type_name("FILE");
  app.add_flag("--fallback-last-good", args.fallback_last_good,
               "When the configuration file is bad at the start, serve the last good one");
  app.add_option(
         "--ticket-keys-interval", args.ticket_keys_renewed_after_s,
         "Seconds after which the keys of TLS session tickets are renewed; a ticket can be used for two "
         "to three intervals, and at most 24 hours")
      ->type_name("S")
      ->check(CLI::Range(0.1, kAskTimeoutMax))
      ->capture_default_str();
  app.add_option("--seed", args.seed, "Seed of all random choices")->type_name("N");
}

CLI::App* add_ask(CLI::App& app, const char* name, const char* help, AskArgs& args, double timeout_s) {
  CLI::App* command = app.add_subcommand(name, help);
  args.timeout_s = timeout_s;
  command->add_option("--pid-file", args.pid_file, "Pid file of the balancer")->type_name("FILE");
  command->add_option("--control", args.control, "Control socket of the balancer")->type_name("PATH");
  command->add_option("-c,--config", args.config, "Configuration file the balancer was started with")
      ->type_name("FILE");
  command->add_option("--timeout", args.timeout_s, "Seconds to wait for the answer")
      ->type_name("S")
      ->check(CLI::Range(0.001, kAskTimeoutMax))
      ->capture_default_str();
  command->add_flag("--json", args.json, "Print the answer as JSON");
  return command;
}

}  // namespace

ProgramArgs parse_args(int argc, const char* const* argv) {
  CLI::App app{
      "A load balancer for HTTP and TCP whose configuration can be replaced under full load.\n"
      "Run it with `lb -c FILE`; it stays in the foreground and logs to standard error.\n"
      "Signals: HUP reload, USR2 or TERM drain and exit, INT exit now, USR1 reopen logs.",
      "lb"};
  app.set_version_flag("--version", std::string{"lb "} + LB_VERSION);
  app.require_subcommand(0, 1);
  ServeArgs serve_args;
  std::string log_format = "text";
  add_serve(app, serve_args, log_format);

  CheckArgs check_args;
  CLI::App* check_command = app.add_subcommand("check", "Check a configuration file; never opens a port");
  check_command->add_option("FILE", check_args.file, "Configuration file")->required()->type_name("");
  check_command->add_flag("--print", check_args.print, "Print the effective configuration, with defaults");
  check_command->add_flag("--quiet", check_args.quiet, "Print errors only");

  DiffArgs diff_args;
  CLI::App* diff_command = app.add_subcommand("diff", "What differs between two configuration files");
  diff_command->add_option("OLD", diff_args.before, "Configuration file")->required()->type_name("");
  diff_command->add_option("NEW", diff_args.after, "Configuration file")->required()->type_name("");
  diff_command->add_flag("--json", diff_args.json, "Print the changes as JSON");
  diff_command->footer(
      "Exit status: 0 the same, 1 different, 2 unreadable or invalid, 3 this build cannot compare");

  SchemaArgs schema_args;
  CLI::App* schema_command = app.add_subcommand("schema", "Print the JSON Schema of the configuration");
  schema_command->add_flag("--markdown", schema_args.markdown,
                           "Print the reference table of all keys instead");

  AskArgs reload_args{.what = AskArgs::What::reload};
  CLI::App* reload_command =
      add_ask(app, "reload", "Reload the configuration of a running balancer, and wait for the answer",
              reload_args, 150);
  reload_command->add_flag(
      "--wait", reload_args.wait,
      "Wait until the old generation has drained, and print the whole ledger of the reload");
  reload_command->footer(
      "Exit status: 0 applied, 1 rejected (the reason is on standard error), 2 not reachable, or with --wait "
      "not "
      "over in time");
  AskArgs status_args;
  CLI::App* status_command = add_ask(app, "status", "Show the state of a running balancer", status_args, 10);
  auto* reloads = status_command->add_flag("--reloads", status_args.reloads,
                                           "Show the ledger of the last 32 reloads instead, a line each");
  status_command
      ->add_option("--reload", status_args.reload_number, "Show all that is known of reload number N")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{1}, std::numeric_limits<std::int64_t>::max()))
      ->excludes(reloads);
  status_command->footer("Exit status: 0 shown, 2 not reachable, or no such reload");
  AskArgs plan_args{.what = AskArgs::What::plan};
  CLI::App* plan_command =
      add_ask(app, "plan", "What a reload with FILE would change and whom it would touch; does nothing",
              plan_args, 10);
  plan_command->add_option("FILE", plan_args.file, "Configuration file to be")->required()->type_name("");
  plan_command->footer(
      "Exit status: 0 nothing would change, 1 safe, 3 disruptive (the verdict says why), 2 FILE is bad or "
      "the "
      "balancer not reachable");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error, std::cout, std::cerr);
    return ExitArgs{code == 0 ? 0 : kExitUsage};
  }
  if (*check_command) return check_args;
  if (*diff_command) return diff_args;
  if (*schema_command) return schema_args;
  if (*reload_command) return reload_args;
  if (*status_command) return status_args;
  if (*plan_command) return plan_args;
  if (serve_args.config.empty()) {
    std::fprintf(stderr, "lb: no configuration: start with `lb -c FILE`, or see `lb --help`\n");
    return ExitArgs{kExitUsage};
  }
  serve_args.log_json = log_format == "json";
  return serve_args;
}

int run_program(int argc, char** argv) {
  if (argc >= 2 && std::string_view{argv[1]} == kGenerationCommand) {
    return run_generation({.reload_config =
                               [](const std::string& path) {
                                 return config_reload(path,
                                                      tls::file_check(std::chrono::system_clock::now()));
                               },
                           .make_data_plane = make_proxy_data_plane});
  }
  struct Run {
    const char* argv0;
    int operator()(const ServeArgs& args) const { return serve(args, argv0); }
    int operator()(const CheckArgs& args) const { return check(args); }
    int operator()(const DiffArgs& args) const { return diff(args); }
    int operator()(const SchemaArgs& args) const { return schema(args); }
    int operator()(const AskArgs& args) const { return ask(args); }
    int operator()(const ExitArgs& args) const { return args.code; }
  };
  return std::visit(Run{argv[0]}, parse_args(argc, argv));
}

}  // namespace lb
