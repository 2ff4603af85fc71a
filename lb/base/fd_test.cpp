#include "lb/base/fd.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace lb {
namespace {

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

Fd open_null() {
  return Fd{::open("/dev/null", O_RDWR | O_CLOEXEC)};
}

TEST(Fd, IsEmptyByDefault) {
  const Fd fd;
  EXPECT_FALSE(fd);
  EXPECT_EQ(fd.get(), -1);
}

TEST(Fd, ClosesAtItsEndAndKeepsErrno) {
  int number = -1;
  {
    const Fd fd = open_null();
    ASSERT_TRUE(fd);
    number = fd.get();
    errno = ENOENT;
  }
  EXPECT_EQ(errno, ENOENT);
  EXPECT_FALSE(is_open(number));
  {
    const Fd closed_already{number};
    errno = EAGAIN;
  }
  EXPECT_EQ(errno, EAGAIN) << "close() failed, and that is nobody's errno";
}

TEST(Fd, MovesAndSurvivesMovingToItself) {
  Fd a = open_null();
  const int number = a.get();
  Fd b{std::move(a)};
  EXPECT_FALSE(a);  // NOLINT(bugprone-use-after-move): moved-from is defined as empty
  EXPECT_EQ(b.get(), number);
  Fd c = open_null();
  const int replaced = c.get();
  c = std::move(b);
  EXPECT_EQ(c.get(), number);
  EXPECT_FALSE(is_open(replaced));
  Fd& same = c;
  c = std::move(same);
  EXPECT_EQ(c.get(), number);
  EXPECT_TRUE(is_open(number));
}

TEST(Fd, ReleaseGivesItAwayAndResetTakesAnother) {
  Fd a = open_null();
  const int number = a.release();
  EXPECT_FALSE(a);
  ASSERT_TRUE(is_open(number));
  Fd b = open_null();
  const int replaced = b.get();
  b.reset(number);
  EXPECT_FALSE(is_open(replaced));
  b.reset();
  EXPECT_FALSE(is_open(number));
  EXPECT_FALSE(b);
  b.reset();
}

TEST(Fd, DuplicateSharesTheDescriptionAndClosesOnExec) {
  const Fd a = open_null();
  const Fd b = a.duplicate();
  ASSERT_TRUE(b);
  EXPECT_NE(a.get(), b.get());
  EXPECT_NE(::fcntl(b.get(), F_GETFD) & FD_CLOEXEC, 0);
  ASSERT_EQ(::fcntl(a.get(), F_SETFL, O_NONBLOCK), 0);
  EXPECT_NE(::fcntl(b.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_FALSE(Fd{}.duplicate());
}

}  // namespace
}  // namespace lb
