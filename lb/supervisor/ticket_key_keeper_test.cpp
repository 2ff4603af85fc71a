#include "lb/supervisor/ticket_key_keeper.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "lb/tls/ticket_keys.hpp"

namespace lb {
namespace {

using namespace std::chrono_literals;

tls::TicketKeys::Ring keys_of(const std::string& ring) {
  auto parsed = tls::parse_ticket_ring(ring);
  EXPECT_TRUE(parsed.has_value());
  return std::move(*parsed);
}

TEST(TicketKeyKeeper, AKeyIsKnownAnIntervalBeforeItSealsAndTwoAfter) {
  Instant now{1h};
  TicketKeyKeeper keeper{12h};
  EXPECT_EQ(keeper.next(), kNever);
  EXPECT_FALSE(keeper.rotate(now));
  auto before = keys_of(keeper.ring(now));
  ASSERT_EQ(before.size(), 2U);
  const tls::TicketKey first = before[0];
  for (int round = 1; round <= 6; ++round) {
    EXPECT_FALSE(keeper.rotate(now + 12h - 1ms));
    now += 12h;
    EXPECT_EQ(keeper.next(), now);
    const std::uint64_t version = keeper.version();
    ASSERT_TRUE(keeper.rotate(now));
    EXPECT_GT(keeper.version(), version);
    const auto after = keys_of(keeper.ring(now));
    EXPECT_EQ(after.size(),
              std::min<std::size_t>(2 + static_cast<std::size_t>(round), TicketKeyKeeper::kKeysMax));
    EXPECT_EQ(after[0], before[1]) << "what seals was known before";
    EXPECT_EQ(std::ranges::count(before, after[1]), 0) << "the next one is new";
    EXPECT_EQ(after[2], before[0]) << "what sealed still opens";
    EXPECT_EQ(std::ranges::count(after, first), round <= 2 ? 1 : 0);
    before = after;
  }
}

TEST(TicketKeyKeeper, TakesTheRingOfAFormerSupervisor) {
  const Instant now{1h};
  TicketKeyKeeper former;
  former.ring(now);
  TicketKeyKeeper next;
  next.adopt("no ring", now);
  next.adopt(former.ring(now).substr(0, tls::TicketKey::kBytes), now);  // there is no next one in it
  EXPECT_EQ(next.next(), kNever);
  next.adopt(former.ring(now), now);
  EXPECT_EQ(next.ring(now), former.ring(now));
  TicketKeyKeeper with_its_own;
  const std::string own = with_its_own.ring(now);
  const std::uint64_t version = with_its_own.version();
  with_its_own.adopt(former.ring(now), now + 1h);
  EXPECT_NE(with_its_own.ring(now), own);
  EXPECT_NE(with_its_own.version(), version) << "who was told the own one must be told anew";
  EXPECT_EQ(with_its_own.next(), now + 1h + kTicketKeysRenewedAfter);
}

}  // namespace
}  // namespace lb
