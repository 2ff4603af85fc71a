// UpstreamSet: the backends of one configuration as the workers share them: standing, balancer, addresses.
// Immutable but for atomics and the addresses of names that resolve later. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "lb/balance/balancer.hpp"
#include "lb/base/time.hpp"
#include "lb/config/model.hpp"
#include "lb/net/socket_address.hpp"
#include "lb/proxy/backend_queue.hpp"
#include "lb/tls/client_context.hpp"

namespace lb {

/// What one worker saw of one backend: requests that were brought to an end there, well or badly, and how
/// many of them failed: no connection, no answer, a malformed or cut one, or a status of 500 and above.
/// Written by that worker alone, with relaxed stores; anyone may read.
struct BackendCounts {
  std::atomic<std::uint64_t> requests{0};
  std::atomic<std::uint64_t> failures{0};
};

class UpstreamSet final {
 public:
  /// For `workers` workers. Resolves names within `budget`; what does not resolve is put down until
  /// resolve_missing() succeeds.
  /// `tls_targets` is empty or has one for each backend with TLS; one without cannot be connected to.
  UpstreamSet(std::shared_ptr<const Config> config, Milliseconds budget, std::uint32_t workers,
              std::vector<std::unique_ptr<tls::ClientTarget>> tls_targets = {});

  [[nodiscard]] const Config& config() const noexcept { return *config_; }
  [[nodiscard]] std::uint32_t size() const noexcept {
    return static_cast<std::uint32_t>(config_->backends.size());
  }
  [[nodiscard]] const BackendConfig& backend(std::uint32_t i) const noexcept { return config_->backends[i]; }
  [[nodiscard]] Balancer& balancer() noexcept { return *balancer_; }
  /// Whether choosing goes by a part of the request: hash_key() is to be asked for then.
  [[nodiscard]] bool hashes_requests() const noexcept { return hashes_requests_; }
  [[nodiscard]] const BackendState& state(std::uint32_t i) const noexcept { return states_[i]; }
  /// Those of worker number `worker`, an array of size().
  [[nodiscard]] BackendCounts* counts(std::uint32_t worker) noexcept { return counts_[worker].get(); }
  /// Of backend i, over all workers.
  struct Counted {
    std::uint64_t requests = 0;
    std::uint64_t failures = 0;
  };
  [[nodiscard]] Counted counted(std::uint32_t i) const noexcept;

  /// Where requests wait for a backend; nullptr when no backend has a limit, or none may wait.
  [[nodiscard]] BackendQueue* queue() const noexcept { return queue_.get(); }

  /// Where to connect; empty() while its name does not resolve.
  [[nodiscard]] SocketAddress address(std::uint32_t i) const;
  /// nullptr for a backend without TLS.
  [[nodiscard]] tls::ClientTarget* tls_target(std::uint32_t i) noexcept {
    return tls_targets_.empty() ? nullptr : tls_targets_[i].get();
  }
  /// "host:port" for a request that came without Host.
  [[nodiscard]] const std::string& host_field(std::uint32_t i) const noexcept { return host_fields_[i]; }

  /// Tries the unresolved names again, within `budget`. Returns how many are still missing. Background
  /// thread.
  std::size_t resolve_missing(Milliseconds budget);

 private:
  std::shared_ptr<const Config> config_;
  std::unique_ptr<BackendState[]> states_;
  std::vector<std::unique_ptr<BackendCounts[]>> counts_;  // one array a worker
  std::unique_ptr<Balancer> balancer_;
  bool hashes_requests_ = false;
  std::unique_ptr<BackendQueue> queue_;
  std::vector<std::string> host_fields_;
  std::vector<std::unique_ptr<tls::ClientTarget>> tls_targets_;
  mutable std::mutex addresses_mutex_;  // taken once a new connection, never for a pooled one
  std::vector<SocketAddress> addresses_;
};

}  // namespace lb
