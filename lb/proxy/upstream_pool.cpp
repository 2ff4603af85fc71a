#include "lb/proxy/upstream_pool.hpp"

namespace lb {

UpstreamConnection* WorkerUpstreams::take(std::uint32_t backend, Instant now) noexcept {
  UpstreamConnection* connection = newest_[backend].newest;
  if (connection == nullptr || now - connection->idle_since >= ttl_) return nullptr;
  remove(*connection);
  return connection;
}

bool WorkerUpstreams::put(UpstreamConnection& connection, Instant now) noexcept {
  Idle& idle = newest_[connection.backend];
  if (idle.count >= max_size_) return false;
  ++idle.count;
  connection.idle_since = now;
  connection.backend_newer = nullptr;
  connection.backend_older = idle.newest;
  if (idle.newest != nullptr) idle.newest->backend_newer = &connection;
  idle.newest = &connection;
  connection.age_newer = nullptr;
  connection.age_older = youngest_;
  if (youngest_ != nullptr) youngest_->age_newer = &connection;
  youngest_ = &connection;
  if (oldest_ == nullptr) oldest_ = &connection;
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
