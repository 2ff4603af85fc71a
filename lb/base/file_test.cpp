#include "lb/base/file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>

namespace lb {
namespace {

class File : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "lb_file_test.XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::string path(const char* name) const { return (folder_ / name).string(); }
  [[nodiscard]] std::ptrdiff_t files() const {
    return std::distance(std::filesystem::directory_iterator{folder_}, std::filesystem::directory_iterator{});
  }

  std::filesystem::path folder_;
};

TEST_F(File, ReadsWhatWasWritten) {
  for (const std::size_t size : {0UL, 1UL, 65'535UL, 65'536UL, 65'537UL, 300'000UL}) {
    std::string bytes(size, 'x');
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 31);
    ASSERT_TRUE(write_file_atomic(path("a"), bytes).has_value());
    const auto read = read_file(path("a"), 1'000'000);
    ASSERT_TRUE(read.has_value()) << read.error().message;
    EXPECT_EQ(*read, bytes);
  }
  EXPECT_EQ(files(), 1) << "no temporary file stays";
}

TEST_F(File, TheLimitIsInclusive) {
  for (const std::size_t limit : {0UL, 10UL, 65'536UL, 100'000UL}) {
    ASSERT_TRUE(write_file_atomic(path("a"), std::string(limit, 'x')).has_value());
    EXPECT_TRUE(read_file(path("a"), limit).has_value()) << limit;
    ASSERT_TRUE(write_file_atomic(path("a"), std::string(limit + 1, 'x')).has_value());
    const auto over = read_file(path("a"), limit);
    ASSERT_FALSE(over.has_value()) << limit;
    EXPECT_EQ(over.error().os_error, EFBIG);
    EXPECT_EQ(over.error().message,
              "read " + path("a") + ": larger than the limit of " + std::to_string(limit) + " bytes");
  }
}

TEST_F(File, EndlessFilesStopAtTheLimit) {
  const auto read = read_file("/dev/zero", 1'000'000);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().os_error, EFBIG);
}

TEST_F(File, ErrorsNameTheCallTheFileAndTheReason) {
  const auto missing = read_file(path("missing"), 100);
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().os_error, ENOENT);
  EXPECT_EQ(missing.error().message, "open " + path("missing") + ": No such file or directory");
  const auto folder = read_file(folder_.string(), 100);
  ASSERT_FALSE(folder.has_value());
  EXPECT_EQ(folder.error().os_error, EISDIR);
  const auto in_missing = write_file_atomic(path("no/a"), "x");
  ASSERT_FALSE(in_missing.has_value());
  EXPECT_EQ(in_missing.error().os_error, ENOENT);
}

TEST_F(File, AFifoWithoutWriterDoesNotBlock) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  const auto read = read_file(path("fifo"), 100);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(*read, "");
}

TEST_F(File, WritingKeepsTheOldFileWhenItFailsAndLeavesNothing) {
  std::filesystem::create_directory(path("taken"));
  const auto written = write_file_atomic(path("taken"), "x");
  ASSERT_FALSE(written.has_value());
  EXPECT_TRUE(written.error().message.starts_with("rename to " + path("taken"))) << written.error().message;
  EXPECT_EQ(files(), 1);
  EXPECT_TRUE(std::filesystem::is_directory(path("taken")));
}

TEST_F(File, WritingSetsTheModeWhateverTheUmask) {
  const mode_t old_umask = ::umask(0077);
  const auto written = write_file_atomic(path("a"), "x", 0644);
  ::umask(old_umask);
  ASSERT_TRUE(written.has_value());
  struct stat info{};
  ASSERT_EQ(::stat(path("a").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777U, 0644U);
}

TEST_F(File, AReaderSeesTheOldFileOrTheNewOneWhole) {
  const std::string one(100'000, '1');
  const std::string two(50'000, '2');
  ASSERT_TRUE(write_file_atomic(path("a"), one).has_value());
  std::jthread writer{[&] {
    for (int i = 0; i < 50; ++i) {
      EXPECT_TRUE(write_file_atomic(path("a"), i % 2 == 0 ? two : one).has_value());
    }
  }};
  for (int i = 0; i < 200; ++i) {
    const auto read = read_file(path("a"), 200'000);
    ASSERT_TRUE(read.has_value());
    EXPECT_TRUE(*read == one || *read == two) << read->size();
  }
}

TEST_F(File, ReadFdStartsAtTheBeginningAndLeavesTheOffset) {
  ASSERT_TRUE(write_file_atomic(path("a"), "0123456789").has_value());
  const Fd fd{::open(path("a").c_str(), O_RDONLY | O_CLOEXEC)};
  ASSERT_TRUE(fd);
  ASSERT_EQ(::lseek(fd.get(), 4, SEEK_SET), 4);
  EXPECT_EQ(read_fd(fd.get(), "a", 100).value(), "0123456789");
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_CUR), 4);
  const auto bad = read_fd(-1, "nothing", 100);
  ASSERT_FALSE(bad.has_value());
  EXPECT_EQ(bad.error().message, "stat nothing: Bad file descriptor");
}

TEST_F(File, ReadFdReadsAPipeToItsEnd) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const Fd read_end{ends[0]};
  Fd write_end{ends[1]};
  ASSERT_EQ(::write(write_end.get(), "hello", 5), 5);
  write_end.reset();
  EXPECT_EQ(read_fd(read_end.get(), "pipe", 5).value(), "hello");
}

TEST_F(File, AMemoryFileIsSealed) {
  const auto fd = memory_file("test", "content");
  ASSERT_TRUE(fd.has_value()) << fd.error().message;
  EXPECT_EQ(read_fd(fd->get(), "test", 100).value(), "content");
  EXPECT_EQ(::pwrite(fd->get(), "x", 1, 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(fd->get(), 0), -1);
  EXPECT_NE(::fcntl(fd->get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_FALSE(memory_file(std::string(300, 'n').c_str(), "x").has_value());
}

}  // namespace
}  // namespace lb
