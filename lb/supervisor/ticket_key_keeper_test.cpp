#include "lb/supervisor/ticket_key_keeper.hpp"

#include <gtest/gtest.h>

#include "lb/tls/ticket_keys.hpp"

namespace lb {
namespace {

TEST(TicketKeyKeeper, RenewsInTimeAndKeepsTheOlderOnes) {
  constexpr auto kBytes = tls::TicketKey::kBytes;
  TicketKeyKeeper keeper;
  Instant now{Duration{std::chrono::hours{1}}};
  const std::string first = keeper.for_start(now);
  EXPECT_EQ(first.size(), kBytes);
  EXPECT_EQ(keeper.for_start(now + TicketKeyKeeper::kRenewAfter - Milliseconds{1}), first);
  now += TicketKeyKeeper::kRenewAfter;
  const std::string second = keeper.for_start(now);
  ASSERT_EQ(second.size(), 2 * kBytes);
  EXPECT_EQ(second.substr(kBytes), first);
  EXPECT_NE(second.substr(0, kBytes), first);
  for (int i = 0; i < 5; ++i) keeper.for_start(now += TicketKeyKeeper::kRenewAfter);
  const auto ring = tls::parse_ticket_ring(keeper.for_start(now));
  ASSERT_TRUE(ring.has_value());
  EXPECT_EQ(ring->size(), TicketKeyKeeper::kKeysMax);
}

}  // namespace
}  // namespace lb
