// WorkerUpstreams: one worker's view of an UpstreamSet: the set and the idle connections to its backends,
// most recently used first (LIFO keeps the working set of connections small and warm). It links connections,
// it does not own them: they live in the worker's slab. That worker's thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lb/base/time.hpp"
#include "lb/proxy/connections.hpp"
#include "lb/proxy/upstream_set.hpp"

namespace lb {

class WorkerUpstreams final {
 public:
  /// For worker number `worker` of those that share `set`.
  WorkerUpstreams(std::shared_ptr<UpstreamSet> set, std::uint32_t worker)
      : set_(std::move(set)),
        counts_(set_->counts(worker)),
        max_size_(set_->config().pool.max_size),
        ttl_(set_->config().pool.ttl),
        failures_in_row_max_(
            set_->config().outlier_detection ? set_->config().outlier_detection->failures_in_row : 0) {
    newest_.resize(set_->size());
  }

  [[nodiscard]] UpstreamSet& set() noexcept { return *set_; }
  [[nodiscard]] Balancer& balancer() noexcept { return set_->balancer(); }
  /// What this worker has seen of `backend`.
  [[nodiscard]] BackendCounts& counts(std::uint32_t backend) noexcept { return *counts_[backend]; }

  /// So many failures in a row are told to UpstreamOutliers; 0: none are.
  [[nodiscard]] std::uint32_t failures_in_row_max() const noexcept { return failures_in_row_max_; }

  /// The most recently used idle connection of `backend`, unlinked, or nullptr. One older than the ttl is not
  /// given out: expired() will.
  UpstreamConnection* take(std::uint32_t backend, Instant now) noexcept;

  /// Links `connection` as idle since then: now, as a rule; earlier, when it comes from elsewhere. False, and
  /// not linked, when its backend has max_size already.
  bool put(UpstreamConnection& connection, Instant since) noexcept;

  /// Unlinks one that is idle: it was closed by the backend, say.
  void remove(UpstreamConnection& connection) noexcept;

  /// The oldest idle connection if it is past its ttl, or nullptr; still linked.
  [[nodiscard]] UpstreamConnection* expired(Instant now) const noexcept {
    return oldest_ != nullptr && now - oldest_->idle_since >= ttl_ ? oldest_ : nullptr;
  }
  /// The oldest idle connection, still linked.
  [[nodiscard]] UpstreamConnection* oldest() const noexcept { return oldest_; }

 private:
  struct Idle {
    UpstreamConnection* newest = nullptr;
    std::uint32_t count = 0;
  };
  std::shared_ptr<UpstreamSet> set_;
  std::span<BackendCounts* const> counts_;  // the set's, of this worker
  std::uint32_t max_size_;
  Duration ttl_;
  std::uint32_t failures_in_row_max_;
  std::vector<Idle> newest_;
  UpstreamConnection* oldest_ = nullptr;  // by idle_since, over all backends
  UpstreamConnection* youngest_ = nullptr;
};

}  // namespace lb
