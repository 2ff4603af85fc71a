// The kernel's inotify behind FileEvents, in a temporary directory: events are queued before the call that
// causes them returns, so nothing is waited for.
#include "lb/watch/file_events.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/inotify.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

namespace lb {
namespace {

namespace fs = std::filesystem;

class FileEventsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "lb-file-events-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    auto opened = open_file_events(16);
    ASSERT_TRUE(opened) << opened.error().message;
    files_ = std::move(*opened);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const std::string& name, std::string_view text) const { std::ofstream{folder_ / name} << text; }

  [[nodiscard]] bool is_readable() const {
    pollfd watched{.fd = files_->fd(), .events = POLLIN, .revents = 0};
    return ::poll(&watched, 1, 0) == 1;
  }

  fs::path folder_;
  std::unique_ptr<FileEvents> files_;
};

TEST_F(FileEventsTest, EventsOfADirectoryHaveNamesInOrder) {
  const auto watch = files_->add_watch(folder_, IN_CREATE | IN_CLOSE_WRITE | IN_DELETE);
  ASSERT_TRUE(watch);
  EXPECT_FALSE(is_readable());
  EXPECT_TRUE(files_->read().empty());
  write("a", "1");
  fs::remove(folder_ / "a");
  EXPECT_TRUE(is_readable());
  const std::vector<FileEvent> expected{{.watch = *watch, .mask = IN_CREATE, .name = "a"},
                                        {.watch = *watch, .mask = IN_CLOSE_WRITE, .name = "a"},
                                        {.watch = *watch, .mask = IN_DELETE, .name = "a"}};
  EXPECT_EQ(files_->read(), expected);
  EXPECT_FALSE(is_readable());
}

TEST_F(FileEventsTest, BothHalvesOfARenameHaveOneCookie) {
  ASSERT_TRUE(files_->add_watch(folder_, IN_MOVED_FROM | IN_MOVED_TO));
  write("a", "1");
  fs::rename(folder_ / "a", folder_ / "b");
  const auto events = files_->read();
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].name, "a");
  EXPECT_EQ(events[1].name, "b");
  EXPECT_NE(events[0].cookie, 0U);
  EXPECT_EQ(events[0].cookie, events[1].cookie);
}

TEST_F(FileEventsTest, TheSameInodeHasOneNumberAndTheMaskGivenLast) {
  write("a", "1");
  fs::create_hard_link(folder_ / "a", folder_ / "b");
  const auto first = files_->add_watch(folder_ / "a", IN_MODIFY);
  const auto second = files_->add_watch(folder_ / "b", IN_ATTRIB);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(*first, *second);
  write("a", "2");
  EXPECT_TRUE(files_->read().empty());
}

TEST_F(FileEventsTest, ARemovedWatchAndADeletedFileAreToldByIgnored) {
  write("a", "1");
  const auto folder = files_->add_watch(folder_, IN_CREATE);
  const auto file = files_->add_watch(folder_ / "a", IN_DELETE_SELF);
  ASSERT_TRUE(folder && file);
  fs::remove(folder_ / "a");
  files_->remove_watch(*folder);
  files_->remove_watch(*folder);
  files_->remove_watch(12345);
  const std::vector<FileEvent> expected{{.watch = *file, .mask = IN_DELETE_SELF, .name = ""},
                                        {.watch = *file, .mask = IN_IGNORED, .name = ""},
                                        {.watch = *folder, .mask = IN_IGNORED, .name = ""}};
  EXPECT_EQ(files_->read(), expected);
}

TEST_F(FileEventsTest, ErrorsHaveErrno) {
  write("a", "1");
  EXPECT_EQ(files_->add_watch(folder_ / "none", IN_MODIFY).error().os_error, ENOENT);
  EXPECT_EQ(files_->add_watch(folder_ / "a", IN_MODIFY | IN_ONLYDIR).error().os_error, ENOTDIR);
  EXPECT_EQ(files_->read_link(folder_ / "none").error().os_error, ENOENT);
  EXPECT_EQ(files_->read_link(folder_ / "a").error().os_error, EINVAL);
  EXPECT_EQ(files_->read_link(folder_).error().os_error, EINVAL);
  EXPECT_EQ(files_->read_file(folder_ / "none").error().os_error, ENOENT);
  EXPECT_EQ(files_->read_file(folder_).error().os_error, EISDIR);
}

TEST_F(FileEventsTest, LinksAreReadAsTheyAreWrittenAndFilesThroughThem) {
  write("a", "1");
  fs::create_symlink("../none/./a", folder_ / "dangling");
  fs::create_symlink("a", folder_ / "link");
  EXPECT_EQ(files_->read_link(folder_ / "dangling"), "../none/./a");
  EXPECT_EQ(files_->read_file(folder_ / "link"), "1");
}

TEST_F(FileEventsTest, AFileHasAtMostTheBytesAllowed) {
  write("a", std::string(16, 'x'));
  EXPECT_EQ(files_->read_file(folder_ / "a"), std::string(16, 'x'));
  write("a", std::string(17, 'x'));
  EXPECT_EQ(files_->read_file(folder_ / "a").error().os_error, EFBIG);
}

}  // namespace
}  // namespace lb
