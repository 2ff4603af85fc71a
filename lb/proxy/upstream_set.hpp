// UpstreamSet: the backends of one configuration as the workers share them: standing, balancer, addresses.
// Immutable but for atomics and the addresses of names that resolve later. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lb/balance/balancer.hpp"
#include "lb/base/time.hpp"
#include "lb/config/model.hpp"
#include "lb/observe/event_log.hpp"
#include "lb/proxy/address_book.hpp"
#include "lb/proxy/backend_queue.hpp"
#include "lb/tls/client_context.hpp"

namespace lb {

/// What one worker saw of one backend: requests that were brought to an end there, well or badly, and how
/// many of them failed: no connection, no answer, a malformed or cut one, or a status of 500 and above.
/// Written by that worker alone, with relaxed stores; anyone may read.
struct BackendCounts {
  std::atomic<std::uint64_t> requests{0};
  std::atomic<std::uint64_t> failures{0};
  std::atomic<std::uint64_t> gateway_failures{0};  // those but for statuses other than 502, 503 and 504
  std::uint32_t gateway_failures_in_row = 0;       // that worker's alone
};

class UpstreamOutliers;

class UpstreamSet final {
 public:
  /// For `workers` workers. Resolves names within `budget`; what does not resolve cannot be connected to
  /// until AddressBook::refresh() finds it. `resolve` empty: the system's.
  /// `tls_targets` is empty or has one for each backend with TLS; one without cannot be connected to.
  UpstreamSet(std::shared_ptr<const Config> config, Milliseconds budget, std::uint32_t workers,
              std::vector<std::unique_ptr<tls::ClientTarget>> tls_targets = {}, EventLog* log = nullptr,
              const ResolveFunction& resolve = {});
  ~UpstreamSet();

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
    std::uint64_t gateway_failures = 0;
  };
  [[nodiscard]] Counted counted(std::uint32_t i) const noexcept;

  /// Where requests wait for a backend; nullptr when no backend has a limit, or none may wait.
  [[nodiscard]] BackendQueue* queue() const noexcept { return queue_.get(); }

  /// nullptr for a backend without TLS.
  [[nodiscard]] tls::ClientTarget* tls_target(std::uint32_t i) noexcept {
    return tls_targets_.empty() ? nullptr : tls_targets_[i].get();
  }
  /// Who does badly with requests; null when nobody looks.
  [[nodiscard]] UpstreamOutliers* outliers() noexcept { return outliers_.get(); }

  /// Where they are.
  [[nodiscard]] AddressBook& addresses() noexcept { return addresses_; }
  /// "host:port" for a request that came without Host.
  [[nodiscard]] const std::string& host_field(std::uint32_t i) const noexcept { return host_fields_[i]; }

 private:
  std::shared_ptr<const Config> config_;
  std::unique_ptr<BackendState[]> states_;
  AddressBook addresses_;
  std::vector<std::unique_ptr<BackendCounts[]>> counts_;  // one array a worker
  std::unique_ptr<Balancer> balancer_;
  bool hashes_requests_ = false;
  std::unique_ptr<BackendQueue> queue_;
  std::unique_ptr<UpstreamOutliers> outliers_;
  std::vector<std::string> host_fields_;
  std::vector<std::unique_ptr<tls::ClientTarget>> tls_targets_;
};

}  // namespace lb
