#include "lb/balance/maglev_table.hpp"

#include <algorithm>
#include <array>

#include "lb/base/random.hpp"

namespace lb {
namespace {

constexpr std::uint32_t kFree = ~0U;
constexpr std::size_t kSlotsABackend = 100;
constexpr auto kSizes =
    std::to_array<std::uint32_t>({65'537, 131'101, 262'147, 524'309, 1'048'583, 2'097'169});

/// Where a contender is in its order of all slots: `next`, then `skip` further each time. As the number of
/// slots is prime, it comes to each of them.
struct Walk {
  std::uint32_t next = 0;
  std::uint32_t skip = 1;
  std::uint64_t credit = 0;  // what it has towards its next turn
  std::uint64_t pace = 0;    // credit a round
  std::uint32_t backend = 0;
};

}  // namespace

std::uint32_t MaglevTable::size_for(std::size_t backends) noexcept {
  const auto enough = [&](std::uint32_t size) { return size >= backends * kSlotsABackend; };
  const auto* const found = std::ranges::find_if(kSizes, enough);
  return found == kSizes.end() ? kSizes.back() : *found;
}

MaglevTable::MaglevTable(std::span<const Contender> contenders) {
  if (contenders.empty()) return;
  const std::uint32_t size = size_for(contenders.size());
  // One turn a round on average, however different the weights: the time taken depends on the slots only.
  std::uint64_t price = 0;
  for (const Contender& contender : contenders) price += contender.weight;
  std::vector<Walk> walks;
  walks.reserve(contenders.size());
  for (const Contender& contender : contenders) {
    const std::uint64_t other = mix64(contender.key);
    walks.push_back({.next = static_cast<std::uint32_t>(contender.key % size),
                     .skip = static_cast<std::uint32_t>(other % (size - 1)) + 1,
                     .pace = contender.weight * std::uint64_t{contenders.size()},
                     .backend = contender.backend});
  }
  slots_.assign(size, kFree);
  for (std::uint32_t taken = 0;;) {
    for (Walk& walk : walks) {
      for (walk.credit += walk.pace; walk.credit >= price; walk.credit -= price) {
        while (slots_[walk.next] != kFree) {
          walk.next += walk.skip;
          if (walk.next >= size) walk.next -= size;
        }
        slots_[walk.next] = walk.backend;
        if (++taken == size) return;
      }
    }
  }
}

}  // namespace lb
