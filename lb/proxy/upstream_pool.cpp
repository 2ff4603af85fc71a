#include "lb/proxy/upstream_pool.hpp"

#include <utility>

namespace lb {

UpstreamConnection* WorkerUpstreams::take(std::uint32_t backend, Instant now) noexcept {
  UpstreamConnection* connection = newest_[backend].newest;
  if (connection == nullptr || now - connection->idle_since >= ttl_) return nullptr;
  remove(*connection);
  return connection;
}

bool WorkerUpstreams::put(UpstreamConnection& connection, Instant since) noexcept {
  Idle& idle = newest_[connection.backend];
  if (idle.count >= max_size_) return false;
  ++idle.count;
  connection.idle_since = since;
  // Both lists are in the order of that time. What became idle just now is the youngest: no step is taken.
  UpstreamConnection* newer = nullptr;
  UpstreamConnection* older = idle.newest;
  while (older != nullptr && older->idle_since > since) newer = std::exchange(older, older->backend_older);
  connection.backend_newer = newer;
  connection.backend_older = older;
  (newer != nullptr ? newer->backend_older : idle.newest) = &connection;
  if (older != nullptr) older->backend_newer = &connection;
  UpstreamConnection* younger = nullptr;
  UpstreamConnection* elder = youngest_;
  while (elder != nullptr && elder->idle_since > since) younger = std::exchange(elder, elder->age_older);
  connection.age_newer = younger;
  connection.age_older = elder;
  (younger != nullptr ? younger->age_older : youngest_) = &connection;
  (elder != nullptr ? elder->age_newer : oldest_) = &connection;
  return true;
}

void WorkerUpstreams::remove(UpstreamConnection& connection) noexcept {
  Idle& idle = newest_[connection.backend];
  LB_ASSERT(idle.count > 0);
  --idle.count;
  UpstreamConnection* const newer = connection.backend_newer;
  UpstreamConnection* const older = connection.backend_older;
  if (newer != nullptr) newer->backend_older = older;
  if (older != nullptr) older->backend_newer = newer;
  if (idle.newest == &connection) idle.newest = older;
  UpstreamConnection* const younger = connection.age_newer;
  UpstreamConnection* const elder = connection.age_older;
  if (younger != nullptr) younger->age_older = elder;
  if (elder != nullptr) elder->age_newer = younger;
  if (youngest_ == &connection) youngest_ = elder;
  if (oldest_ == &connection) oldest_ = younger;
  connection.backend_newer = connection.backend_older = nullptr;
  connection.age_newer = connection.age_older = nullptr;
}

}  // namespace lb
