// The command line: what was asked for, and the composition root that carries it out.
//
//   exit codes of `lb -c FILE`: 0 stopped; 1 invalid configuration; 2 cannot read it, or wrong usage; 3
//   already running (pid file or control socket held); 4 cannot listen; 5 anything else
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "lb/admin/text_style.hpp"

namespace lb {

inline constexpr int kExitUsage = 2;

struct ServeArgs {
  std::string config{};
  std::string pid_file{};
  std::string control{};
  std::string log{};
  bool log_json = false;
  std::optional<std::string> access_log{};
  std::string last_good{};
  bool fallback_last_good = false;
  double ticket_keys_renewed_after_s = 12.0 * 3600;
  std::optional<std::uint64_t> seed{};
};
struct CheckArgs {
  std::string file{};
  bool print = false;
  bool quiet = false;
};
struct DiffArgs {
  std::string before{};
  std::string after{};
  bool json = false;
};
struct SchemaArgs {
  bool markdown = false;
};
/// `lb reload`, `lb status` and `lb plan`: which balancer, what of it, and how to show its answer.
struct AskArgs {
  enum class What : std::uint8_t { reload, status, plan };
  What what = What::status;
  std::string pid_file{};
  std::string control{};
  std::string config{};
  double timeout_s = 0;  // for each answer
  bool json = false;
  bool wait = false;               // reload: until its drain is over
  bool reloads = false;            // status: the ledger
  std::int64_t reload_number = 0;  // status: of it this one; 0: none
  std::string file{};              // plan: the configuration to be
};
/// Nothing more to do: help, version, or a mistake that has been told.
struct ExitArgs {
  int code = 0;
};

using ProgramArgs = std::variant<ServeArgs, CheckArgs, DiffArgs, SchemaArgs, AskArgs, ExitArgs>;

/// Prints help and version to standard output, mistakes to standard error.
ProgramArgs parse_args(int argc, const char* const* argv);

int serve(const ServeArgs& args, const char* argv0);
int check(const CheckArgs& args);
int diff(const DiffArgs& args);
int schema(const SchemaArgs& args);
int ask(const AskArgs& args);

/// Colours only on a terminal that has them, and not with NO_COLOR (https://no-color.org).
TextStyle text_style(int fd);

/// The whole program.
int run_program(int argc, char** argv);

}  // namespace lb
