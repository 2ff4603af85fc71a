// TicketKeyKeeper: the keys of TLS session tickets, kept by the supervisor so that a session begun with one
// generation is resumed by the next. Made of the kernel's random numbers at its start, renewed with the first
// reload after kRenewAfter; never on disk. A ticket's age is bounded by its own 24 hours too. One thread.
#pragma once

#include <string>

#include "lb/base/time.hpp"

namespace lb {

class TicketKeyKeeper final {
 public:
  static constexpr std::chrono::hours kRenewAfter{12};
  static constexpr std::size_t kKeysMax = 3;  // the newest seals, the older ones still open

  /// What START carries: the newest key first.
  const std::string& for_start(Instant now);

 private:
  std::string keys_;
  Instant renewed_{};
};

}  // namespace lb
