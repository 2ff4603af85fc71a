#include "lb/limit/connection_counter.hpp"

#include "lb/base/result.hpp"

namespace lb {

bool ConnectionCounter::try_add(std::uint64_t client) {
  Shard& shard = shard_of(client);
  const std::scoped_lock lock{shard.mutex};
  std::uint32_t& open = shard.open[client];
  if (open >= per_client_max_) return false;  // then it was not made just now
  ++open;
  return true;
}

void ConnectionCounter::add(std::uint64_t client) {
  Shard& shard = shard_of(client);
  const std::scoped_lock lock{shard.mutex};
  ++shard.open[client];
}

void ConnectionCounter::remove(std::uint64_t client) noexcept {
  Shard& shard = shard_of(client);
  const std::scoped_lock lock{shard.mutex};
  const auto found = shard.open.find(client);
  LB_ASSERT(found != shard.open.end());
  if (--found->second == 0) shard.open.erase(found);
}

std::size_t ConnectionCounter::clients() const {
  std::size_t count = 0;
  for (const Shard& shard : shards_) {
    const std::scoped_lock lock{shard.mutex};
    count += shard.open.size();
  }
  return count;
}

}  // namespace lb
