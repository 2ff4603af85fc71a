// TicketKeyKeeper: the keys of TLS session tickets, kept by the supervisor so that a session begun with one
// generation is resumed by any other. Made of the kernel's random numbers; never on disk. One thread.
//
// The ring has the key that seals, the one that seals next, then the former ones, newest first. A key is
// known to every generation for a whole interval before the first ticket is sealed with it, so that there is
// no moment in which one seals what another cannot open. A former key opens for two more intervals: by
// default as long as a ticket is good for (24 hours).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lb/base/time.hpp"

namespace lb {

inline constexpr std::chrono::hours kTicketKeysRenewedAfter{12};

class TicketKeyKeeper final {
 public:
  static constexpr std::size_t kKeysMax = 4;  // the one that seals, the next, two former ones

  explicit TicketKeyKeeper(Duration interval = kTicketKeysRenewedAfter) : interval_(interval) {}

  /// The ring, as START and TICKET_KEYS carry it. Made when first asked for.
  const std::string& ring(Instant now);
  /// Goes on to the next key when the present one has sealed for an interval. True when the ring is another
  /// now.
  bool rotate(Instant now);
  /// When rotate() has something to do; kNever while there is no ring.
  [[nodiscard]] Instant next() const noexcept { return ring_.empty() ? kNever : renewed_ + interval_; }
  /// Takes the ring of a generation that a former supervisor started, in the place of the own one; the
  /// interval begins anew. No effect when `ring` is none.
  void adopt(std::string_view ring, Instant now);
  /// Another number for each ring: who was told which.
  [[nodiscard]] std::uint64_t version() const noexcept { return version_; }

 private:
  Duration interval_;
  std::string ring_;
  Instant renewed_{};
  std::uint64_t version_ = 0;
};

}  // namespace lb
