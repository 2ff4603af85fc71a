#include "lb/proxy/splice_pipe.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <string>

#include "lb/base/open_fds.hpp"
#include "lb/proxy/outbox.hpp"

namespace lb {
namespace {

constexpr Instant kStart{std::chrono::hours{1}};

/// Two connected non-blocking sockets.
struct Ends {
  Ends() {
    std::array<int, 2> fds{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds.data()), 0);
    near.reset(fds[0]);
    far.reset(fds[1]);
  }
  Fd near;
  Fd far;
};

std::string read_all(int fd) {
  std::string all;
  std::array<char, 4096> buffer{};
  for (ssize_t n = 0; (n = ::recv(fd, buffer.data(), buffer.size(), 0)) > 0;) {
    all.append(buffer.data(), static_cast<std::size_t>(n));
  }
  return all;
}

TEST(SplicePipe, MovesBytesFromSocketToSocket) {
  Ends source;
  Ends target;
  auto pipe = SplicePipe::open();
  ASSERT_NE(pipe, nullptr);
  ASSERT_EQ(::send(source.far.get(), "hello", 5, 0), 5);
  EXPECT_EQ(pipe->fill_from(source.near.get(), 3), 3);  // no more than asked for
  EXPECT_TRUE(pipe->drain_into(target.near.get()));
  EXPECT_EQ(pipe->fill_from(source.near.get(), 100), 2);
  EXPECT_TRUE(pipe->drain_into(target.near.get()));
  EXPECT_EQ(pipe->bytes(), 0U);
  EXPECT_EQ(read_all(target.far.get()), "hello");
}

TEST(SplicePipe, TellsEmptyFromEndOfFile) {
  Ends source;
  auto pipe = SplicePipe::open();
  ASSERT_NE(pipe, nullptr);
  EXPECT_EQ(pipe->fill_from(source.near.get(), 100), -1);
  EXPECT_EQ(errno, EAGAIN);
  source.far.reset();
  EXPECT_EQ(pipe->fill_from(source.near.get(), 100), 0);
}

TEST(SplicePipe, KeepsWhatTheTargetDoesNotTake) {
  Ends source;
  Ends target;
  auto pipe = SplicePipe::open();
  ASSERT_NE(pipe, nullptr);
  const std::string junk(64 * 1024, 'j');
  std::size_t stuffed = 0;
  for (ssize_t n = 0; (n = ::send(target.near.get(), junk.data(), junk.size(), 0)) > 0;) {
    stuffed += static_cast<std::size_t>(n);
  }
  ASSERT_EQ(::send(source.far.get(), "kept", 4, 0), 4);
  ASSERT_EQ(pipe->fill_from(source.near.get(), 100), 4);
  EXPECT_TRUE(pipe->drain_into(target.near.get()));  // blocked is no error
  EXPECT_EQ(pipe->bytes(), 4U);
  EXPECT_EQ(read_all(target.far.get()).size(), stuffed);
  EXPECT_TRUE(pipe->drain_into(target.near.get()));
  EXPECT_EQ(pipe->bytes(), 0U);
  EXPECT_EQ(read_all(target.far.get()), "kept");
}

TEST(SplicePipe, CopiesOutWhatItHolds) {
  Ends source;
  auto pipe = SplicePipe::open();
  ASSERT_NE(pipe, nullptr);
  ASSERT_EQ(::send(source.far.get(), "abcdef", 6, 0), 6);
  ASSERT_EQ(pipe->fill_from(source.near.get(), 100), 6);
  std::array<char, 4> buffer{};
  EXPECT_EQ(pipe->read_into(buffer.data(), buffer.size()), 4);
  EXPECT_EQ(pipe->bytes(), 2U);
  EXPECT_EQ(pipe->read_into(buffer.data(), buffer.size()), 2);
  EXPECT_EQ(pipe->bytes(), 0U);
}

TEST(SplicePipe, ADescriptorThatCannotBeSplicedIsUnsupportedRatherThanBroken) {
  Ends source;
  auto pipe = SplicePipe::open();
  ASSERT_NE(pipe, nullptr);
  ASSERT_EQ(::send(source.far.get(), "x", 1, 0), 1);
  ASSERT_EQ(pipe->fill_from(source.near.get(), 100), 1);
  const Fd epoll{::open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  EXPECT_FALSE(pipe->drain_into(epoll.get()));
  EXPECT_TRUE(SplicePipe::unsupported(EINVAL));
  EXPECT_FALSE(SplicePipe::unsupported(EPIPE));
  EXPECT_FALSE(SplicePipe::unsupported(ECONNRESET));
}

TEST(PipePool, ReusesAndBoundsWhatIsIdle) {
  const std::size_t before = open_fds();
  {
    PipePool pool;
    std::vector<std::unique_ptr<SplicePipe>> pipes;
    for (std::size_t i = 0; i <= PipePool::kIdleMax; ++i) pipes.push_back(pool.acquire(kStart));
    for (auto& pipe : pipes) pool.release(std::move(pipe));
    EXPECT_EQ(pool.idle(), PipePool::kIdleMax);
    EXPECT_EQ(open_fds(), before + 2 * PipePool::kIdleMax);
    auto again = pool.acquire(kStart);
    EXPECT_EQ(pool.idle(), PipePool::kIdleMax - 1);
    pool.release(std::move(again));
    pool.shed(kStart);
    EXPECT_EQ(open_fds(), before);
    EXPECT_EQ(pool.acquire(kStart), nullptr);  // not at once
    EXPECT_NE(pool.acquire(kStart + PipePool::kPauseAfterFailure), nullptr);
  }
  EXPECT_EQ(open_fds(), before);
}

TEST(PipePool, BoundsHowManyWait) {
  PipePool pool;
  std::vector<std::unique_ptr<SplicePipe>> pipes;
  for (std::uint32_t i = 0; i < PipePool::kWaitingMax; ++i) {
    pipes.push_back(pool.acquire(kStart));
    EXPECT_TRUE(pool.let_wait(*pipes.back()));
    EXPECT_TRUE(pool.let_wait(*pipes.back()));  // counted once
  }
  EXPECT_EQ(pool.waiting(), PipePool::kWaitingMax);
  auto one_more = pool.acquire(kStart);
  EXPECT_FALSE(pool.let_wait(*one_more));
  pipes.pop_back();  // as when its connection is closed
  EXPECT_TRUE(pool.let_wait(*one_more));
  pool.release(std::move(one_more));
  EXPECT_EQ(pool.waiting(), PipePool::kWaitingMax - 1);
}

TEST(PipePool, OutOfDescriptorsPausesIt) {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = limit.rlim_max};
  PipePool pool;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto refused = pool.acquire(kStart);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(refused, nullptr);
  EXPECT_EQ(pool.acquire(kStart + PipePool::kPauseAfterFailure - Duration{1}), nullptr);
  EXPECT_NE(pool.acquire(kStart + PipePool::kPauseAfterFailure), nullptr);
}

TEST(PipePool, DisabledForGood) {
  PipePool pool;
  pool.disable();
  pool.shed(kStart);
  EXPECT_EQ(pool.acquire(kStart + std::chrono::hours{1000}), nullptr);
}

TEST(Outbox, IsEmptyOnlyWithoutPipeAndBytes) {
  PipePool pool;
  Outbox outbox;
  EXPECT_TRUE(outbox.empty());
  auto pipe = pool.acquire(kStart);
  ASSERT_TRUE(pool.let_wait(*pipe));
  outbox.put_pipe(std::move(pipe));
  EXPECT_FALSE(outbox.empty());
  outbox.append("after");
  pool.release(outbox.take_pipe());
  EXPECT_FALSE(outbox.empty());
  outbox.clear();
  EXPECT_TRUE(outbox.empty());
  EXPECT_EQ(pool.waiting(), 0U);
}

}  // namespace
}  // namespace lb
