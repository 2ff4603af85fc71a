// lb_ledger: compares the ledgers of lb_traffic and lb_backend and judges. See README.md.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "harness/traffic/report.hpp"
#include "lb/base/file.hpp"

namespace lb::traffic {
namespace {

struct Options {
  JudgeOptions judge;
  ReportOptions report;
  std::string marks;
  std::string out = "-";
  std::string removed = "request";
};

int fail(const std::string& message) {
  std::fprintf(stderr, "lb_ledger: cannot judge: %s\n", message.c_str());
  return exit_code(Verdict::cannot_judge);
}

Result<void> read_marks(Options& options) {
  constexpr std::size_t kMarksBytesMax = 256U << 20U;
  if (options.marks.empty()) return {};
  auto text = read_file(options.marks, kMarksBytesMax);
  if (!text) return std::unexpected(text.error());
  auto marks = parse_marks(*text);
  if (!marks)
    return std::unexpected(Error{Fault::config, options.marks + ": " + marks.error().message, 0, false});
  options.judge.marks = std::move(*marks);
  return {};
}

int run(Options options) {
  if (auto read = read_marks(options); !read) return fail(read.error().message);
  options.judge.removed_counts_connection = options.removed == "connection";
  auto judged = Case::open(std::move(options.judge));
  if (!judged) return fail(judged.error().message);
  (*judged)->compare();
  const std::string json = report_json(**judged, options.report);
  if (options.out == "-") {
    std::fwrite(json.data(), 1, json.size(), stdout);
    std::fputc('\n', stdout);
  } else if (auto wrote = write_file_atomic(options.out, json + "\n"); !wrote) {
    return fail(wrote.error().message);
  }
  std::fputs(report_text(**judged).c_str(), stderr);
  return exit_code((*judged)->verdict());
}

int main_checked(int argc, char** argv) {
  Options options;
  CLI::App app("Compares both sides' ledgers and judges: 0 no drops, 1 drops, 2 cannot judge", "lb_ledger");
  app.add_option("--traffic", options.judge.traffic, "ledger of lb_traffic")->required();
  app.add_option("--backend", options.judge.backends, "ledger of lb_backend")->required();
  app.add_option("--marks", options.marks, "JSON list of the reloads");
  app.add_option("--out", options.out, "the report (JSON); - is stdout");
  app.add_option("--slow", options.report.slowest, "how many of the slowest requests are listed")
      ->check(CLI::Range(0, 10000));
  app.add_option("--lines", options.report.lines, "connections in the timeline")
      ->check(CLI::Range(0, 100000));
  app.add_option("--stories", options.report.stories, "drops told in full")->check(CLI::Range(0, 100000));
  app.add_flag("--excuse-faults", options.judge.excuse_faults,
               "what a backend's scripted fault spoilt is no drop, where a retry may rightly lose it");
  app.add_option("--removed", options.removed,
                 "what counts as using a removed backend: any request sent after, or only on connections "
                 "opened after")
      ->check(CLI::IsMember({"request", "connection"}));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return run(std::move(options));
}

}  // namespace
}  // namespace lb::traffic

int main(int argc, char** argv) {
  try {
    return lb::traffic::main_checked(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lb_ledger: %s\n", error.what());
    return 2;
  }
}
