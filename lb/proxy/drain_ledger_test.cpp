#include "lb/proxy/drain_ledger.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>

namespace lb {
namespace {

bool readable(int fd) {
  pollfd p{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&p, 1, 0) == 1;
}

std::vector<HandedConnection> clients(std::size_t count) {
  std::vector<HandedConnection> made;
  for (std::size_t i = 0; i < count; ++i)
    made.push_back({.fd = Fd{::eventfd(0, EFD_CLOEXEC)}, .requests = i});
  return made;
}

class DrainLedgerTest : public ::testing::Test {
 protected:
  DrainLedgerTest() { EXPECT_TRUE(ledger.open().has_value()); }
  DrainLedger ledger;
};

TEST_F(DrainLedgerTest, IsNotOverBeforeItBegan) {
  EXPECT_FALSE(readable(ledger.drained_fd()));
  EXPECT_FALSE(readable(ledger.handed_fd()));
  EXPECT_TRUE(ledger.take().empty());
  EXPECT_FALSE(readable(ledger.drained_fd()));
}

TEST_F(DrainLedgerTest, IsOverWhenTheLastHolderLetsGo) {
  ledger.hold(2);
  ledger.release(1);
  EXPECT_FALSE(readable(ledger.drained_fd()));
  EXPECT_EQ(ledger.over_since(), kNever);
  ledger.release(1);
  EXPECT_TRUE(readable(ledger.drained_fd()));
  EXPECT_NE(ledger.over_since(), kNever);
}

TEST_F(DrainLedgerTest, AQueueThatNobodyTookKeepsItFromBeingOver) {
  ledger.hold(1);
  ledger.queue(clients(2));
  ledger.queue(clients(1));
  ledger.release(1);
  EXPECT_TRUE(readable(ledger.handed_fd()));
  EXPECT_FALSE(readable(ledger.drained_fd()));
  EXPECT_EQ(ledger.take().size(), 3U);
  EXPECT_FALSE(readable(ledger.handed_fd()));
  EXPECT_TRUE(readable(ledger.drained_fd()));
}

TEST_F(DrainLedgerTest, TakingIsNotTheEndWhileSomebodyHoldsIt) {
  ledger.hold(1);
  ledger.queue(clients(1));
  EXPECT_EQ(ledger.take().size(), 1U);
  EXPECT_FALSE(readable(ledger.drained_fd()));
  ledger.queue(clients(1));
  EXPECT_TRUE(readable(ledger.handed_fd()));
}

TEST_F(DrainLedgerTest, IsNotOverAnyMoreWhenSomethingComesBack) {
  ledger.hold(1);
  ledger.release(1);
  ledger.hold(1);
  EXPECT_FALSE(readable(ledger.drained_fd()));
  ledger.release(1);
  EXPECT_TRUE(readable(ledger.drained_fd()));
}

}  // namespace
}  // namespace lb
