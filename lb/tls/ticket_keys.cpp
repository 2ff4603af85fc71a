#include "lb/tls/ticket_keys.hpp"

#include <openssl/rand.h>

#include <cstring>
#include <utility>

#include "lb/tls/openssl.hpp"

namespace lb::tls {
namespace {

TicketKey random_key() {
  std::array<char, TicketKey::kBytes> bytes{};
  // Without random numbers no handshake could be answered either.
  LB_ASSERT(RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size())) == 1);
  return TicketKey::from_bytes({bytes.data(), bytes.size()});
}

}  // namespace

TicketKey TicketKey::from_bytes(std::string_view bytes) {
  LB_ASSERT(bytes.size() == kBytes);
  TicketKey key;
  std::memcpy(key.name.data(), bytes.data(), key.name.size());
  std::memcpy(key.cipher.data(), bytes.data() + 16, key.cipher.size());
  std::memcpy(key.mac.data(), bytes.data() + 48, key.mac.size());
  return key;
}

std::string TicketKey::bytes() const {
  std::string result;
  result.append(reinterpret_cast<const char*>(name.data()), name.size());
  result.append(reinterpret_cast<const char*>(cipher.data()), cipher.size());
  result.append(reinterpret_cast<const char*>(mac.data()), mac.size());
  return result;
}

TicketKeys::TicketKeys() : ring_(std::make_shared<const Ring>(Ring{random_key()})) {}

void TicketKeys::set(Ring ring) {
  LB_ASSERT(!ring.empty() && ring.size() <= kTicketKeysMax);
  auto fresh = std::make_shared<const Ring>(std::move(ring));
  const std::scoped_lock lock{mutex_};
  ring_.swap(fresh);
}

std::shared_ptr<const TicketKeys::Ring> TicketKeys::get() const {
  const std::scoped_lock lock{mutex_};
  return ring_;
}

Result<TicketKeys::Ring> parse_ticket_ring(std::string_view bytes) {
  if (bytes.empty() || bytes.size() % TicketKey::kBytes != 0 ||
      bytes.size() / TicketKey::kBytes > kTicketKeysMax) {
    return std::unexpected(Error{
        .fault = Fault::self, .message = std::to_string(bytes.size()) + " bytes are no ring of ticket keys"});
  }
  TicketKeys::Ring ring;
  for (; !bytes.empty(); bytes.remove_prefix(TicketKey::kBytes)) {
    ring.push_back(TicketKey::from_bytes(bytes.substr(0, TicketKey::kBytes)));
  }
  return ring;
}

}  // namespace lb::tls
