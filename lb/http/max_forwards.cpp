#include "lb/http/max_forwards.hpp"

#include <algorithm>
#include <cstdint>

#include "lb/http/chars.hpp"

namespace lb::http {

MaxForwards max_forwards(const RequestHead& head) noexcept {
  using Kind = MaxForwards::Kind;
  const Field* found = nullptr;
  for (const Field& field : head.table) {
    if (field.id != FieldId::max_forwards) continue;
    if (found != nullptr) return {Kind::malformed, 0};
    found = &field;
  }
  if (found == nullptr) return {};
  if (found->value.empty()) return {Kind::malformed, 0};
  std::uint32_t value = 0;
  for (const char c : found->value) {
    if ((char_class(c) & kDigit) == 0) return {Kind::malformed, 0};
    value = std::min(value * 10 + static_cast<std::uint32_t>(c - '0'), kMaxForwardsMax + 1);
  }
  if (value == 0) return {Kind::answer, 0};
  return {Kind::forward, value - 1};
}

}  // namespace lb::http
