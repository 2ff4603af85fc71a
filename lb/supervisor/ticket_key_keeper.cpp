#include "lb/supervisor/ticket_key_keeper.hpp"

#include <sys/random.h>

#include "lb/base/result.hpp"
#include "lb/tls/ticket_keys.hpp"

namespace lb {
namespace {

constexpr std::size_t kBytes = tls::TicketKey::kBytes;

std::string random_key() {
  std::string key(kBytes, '\0');
  // Up to 256 bytes come whole, once the kernel has any (getrandom(2)).
  LB_ASSERT(::getrandom(key.data(), key.size(), 0) == static_cast<ssize_t>(key.size()));
  return key;
}

}  // namespace

const std::string& TicketKeyKeeper::ring(Instant now) {
  if (ring_.empty()) {
    ring_ = random_key() + random_key();
    renewed_ = now;
    ++version_;
  }
  return ring_;
}

bool TicketKeyKeeper::rotate(Instant now) {
  if (now < next()) return false;
  std::string turned = ring_.substr(kBytes, kBytes);
  turned += random_key();
  turned.append(ring_, 0, kBytes);
  turned.append(ring_, 2 * kBytes);
  if (turned.size() > kKeysMax * kBytes) turned.resize(kKeysMax * kBytes);
  ring_ = std::move(turned);
  renewed_ = now;
  ++version_;
  return true;
}

void TicketKeyKeeper::adopt(std::string_view ring, Instant now) {
  const auto parsed = tls::parse_ticket_ring(ring);
  if (!parsed || parsed->size() < 2) return;
  ring_ = ring;
  renewed_ = now;
  ++version_;
}

}  // namespace lb
