#include "lb/supervisor/pid_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace lb {
namespace {

namespace fs = std::filesystem;

class PidFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "lb-pid-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = name + "/lb.pid";
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string content() const {
    std::ifstream in{path_};
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator{folder_}, fs::directory_iterator{}));
  }
  fs::path folder_;
  std::string path_;
};

TEST_F(PidFileTest, AppearsWholeAndLockedAndGoes) {
  {
    auto file = PidFile::claim(path_);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_FALSE(fs::exists(path_)) << "it says that we are ready, so not before";
    EXPECT_FALSE(file->stale());
    ASSERT_TRUE(file->publish());
    EXPECT_EQ(content(), std::to_string(::getpid()) + "\n");
    EXPECT_EQ(files(), 1U);
    const int other = ::open(path_.c_str(), O_RDONLY);
    EXPECT_NE(::flock(other, LOCK_EX | LOCK_NB), 0);
    ::close(other);
    ASSERT_TRUE(file->publish()) << "twice is once";
  }
  EXPECT_EQ(files(), 0U);
}

TEST_F(PidFileTest, SecondIsRefusedAndNamesThePid) {
  auto first = PidFile::claim(path_);
  ASSERT_TRUE(first);
  auto second = PidFile::claim(path_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().os_error, EWOULDBLOCK);
  EXPECT_EQ(second.error().message, "already starting: pid " + std::to_string(::getpid()) +
                                        " holds the pid file " + path_ + ".starting");
  ASSERT_TRUE(first->publish());
  auto third = PidFile::claim(path_);
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().os_error, EWOULDBLOCK);
  EXPECT_EQ(third.error().message,
            "already running: pid " + std::to_string(::getpid()) + " holds the pid file " + path_);
  EXPECT_EQ(files(), 1U) << "the refused one left nothing";
  EXPECT_EQ(content(), std::to_string(::getpid()) + "\n");
}

TEST_F(PidFileTest, StaleIsTakenOver) {
  for (const char* text : {"999999\n", "999999", "1\n", ""}) {
    std::ofstream{path_} << text;
    auto file = PidFile::claim(path_);
    ASSERT_TRUE(file) << file.error().message;
    ASSERT_TRUE(file->stale());
    EXPECT_EQ(*file->stale(), std::atol(text));
    ASSERT_TRUE(file->publish());
    EXPECT_EQ(content(), std::to_string(::getpid()) + "\n");
  }
}

TEST_F(PidFileTest, KilledProcessLeavesAStaleFile) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto file = PidFile::claim(path_);
    if (file && file->publish()) ::pause();
    ::_exit(1);
  }
  while (!fs::exists(path_)) ::usleep(1000);
  EXPECT_FALSE(PidFile::claim(path_));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  auto file = PidFile::claim(path_);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->stale(), child);
}

TEST_F(PidFileTest, WhatIsNoPidFileIsLeftAlone) {
  for (const char* text : {"root:x:0:0", "12 34", "-5", "123456789012345678901234567890", "12\nx"}) {
    std::ofstream{path_} << text;
    auto file = PidFile::claim(path_);
    ASSERT_FALSE(file) << text;
    EXPECT_NE(file.error().message.find("left alone"), std::string::npos) << file.error().message;
    EXPECT_EQ(content(), text);
  }
  EXPECT_EQ(files(), 1U);
}

TEST_F(PidFileTest, FoldersAndMissingFolders) {
  fs::create_directory(path_);
  EXPECT_FALSE(PidFile::claim(path_));
  const auto missing = PidFile::claim(folder_ / "no" / "lb.pid");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().os_error, ENOENT);
}

TEST_F(PidFileTest, NotRemovedWhenSomebodyReplacedIt) {
  {
    auto file = PidFile::claim(path_);
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->publish());
    fs::remove(path_);
    std::ofstream{path_} << "42\n";
  }
  EXPECT_EQ(content(), "42\n");
}

TEST_F(PidFileTest, ManyStartsAtOnceHaveOneWinner) {
  constexpr int kStarts = 20;
  int ready[2], go[2];
  ASSERT_EQ(::pipe(ready), 0);
  ASSERT_EQ(::pipe(go), 0);
  for (int i = 0; i < kStarts; ++i) {
    if (::fork() != 0) continue;
    ::close(go[1]);
    char byte = 0;
    [[maybe_unused]] ssize_t n = ::read(go[0], &byte, 1);  // until the parent closes its end: all at once
    auto file = PidFile::claim(path_);
    byte = file && file->publish() ? 'w' : 'l';
    n = ::write(ready[1], &byte, 1);
    if (byte == 'w') ::pause();
    ::_exit(0);
  }
  ::close(go[1]);
  int winners = 0;
  for (int i = 0; i < kStarts; ++i) {
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    if (byte == 'w') ++winners;
  }
  EXPECT_EQ(winners, 1);
  ::kill(static_cast<pid_t>(std::stol(content())), SIGKILL);
  while (::waitpid(-1, nullptr, 0) > 0) {
  }
}

}  // namespace
}  // namespace lb
