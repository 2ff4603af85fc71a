// Simulates one link of the handoff protocol (reload/handoff.hpp) in virtual time: both machines as they are,
// the socket between them with delays, and deaths, second thoughts and full receivers drawn from a seed. Each
// item is followed: who serves it, who has its descriptors. For tests only; one thread.
#pragma once

#include <cstdint>
#include <string>

namespace lb::simulator {

/// Deliberate faults of what carries the protocol's commands out.
enum class HandoffSabotage : std::uint8_t {
  none,
  close_at_offer,       // the sender closes its copies as soon as they are offered
  serve_while_offered,  // it does not detach what it offers
  adopt_before_commit,  // the receiver serves what it took at once
  lose_withdraw,        // WITHDRAW is not sent
  lose_commit,          // COMMIT is not sent and counts as sent
  reorder,              // a message overtakes the one before
  discard_on_death,     // the receiver drops what a dead sender left in its hands
  take_back_twice,      // what was committed is taken back as well when the receiver ends
};
inline constexpr int kHandoffSabotages = static_cast<int>(HandoffSabotage::take_back_twice) + 1;
const char* handoff_sabotage_name(HandoffSabotage sabotage) noexcept;

struct HandoffReport {
  std::string violation{};  // empty: the run was clean
  std::string story{};
  std::uint64_t items = 0;
  std::uint64_t moved = 0;
};

HandoffReport run_handoff(std::uint64_t seed, HandoffSabotage sabotage = HandoffSabotage::none,
                          bool story = false);

}  // namespace lb::simulator
