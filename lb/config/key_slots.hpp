// From a member of the model to what the key table needs of it: a slot, or the objects behind a key. For the
// files of the key table only.
#pragma once

#include <cstddef>
#include <optional>
#include <type_traits>

#include "lb/config/keys.hpp"

namespace lb {

inline constexpr double kSecondsMin = 0.001;  // the model counts milliseconds
inline constexpr double kDay = 86'400;

template <class T>
struct MemberTraits;
template <class O, class V>
struct MemberTraits<V O::*> {
  using Owner = O;
};
template <auto Member>
using OwnerOf = typename MemberTraits<decltype(Member)>::Owner;

/// The slot of a member, or of a member of a member: slot<&BackendConfig::endpoint, &Endpoint::port>.
template <auto First, auto... Rest>
Slot slot(void* owner) {
  auto& first = static_cast<OwnerOf<First>*>(owner)->*First;
  auto& value = (first.*....*Rest);
  using Value = std::remove_reference_t<decltype(value)>;
  if constexpr (std::is_enum_v<Value>) {
    return Choice{
        .member = &value,
        .get =
            [](const void* member) { return static_cast<std::size_t>(*static_cast<const Value*>(member)); },
        .set = [](void* member, std::size_t i) { *static_cast<Value*>(member) = static_cast<Value>(i); }};
  } else {
    return &value;
  }
}

template <auto Member>
constexpr Children one_object() {
  using Owner = OwnerOf<Member>;
  return {.size = [](const void*) { return std::size_t{1}; },
          .at = [](void* owner, std::size_t) -> void* { return &(static_cast<Owner*>(owner)->*Member); },
          .append = [](void* owner) -> void* { return &(static_cast<Owner*>(owner)->*Member); }};
}

template <auto Member>
constexpr Children maybe_object() {
  using Owner = OwnerOf<Member>;
  return {.size = [](const void* owner) -> std::size_t {
            return (static_cast<const Owner*>(owner)->*Member).has_value() ? 1 : 0;
          },
          .at = [](void* owner, std::size_t) -> void* { return &*(static_cast<Owner*>(owner)->*Member); },
          .append = [](void* owner) -> void* { return &(static_cast<Owner*>(owner)->*Member).emplace(); }};
}

template <auto Member>
constexpr Children many_objects() {
  using Owner = OwnerOf<Member>;
  return {
      .size = [](const void* owner) { return (static_cast<const Owner*>(owner)->*Member).size(); },
      .at = [](void* owner, std::size_t i) -> void* { return &(static_cast<Owner*>(owner)->*Member)[i]; },
      .append = [](void* owner) -> void* { return &(static_cast<Owner*>(owner)->*Member).emplace_back(); }};
}

}  // namespace lb
