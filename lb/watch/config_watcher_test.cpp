// The watcher that this build has, with the real kernel and the real clock. What it does in every other case
// is judged in a simulation (exercises/ch10/1_watch/checks.py). Everything is waited for by poll(2) on the
// events, as the supervisor does.
#include "lb/watch/config_watcher.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "lb/base/not_implemented.hpp"

namespace lb {
namespace {

namespace fs = std::filesystem;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

constexpr Duration kPatience = 10s;  // of a busy machine; a report ends the wait
constexpr std::size_t kBytesMax = 1 << 20;

class ConfigWatcherTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "lb-config-watcher-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    top_ = pattern;
    folder_ = top_ / "conf";
    fs::create_directory(folder_);
    auto opened = open_file_events(kBytesMax);
    ASSERT_TRUE(opened) << opened.error().message;
    files_ = std::move(*opened);
  }
  void TearDown() override { fs::remove_all(top_); }

  static void write(const fs::path& path, std::string_view text) { std::ofstream{path} << text; }

  void start(const fs::path& path) {
    try {
      watcher_ = make_config_watcher({.path = path, .debounce = 20ms}, *files_);
      const auto started = watcher_->start(monotonic_now());
      ASSERT_TRUE(started) << started.error().message;
    } catch (const NotImplemented& missing) {
      GTEST_SKIP() << missing.what();
    }
  }

  /// Whether there is a report within `patience`; the supervisor's loop.
  [[nodiscard]] bool reports(Duration patience = kPatience) {
    const Instant end = monotonic_now() + patience;
    for (Instant now = monotonic_now(); now < end; now = monotonic_now()) {
      if (watcher_->poll(now)) return true;
      const Instant until = std::min(end, watcher_->next_deadline());
      const auto left = std::chrono::ceil<Milliseconds>(std::max(until - monotonic_now(), Duration{}));
      pollfd events{.fd = files_->fd(), .events = POLLIN, .revents = 0};
      ::poll(&events, 1, static_cast<int>(left.count()));
    }
    return false;
  }

  fs::path top_;
  fs::path folder_;
  std::unique_ptr<FileEvents> files_;
  std::unique_ptr<ConfigWatcher> watcher_;
};

TEST_F(ConfigWatcherTest, AWriteAndARenameAreReportedOnceATouchIsNot) {
  const fs::path file = folder_ / "lb.json";
  write(file, "one");
  start(file);
  if (IsSkipped()) return;
  EXPECT_FALSE(reports(100ms)) << "what was there at the start";
  write(file, "two");
  EXPECT_TRUE(reports());
  write(folder_ / "tmp", "three");
  fs::rename(folder_ / "tmp", file);
  EXPECT_TRUE(reports());
  write(file, "four");
  EXPECT_TRUE(reports()) << "the new inode is watched";
  fs::last_write_time(file, fs::file_time_type::clock::now());
  EXPECT_FALSE(reports(200ms)) << "a touch";
}

TEST_F(ConfigWatcherTest, AMountedConfigurationMapIsSwapped) {
  fs::create_directory(folder_ / "..1");
  write(folder_ / "..1" / "lb.json", "one");
  fs::create_symlink("..1", folder_ / "..data");
  fs::create_symlink("..data/lb.json", folder_ / "lb.json");
  start(folder_ / "lb.json");
  if (IsSkipped()) return;
  fs::create_directory(folder_ / "..2");
  write(folder_ / "..2" / "lb.json", "two");
  fs::create_symlink("..2", folder_ / "..tmp");
  fs::rename(folder_ / "..tmp", folder_ / "..data");
  fs::remove_all(folder_ / "..1");
  EXPECT_TRUE(reports());
  write(folder_ / "lb.json", "three");
  EXPECT_TRUE(reports());
}

TEST_F(ConfigWatcherTest, ADirectoryIsDeletedAndRestored) {
  const fs::path file = folder_ / "lb.json";
  start(file);
  if (IsSkipped()) return;
  write(file, "late");
  EXPECT_TRUE(reports()) << "the file was not there at the start";
  for (const char* text : {"one", "two"}) {
    fs::remove_all(folder_);
    EXPECT_FALSE(reports(100ms)) << "it is gone";
    fs::create_directory(folder_);
    write(file, text);
    EXPECT_TRUE(reports());
  }
}

TEST_F(ConfigWatcherTest, TheQueueOfTheKernelOverflows) {
  std::size_t queue_max = 0;
  std::ifstream{"/proc/sys/fs/inotify/max_queued_events"} >> queue_max;
  if (queue_max == 0 || queue_max > 100'000) GTEST_SKIP() << "a queue of " << queue_max << " events";
  const fs::path file = folder_ / "lb.json";
  write(file, "one");
  start(file);
  if (IsSkipped()) return;
  for (std::size_t i = 0; i <= queue_max / 2; ++i) {  // neighbours; each is created and deleted
    fs::create_symlink("nowhere", folder_ / "a");
    fs::remove(folder_ / "a");
  }
  write(folder_ / "tmp", "two");
  fs::rename(folder_ / "tmp", file);
  EXPECT_TRUE(reports());
  write(file, "three");
  EXPECT_TRUE(reports());
}

}  // namespace
}  // namespace lb
