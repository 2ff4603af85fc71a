// UpstreamSet: the backends of one configuration as the workers share them: standing, balancer, addresses.
// Immutable but for atomics and the addresses of names that resolve later. Any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lb/balance/balancer.hpp"
#include "lb/base/time.hpp"
#include "lb/config/model.hpp"
#include "lb/observe/backend_counts.hpp"
#include "lb/observe/event_log.hpp"
#include "lb/proxy/address_book.hpp"
#include "lb/proxy/backend_queue.hpp"
#include "lb/proxy/handed_connection.hpp"
#include "lb/state/generation_state.hpp"
#include "lb/tls/client_context.hpp"

namespace lb {

class UpstreamOutliers;

class UpstreamSet final {
 public:
  /// For the workers of `state`. Resolves names within `budget`; what does not resolve cannot be connected to
  /// until AddressBook::refresh() finds it. `resolve` empty: the system's.
  /// `tls_targets` is empty or has one for each backend with TLS; one without cannot be connected to.
  /// What is known of a backend, and what is counted of it, is in `state`, by name and address.
  UpstreamSet(std::shared_ptr<const Config> config, Milliseconds budget,
              std::shared_ptr<state::GenerationState> state,
              std::vector<std::unique_ptr<tls::ClientTarget>> tls_targets = {}, EventLog* log = nullptr,
              const ResolveFunction& resolve = {});
  ~UpstreamSet();

  [[nodiscard]] const Config& config() const noexcept { return *config_; }
  [[nodiscard]] std::uint32_t size() const noexcept {
    return static_cast<std::uint32_t>(config_->backends.size());
  }
  [[nodiscard]] const BackendConfig& backend(std::uint32_t i) const noexcept { return config_->backends[i]; }
  [[nodiscard]] BackendIdentity identity(std::uint32_t i) const {
    return {config_->backends[i].name, config_->backends[i].endpoint.text()};
  }
  /// Who has that name at that address; kNoBackend: nobody.
  [[nodiscard]] std::uint32_t find(const BackendIdentity& identity) const;
  /// A connection to backend `i` of `other`, idle and in plain text, may be used for one of ours: which one,
  /// or kNoBackend.
  [[nodiscard]] std::uint32_t find_same(const UpstreamSet& other, std::uint32_t i) const;
  /// Whether an idle connection to backend i may be anybody's: no TLS and no PROXY header on it.
  [[nodiscard]] bool poolable(std::uint32_t i) const noexcept {
    return !config_->backends[i].tls && config_->backends[i].send_proxy == SendProxy::off;
  }
  [[nodiscard]] Balancer& balancer() noexcept { return *balancer_; }
  /// Whether choosing goes by a part of the request: hash_key() is to be asked for then.
  [[nodiscard]] bool hashes_requests() const noexcept { return hashes_requests_; }
  /// What all generations know of it.
  [[nodiscard]] state::Entry& entry(std::uint32_t i) const noexcept { return *backends_.entries[i]; }
  /// Where that is in the shared state; state::kNoEntry: nowhere.
  [[nodiscard]] std::uint32_t entry_number(std::uint32_t i) const noexcept { return backends_.numbers[i]; }
  /// So many backends have no place there.
  [[nodiscard]] std::size_t unshared() const noexcept { return backends_.unshared; }
  /// Those that no generation knew begin slowly: now is when the first request may come.
  void greet_newcomers(Instant now) noexcept;
  /// Those of worker number `worker`, one a backend.
  [[nodiscard]] std::span<BackendCounts* const> counts(std::uint32_t worker) const noexcept {
    return backends_.counts[worker];
  }
  /// Of backend i, over all workers, since this set is used.
  [[nodiscard]] BackendTotals counted(std::uint32_t i) const noexcept;

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
  std::shared_ptr<state::GenerationState> state_;
  state::GenerationState::Backends backends_;
  std::vector<BackendTotals> before_;  // what was counted before this set was used; empty: nothing
  AddressBook addresses_;
  std::unique_ptr<Balancer> balancer_;
  bool hashes_requests_ = false;
  std::unique_ptr<BackendQueue> queue_;
  std::unique_ptr<UpstreamOutliers> outliers_;
  std::vector<std::string> host_fields_;
  std::unordered_map<std::string_view, std::uint32_t> by_name_;
  std::vector<std::unique_ptr<tls::ClientTarget>> tls_targets_;
};

}  // namespace lb
