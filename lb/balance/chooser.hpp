// Chooser: one algorithm over one set of backends, the part of a Balancer that differs between algorithms.
// Any thread. Each is in a file of its own; algorithms.hpp makes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "lb/base/time.hpp"

namespace lb {

inline constexpr std::uint32_t kNoBackend = ~0U;
inline constexpr std::size_t kBackendsMax = 100'000;

struct PickContext {
  Instant now;
  std::uint64_t client_hash = 0;              // what ip_hash and consistent_hash go by
  std::uint64_t random = 0;                   // a fresh number
  std::span<const std::uint32_t> tried = {};  // backends that failed this request already
};

enum class PickResult : std::uint8_t {
  picked,
  busy,  // every backend that could serve is at max_connections: 503
  none,  // all were tried, are down or ejected, or none has weight: 502/503
};

struct Pick {
  PickResult result = PickResult::none;
  std::uint32_t backend = kNoBackend;
};

/// Whether backends that are set aside may be used when no other can serve.
enum class Aside : std::uint8_t { refused, last_resort };

class Chooser {
 public:
  virtual ~Chooser() = default;
  /// See Balancer::pick.
  virtual Pick choose(const PickContext& context, Aside aside) noexcept = 0;
};

}  // namespace lb
