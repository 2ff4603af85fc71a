#include "lb/supervisor/ticket_key_keeper.hpp"

#include <sys/random.h>

#include "lb/base/result.hpp"
#include "lb/tls/ticket_keys.hpp"

namespace lb {

const std::string& TicketKeyKeeper::for_start(Instant now) {
  if (!keys_.empty() && now - renewed_ < kRenewAfter) return keys_;
  std::string fresh(tls::TicketKey::kBytes, '\0');
  // Up to 256 bytes come whole, once the kernel has any (getrandom(2)).
  LB_ASSERT(::getrandom(fresh.data(), fresh.size(), 0) == static_cast<ssize_t>(fresh.size()));
  keys_.insert(0, fresh);
  if (keys_.size() > kKeysMax * fresh.size()) keys_.resize(kKeysMax * fresh.size());
  renewed_ = now;
  return keys_;
}

}  // namespace lb
