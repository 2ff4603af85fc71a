// TicketKeys: the keys that session tickets are sealed with. All workers and all generations use the same
// ones, so that a client resumes its session whichever of them it meets, across reloads. They come from the
// supervisor and live in memory only. Any thread.
//
// A ticket (RFC 5077 4) is the key's name, an IV, AES-256-CBC of the session and HMAC-SHA-256 of all that.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lb/base/result.hpp"

namespace lb::tls {

struct TicketKey {
  static constexpr std::size_t kBytes = 80;
  std::array<unsigned char, 16> name{};
  std::array<unsigned char, 32> cipher{};
  std::array<unsigned char, 32> mac{};
  friend bool operator==(const TicketKey&, const TicketKey&) = default;

  /// From and to kBytes bytes.
  static TicketKey from_bytes(std::string_view bytes);
  [[nodiscard]] std::string bytes() const;
};

inline constexpr std::size_t kTicketKeysMax = 8;

class TicketKeys final {
 public:
  using Ring = std::vector<TicketKey>;

  /// One random key, which nobody else knows.
  TicketKeys();
  /// Does not wake OpenSSL up, whose start costs a millisecond.
  explicit TicketKeys(Ring ring) { set(std::move(ring)); }

  /// The first seals, all open; not empty, at most kTicketKeysMax.
  void set(Ring ring);
  [[nodiscard]] std::shared_ptr<const Ring> get() const;

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Ring> ring_;
};

/// The bytes of a whole ring, as they travel between processes; fails when they are no whole keys or too
/// many.
Result<TicketKeys::Ring> parse_ticket_ring(std::string_view bytes);

}  // namespace lb::tls
