#include "lb/observe/event_log.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <limits>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/base/file.hpp"

namespace lb {
namespace {

constexpr std::int64_t kTimeUs = 1'795'428'000'123'456;  // 2026-11-23T10:00:00.123456Z

class EventLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "lb_event_log_test.XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] EventLog::Options options(LogFormat format) const {
    return {.format = format, .path = path(), .unix_time_us = [] { return kTimeUs; }};
  }
  static std::unique_ptr<EventLog> open(EventLog::Options options) {
    auto log = EventLog::open(std::move(options));
    EXPECT_TRUE(log.has_value());
    return log ? std::move(*log) : nullptr;
  }
  [[nodiscard]] std::string path() const { return (folder_ / "lb.log").string(); }
  [[nodiscard]] std::string content() const { return read_file(path(), 100'000'000).value(); }
  static std::string pid() { return std::to_string(::getpid()); }

  std::filesystem::path folder_;
};

TEST_F(EventLogTest, Text) {
  auto o = options(LogFormat::text);
  o.generation = 3;
  o.role = "generation";
  o.config_hash = "00ff00ff00ff00ff";
  const auto log = open(std::move(o));
  log->info(
      "reload.applied", "generation 3 serves",
      {{"duration_ms", std::int64_t{12}}, {"ratio", 0.25}, {"forced", false}, {"listen", "127.0.0.1:80"}});
  log->warn("backend.down", "b1 cannot be reached");
  log->error("drain.end", "");
  EXPECT_EQ(content(),
            "2026-11-23T10:00:00.123Z info  generation=3 reload.applied: generation 3 serves duration_ms=12 "
            "ratio=0.25 forced=false listen=127.0.0.1:80\n"
            "2026-11-23T10:00:00.123Z warn  generation=3 backend.down: b1 cannot be reached\n"
            "2026-11-23T10:00:00.123Z error generation=3 drain.end: \n");
  EXPECT_EQ(log->failed_writes(), 0U);
}

TEST_F(EventLogTest, TextQuotesValuesThatNeedIt) {
  const auto log = open(options(LogFormat::text));
  log->info(
      "x", "a \"b\"\nforged",
      {{"empty", ""}, {"spaced", "a b"}, {"equals", "a=b"}, {"quote", "say \"hi\""}, {"bytes", "\xff\n"}});
  EXPECT_EQ(content(),
            "2026-11-23T10:00:00.123Z info  x: a \"b\"\\nforged empty=\"\" spaced=\"a b\" equals=\"a=b\" "
            "quote=\"say \\\"hi\\\"\" bytes=\\xff\\n\n");
}

TEST_F(EventLogTest, TextInColourOnlyWhenAsked) {
  auto o = options(LogFormat::text);
  o.colour = true;
  const auto log = open(std::move(o));
  log->error("x", "m");
  EXPECT_EQ(content(), "2026-11-23T10:00:00.123Z \x1b[1;31merror\x1b[0m x: m\n");
}

TEST_F(EventLogTest, Json) {
  auto o = options(LogFormat::json);
  o.generation = 3;
  o.role = "generation";
  o.config_hash = "00ff00ff00ff00ff";
  const auto log = open(std::move(o));
  log->warn("reload.rejected", "line 3: \"x\"\n\xff",
            {{"count", std::int64_t{-1}},
             {"ratio", 0.1},
             {"nan", std::numeric_limits<double>::quiet_NaN()},
             {"ok", true},
             {"path", "/a\\b"}});
  EXPECT_EQ(content(),
            "{\"time\":\"2026-11-23T10:00:00.123Z\",\"level\":\"warning\",\"event\":\"reload.rejected\","
            "\"role\":\"generation\",\"pid\":" +
                pid() +
                ",\"generation\":3,\"config\":\"00ff00ff00ff00ff\","
                "\"message\":\"line 3: \\\"x\\\"\\n\\ufffd\",\"count\":-1,\"ratio\":0.1,\"nan\":null,"
                "\"ok\":true,\"path\":\"/a\\\\b\"}\n");
}

TEST_F(EventLogTest, JsonLeavesOutWhatIsNotKnown) {
  const auto log = open(options(LogFormat::json));
  log->info("ready", "");
  EXPECT_EQ(content(),
            "{\"time\":\"2026-11-23T10:00:00.123Z\",\"level\":\"info\",\"event\":\"ready\",\"role\":\"lb\","
            "\"pid\":" +
                pid() + ",\"message\":\"\"}\n");
}

TEST_F(EventLogTest, LevelsBelowTheChosenAreLeftOut) {
  auto o = options(LogFormat::text);
  o.level = LogLevel::warning;
  const auto log = open(std::move(o));
  log->write(LogLevel::debug, "d", "");
  log->info("i", "");
  EXPECT_EQ(content(), "");
  log->warn("w", "");
  log->error("e", "");
  EXPECT_EQ(std::ranges::count(content(), '\n'), 2);

  auto all = options(LogFormat::text);
  all.level = LogLevel::debug;
  open(std::move(all))->write(LogLevel::debug, "d", "m");
  EXPECT_TRUE(content().ends_with("Z debug d: m\n"));
}

TEST_F(EventLogTest, LongValuesAreCutBetweenCharacters) {
  const auto log = open(options(LogFormat::json));
  const std::string most(kLogValueBytesMax, 'm');
  log->info("x", most);
  EXPECT_NE(content().find("\"message\":\"" + most + "\"}"), std::string::npos);
  log->info("x", most + "m");
  EXPECT_NE(content().find("\"message\":\"" + most + "...\"}"), std::string::npos);
  for (std::size_t tail = 1; tail <= 4; ++tail) {
    std::string cut = most.substr(0, kLogValueBytesMax - tail);
    log->info("y", cut + "\U0001f600" + "z");
    if (tail == 4) cut += "\U0001f600";
    const std::string all = content();
    EXPECT_NE(all.find("\"message\":\"" + cut + "...\"}\n"), std::string::npos) << tail;
    EXPECT_EQ(all.find("ufffd"), std::string::npos) << tail;
  }
  log->info("z", std::string(kLogValueBytesMax + 1, '\x80'));  // no character at all to cut before
  EXPECT_TRUE(content().ends_with("\\ufffd...\"}\n"));
}

TEST_F(EventLogTest, AppendsToAnExistingFile) {
  open(options(LogFormat::text))->info("a", "");
  open(options(LogFormat::text))->info("b", "");
  EXPECT_EQ(std::ranges::count(content(), '\n'), 2);
}

TEST_F(EventLogTest, ThatCannotBeOpenedIsAnError) {
  auto o = options(LogFormat::text);
  o.path = (folder_ / "missing" / "lb.log").string();
  const auto log = EventLog::open(std::move(o));
  ASSERT_FALSE(log.has_value());
  EXPECT_EQ(log.error().message,
            "open log " + (folder_ / "missing/lb.log").string() + ": No such file or directory");
  EXPECT_EQ(log.error().os_error, ENOENT);
}

TEST_F(EventLogTest, ReopenFollowsARotation) {
  const auto log = open(options(LogFormat::text));
  log->info("before", "");
  std::filesystem::rename(path(), folder_ / "lb.log.1");
  log->info("between", "");
  EXPECT_FALSE(std::filesystem::exists(path()));
  ASSERT_TRUE(log->reopen().has_value());
  log->info("after", "");
  EXPECT_TRUE(content().ends_with(" after: \n"));
  EXPECT_EQ(std::ranges::count(content(), '\n'), 1);
  const std::string old = read_file((folder_ / "lb.log.1").string(), 10'000).value();
  EXPECT_EQ(std::ranges::count(old, '\n'), 2);
}

TEST_F(EventLogTest, ReopenThatFailsKeepsTheOldFile) {
  const auto log = open(options(LogFormat::text));
  std::filesystem::rename(path(), folder_ / "lb.log.1");
  std::filesystem::create_directory(path());
  const auto reopened = log->reopen();
  ASSERT_FALSE(reopened.has_value());
  EXPECT_EQ(reopened.error().os_error, EISDIR);
  log->info("still", "");
  const std::string old = read_file((folder_ / "lb.log.1").string(), 10'000).value();
  EXPECT_TRUE(old.ends_with(" still: \n"));
  EXPECT_EQ(log->failed_writes(), 0U);
}

TEST_F(EventLogTest, AFullDiskIsCountedAndNeverFatal) {
  auto o = options(LogFormat::text);
  o.path = "/dev/full";
  const auto log = open(std::move(o));
  log->info("a", "");
  log->info("b", "");
  EXPECT_EQ(log->failed_writes(), 2U);
}

TEST_F(EventLogTest, AfterATornLineTheNextBeginsOnItsOwn) {
  // A pipe that is almost full takes a long line in part, as a disk does whose last block it meets.
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const Fd read_end{ends[0]};
  const Fd write_end{ends[1]};
  const int capacity = ::fcntl(write_end.get(), F_SETPIPE_SZ, 4096);
  ASSERT_GE(capacity, 4096);
  auto o = options(LogFormat::text);
  o.path = "/proc/self/fd/" + std::to_string(write_end.get());
  const auto log = open(std::move(o));
  // Opening through /proc made a description of its own, which blocks; this one must not.
  for (int fd = 3; fd < 64; ++fd) {
    if (fd != read_end.get() && (::fcntl(fd, F_GETFL) & O_APPEND) != 0)
      ::fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK);
  }
  log->info("long", std::string(static_cast<std::size_t>(capacity), 'x'));
  EXPECT_EQ(log->failed_writes(), 1U);
  std::string got(100'000, '\0');
  const ssize_t torn = ::read(read_end.get(), got.data(), got.size());
  EXPECT_GT(torn, 0);
  log->info("next", "");
  log->info("and", "");
  const ssize_t n = ::read(read_end.get(), got.data(), got.size());
  ASSERT_GT(n, 0);
  EXPECT_EQ(got.substr(0, static_cast<std::size_t>(n)),
            "\n2026-11-23T10:00:00.123Z info  next: \n2026-11-23T10:00:00.123Z info  and: \n");
  EXPECT_EQ(log->failed_writes(), 1U);
}

TEST_F(EventLogTest, WithoutAPathItWritesToStandardError) {
  auto o = options(LogFormat::text);
  o.path.clear();
  const auto log = open(std::move(o));
  ASSERT_TRUE(log->reopen().has_value());
  const Fd saved{::dup(STDERR_FILENO)};
  const Fd file{::open(path().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)};
  ASSERT_EQ(::dup2(file.get(), STDERR_FILENO), STDERR_FILENO);
  log->info("x", "m");
  ASSERT_EQ(::dup2(saved.get(), STDERR_FILENO), STDERR_FILENO);
  EXPECT_EQ(content(), "2026-11-23T10:00:00.123Z info  x: m\n");
}

TEST_F(EventLogTest, TheSystemClockIsTheDefault) {
  auto o = options(LogFormat::text);
  o.unix_time_us = {};
  open(std::move(o))->info("x", "");
  EXPECT_TRUE(content().starts_with("20")) << content();
}

TEST_F(EventLogTest, ThreadsAndProcessesDoNotMixLines) {
  constexpr int kLines = 2000;
  const std::string filler(300, 'f');
  const auto write_lines = [&](EventLog& log, std::int64_t writer) {
    for (std::int64_t i = 0; i < kLines; ++i) log.info("line", filler, {{"writer", writer}, {"i", i}});
  };
  const auto log = open(options(LogFormat::text));
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {  // an own description of the same file, as another generation has
    const auto own = EventLog::open(options(LogFormat::text));
    if (!own) ::_exit(1);
    write_lines(**own, 0);
    ::_exit((*own)->failed_writes() == 0 ? 0 : 1);
  }
  {
    std::vector<std::jthread> threads;
    for (std::int64_t writer = 1; writer <= 2; ++writer) {
      threads.emplace_back([&, writer] { write_lines(*log, writer); });
    }
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  std::set<std::string> lines;
  const std::string all = content();
  for (std::size_t start = 0; start < all.size();) {
    const std::size_t end = all.find('\n', start);
    lines.insert(all.substr(start, end - start));
    start = end + 1;
  }
  EXPECT_EQ(lines.size(), 3U * kLines);
  const std::string prefix = "2026-11-23T10:00:00.123Z info  line: " + filler + " writer=";
  for (int writer = 0; writer < 3; ++writer) {
    for (int i = 0; i < kLines; ++i) {
      ASSERT_TRUE(lines.contains(prefix + std::to_string(writer) + " i=" + std::to_string(i)));
    }
  }
}

TEST_F(EventLogTest, MayBeReopenedWhileOthersWrite) {
  const auto log = open(options(LogFormat::text));
  {
    std::jthread writer{[&] {
      for (int i = 0; i < 3000; ++i) log->info("line", "");
    }};
    for (int i = 0; i < 300; ++i) EXPECT_TRUE(log->reopen().has_value());
  }
  EXPECT_EQ(std::ranges::count(content(), '\n'), 3000);
}

}  // namespace
}  // namespace lb
