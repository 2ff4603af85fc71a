#include "lb/net/event_loop.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

namespace lb {
namespace {

TEST(Token, PacksAndUnpacksItsExtremes) {
  for (const TokenKind kind :
       {TokenKind::wakeup, TokenKind::listener, TokenKind::client, TokenKind::upstream}) {
    for (const std::uint32_t index : {0U, 1U, ~0U}) {
      for (const std::uint32_t generation : {0U, 1U, Handle::kGenerationMask}) {
        const Token token = Token::unpack(Token{kind, Handle{index, generation}}.pack());
        EXPECT_EQ(token.kind, kind);
        EXPECT_EQ(token.handle, (Handle{index, generation}));
      }
    }
  }
}

TEST(EventLoop, ReportsOnceAnEdge) {
  auto loop = EventLoop::create();
  ASSERT_TRUE(loop.has_value());
  std::array<int, 2> pair{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair.data()), 0);
  const Fd a{pair[0]};
  const Fd b{pair[1]};
  const Token token{TokenKind::client, Handle{7, 3}};
  ASSERT_TRUE(loop->add(a.get(), EPOLLIN | EPOLLET, token).has_value());
  const Instant now = monotonic_now();
  EXPECT_TRUE(loop->wait(now, now).empty());
  ASSERT_EQ(::write(b.get(), "x", 1), 1);
  const auto events = loop->wait(now, kNever);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(Token::unpack(events[0].data.u64).handle, token.handle);
  EXPECT_TRUE(loop->wait(now, now).empty()) << "edge-triggered: no second report";
  loop->modify(a.get(), EPOLLIN | EPOLLOUT | EPOLLET, token);
  EXPECT_EQ(loop->wait(now, now).size(), 1U) << "a change of interest reports what is there";
  loop->remove(a.get());
  ASSERT_EQ(::write(b.get(), "x", 1), 1);
  EXPECT_TRUE(loop->wait(now, now).empty());
}

TEST(EventLoop, WaitsUntilTheDeadline) {
  auto loop = EventLoop::create();
  const Instant begin = monotonic_now();
  EXPECT_TRUE(loop->wait(begin, begin + Milliseconds{20}).empty());
  EXPECT_GE(monotonic_now() - begin, Milliseconds{20});
}

TEST(EventLoop, ABadDescriptorIsAnError) {
  auto loop = EventLoop::create();
  const auto added = loop->add(-1, EPOLLIN, Token{});
  ASSERT_FALSE(added.has_value());
  EXPECT_EQ(added.error().os_error, EBADF);
}

}  // namespace
}  // namespace lb
