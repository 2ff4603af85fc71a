#include "lb/main/cli.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <vector>

namespace lb {
namespace {

ProgramArgs parse(std::vector<const char*> words) {
  words.insert(words.begin(), "lb");
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  ProgramArgs args = parse_args(static_cast<int>(words.size()), words.data());
  testing::internal::GetCapturedStdout();
  testing::internal::GetCapturedStderr();
  return args;
}

int mistake(const std::vector<const char*>& words) {
  const auto args = parse(words);
  const auto* exit = std::get_if<ExitArgs>(&args);
  return exit != nullptr ? exit->code : -1;
}

TEST(Cli, Serve) {
  const auto args =
      std::get<ServeArgs>(parse({"-c", "a.json", "--pid-file", "p", "--control", "s", "--log", "l",
                                 "--log-format", "json", "--access-log", "-", "--seed", "7"}));
  EXPECT_EQ(args.config, "a.json");
  EXPECT_EQ(args.pid_file, "p");
  EXPECT_EQ(args.control, "s");
  EXPECT_EQ(args.log, "l");
  EXPECT_TRUE(args.log_json);
  EXPECT_EQ(args.access_log, "-");
  EXPECT_EQ(args.seed, 7U);
  const auto plain = std::get<ServeArgs>(parse({"-c", "a.json"}));
  EXPECT_FALSE(plain.access_log);
  EXPECT_FALSE(plain.seed);
}

TEST(Cli, Subcommands) {
  const auto check = std::get<CheckArgs>(parse({"check", "--print", "f"}));
  EXPECT_EQ(check.file, "f");
  EXPECT_TRUE(check.print);
  EXPECT_EQ(std::get<DiffArgs>(parse({"diff", "a", "b"})).after, "b");
  EXPECT_FALSE(std::get<SchemaArgs>(parse({"schema"})).markdown);
  const auto reload = std::get<AskArgs>(parse({"reload", "--pid-file", "p", "--timeout", "2.5", "--json"}));
  EXPECT_EQ(reload.what, AskArgs::What::reload);
  EXPECT_FALSE(reload.wait);
  EXPECT_EQ(reload.pid_file, "p");
  EXPECT_EQ(reload.timeout_s, 2.5);
  EXPECT_TRUE(reload.json);
  const auto status = std::get<AskArgs>(parse({"status", "-c", "f"}));
  EXPECT_EQ(status.what, AskArgs::What::status);
  EXPECT_EQ(status.config, "f");
  EXPECT_TRUE(std::get<AskArgs>(parse({"reload", "-c", "f", "--wait"})).wait);
  EXPECT_TRUE(std::get<AskArgs>(parse({"status", "-c", "f", "--reloads"})).reloads);
  EXPECT_EQ(std::get<AskArgs>(parse({"status", "-c", "f", "--reload", "7"})).reload_number, 7);
  const auto plan = std::get<AskArgs>(parse({"plan", "next", "-c", "f"}));
  EXPECT_EQ(plan.what, AskArgs::What::plan);
  EXPECT_EQ(plan.file, "next");
}

TEST(Cli, HelpAndVersionEverywhere) {
  EXPECT_EQ(mistake({"--help"}), 0);
  EXPECT_EQ(mistake({"--version"}), 0);
  for (const char* command : {"check", "diff", "schema", "reload", "status", "plan"})
    EXPECT_EQ(mistake({command, "--help"}), 0);
}

TEST(Cli, Mistakes) {
  EXPECT_EQ(mistake({}), 2);
  EXPECT_EQ(mistake({"-c"}), 2);
  EXPECT_EQ(mistake({"nonsense"}), 2);
  EXPECT_EQ(mistake({"check"}), 2);
  EXPECT_EQ(mistake({"check", "a", "b"}), 2);
  EXPECT_EQ(mistake({"diff", "a"}), 2);
  EXPECT_EQ(mistake({"-c", "f", "--log-format", "xml"}), 2);
  EXPECT_EQ(mistake({"-c", "f", "--seed", "many"}), 2);
  EXPECT_EQ(mistake({"reload", "--timeout", "0"}), 2);
  EXPECT_EQ(mistake({"reload", "--timeout", "-1"}), 2);
  EXPECT_EQ(mistake({"status", "check"}), 2);
  EXPECT_EQ(mistake({"status", "-c", "f", "--reload", "0"}), 2);
  EXPECT_EQ(mistake({"status", "-c", "f", "--reloads", "--reload", "3"}), 2);
  EXPECT_EQ(mistake({"plan", "-c", "f"}), 2);
}

/// Captures what a subcommand prints.
struct Ran {
  int code = 0;
  std::string out;
  std::string err;
};
template <class F>
Ran ran(F&& f) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Ran result;
  result.code = f();
  result.out = testing::internal::GetCapturedStdout();
  result.err = testing::internal::GetCapturedStderr();
  return result;
}

class CommandTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "lb-cli-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    good_ = file("good.json", R"({"listen_port": 8080, "backends": [{"host": "127.0.0.1", "port": 9001}]})");
    bad_ = file("bad.json", "{\"listen_port\": 0}");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string file(const char* name, const char* text) const {
    const auto path = folder_ / name;
    std::ofstream{path} << text;
    return path;
  }
  std::filesystem::path folder_;
  std::string good_;
  std::string bad_;
};

TEST_F(CommandTest, Check) {
  Ran r = ran([&] { return check({.file = good_}); });
  EXPECT_EQ(r.code, 0);
  EXPECT_EQ(r.out, good_ + ": valid, 1 listener, 1 backend\n");
  EXPECT_EQ(r.err, "");
  EXPECT_EQ(ran([&] { return check({.file = good_, .quiet = true}); }).out, "");
  r = ran([&] { return check({.file = bad_}); });
  EXPECT_EQ(r.code, 1);
  EXPECT_EQ(r.out, "");
  EXPECT_EQ(r.err.find(bad_ + ":1:"), 0U) << r.err;
  r = ran([&] { return check({.file = folder_ / "none"}); });
  EXPECT_EQ(r.code, 2);
  EXPECT_NE(r.err.find("No such file"), std::string::npos);
  const Ran printed = ran([&] { return check({.file = good_, .print = true}); });
  const std::string again = file("again.json", printed.out.c_str());
  EXPECT_EQ(ran([&] { return check({.file = again, .print = true}); }).out, printed.out);
}

TEST_F(CommandTest, Diff) {
  EXPECT_EQ(ran([&] { return diff({good_, good_}); }).code, 0);
  const std::string other =
      file("other.json",
           R"({"listen_port": 8080, "workers": 3, "backends": [{"host": "127.0.0.1", "port": 9001}]})");
  const Ran r = ran([&] { return diff({good_, other}); });
  EXPECT_EQ(r.code, 1);
  EXPECT_EQ(r.out, "~ workers: 0 -> 3\n");
  EXPECT_EQ(ran([&] { return diff({good_, bad_}); }).code, 2);
  EXPECT_EQ(ran([&] { return diff({folder_ / "none", good_}); }).code, 2);
}

TEST_F(CommandTest, SchemaAndReference) {
  EXPECT_NE(ran([] { return schema({}); }).out.find("\"$schema\""), std::string::npos);
  EXPECT_NE(ran([] { return schema({.markdown = true}); }).out.find("drain_timeout"), std::string::npos);
}

TEST_F(CommandTest, AskingNobody) {
  Ran r = ran([] { return ask({.what = AskArgs::What::reload, .timeout_s = 1}); });
  EXPECT_EQ(r.code, 2);
  EXPECT_NE(r.err.find("which balancer?"), std::string::npos);
  r = ran([&] { return ask({.pid_file = folder_ / "lb.pid", .timeout_s = 1}); });
  EXPECT_EQ(r.code, 2);
  EXPECT_NE(r.err.find("cannot reach the balancer: connect to " + (folder_ / "lb.pid.sock").string()),
            std::string::npos)
      << r.err;
  std::ofstream{folder_ / "lb.pid.sock.orphan.7"} << "";
  r = ran([&] { return ask({.pid_file = folder_ / "lb.pid", .timeout_s = 1}); });
  EXPECT_NE(r.err.find("generation 7 serves on"), std::string::npos) << r.err;
  EXPECT_EQ(ran([&] { return ask({.config = good_, .timeout_s = 1}); }).code, 2);
}

}  // namespace
}  // namespace lb
