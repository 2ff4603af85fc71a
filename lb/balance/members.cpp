#include "lb/balance/members.hpp"

#include <algorithm>
#include <cstddef>

#include "lb/base/random.hpp"

namespace lb {

std::vector<Member> members_of(const Roster& roster) {
  return members_of(roster.all_traits(), roster.eligible());
}

std::vector<Member> members_of(std::span<const BackendTraits> traits,
                               std::span<const std::uint32_t> eligible) {
  std::vector<Member> members;
  members.reserve(eligible.size());
  for (const std::uint32_t backend : eligible) {
    members.push_back({mix64(traits[backend].identity), backend});
  }
  const auto by_key = [](const Member& a, const Member& b) {
    return a.key != b.key ? a.key < b.key : a.backend < b.backend;
  };
  std::ranges::sort(members, by_key);
  std::uint64_t previous = 0;
  std::uint64_t repeats = 0;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const std::uint64_t key = members[i].key;
    repeats = i > 0 && key == previous ? repeats + 1 : 0;
    previous = key;
    if (repeats > 0) members[i].key = mix64(key + repeats);
  }
  std::ranges::sort(members, by_key);
  return members;
}

}  // namespace lb
