#include "lb/proxy/upstream_set.hpp"

#include <algorithm>

#include "lb/base/hash.hpp"
#include "lb/net/resolver.hpp"

namespace lb {
namespace {

BalanceAlgorithm to_balance(Algorithm algorithm) noexcept {
  switch (algorithm) {
    case Algorithm::round_robin:
      return BalanceAlgorithm::round_robin;
    case Algorithm::weighted_round_robin:
      return BalanceAlgorithm::weighted_round_robin;
    case Algorithm::least_connections:
      return BalanceAlgorithm::least_connections;
    case Algorithm::ip_hash:
      return BalanceAlgorithm::ip_hash;
    case Algorithm::random:
      return BalanceAlgorithm::random;
    case Algorithm::weighted_least_connections:
      return BalanceAlgorithm::weighted_least_connections;
    case Algorithm::power_of_two:
      return BalanceAlgorithm::power_of_two;
    case Algorithm::consistent_hash:
      return BalanceAlgorithm::consistent_hash;
  }
  LB_ASSERT(false);
}

std::string host_field_of(const Endpoint& endpoint) {
  return endpoint.unix_socket ? "localhost" : endpoint.text();
}

}  // namespace

UpstreamSet::UpstreamSet(std::shared_ptr<const Config> config, Milliseconds budget, std::uint32_t workers,
                         std::vector<std::unique_ptr<tls::ClientTarget>> tls_targets)
    : config_(std::move(config)),
      states_(std::make_unique<BackendState[]>(config_->backends.size())),
      tls_targets_(std::move(tls_targets)) {
  std::vector<BackendTraits> traits;
  std::vector<Endpoint> endpoints;
  for (const BackendConfig& backend : config_->backends) {
    traits.push_back(BackendTraits{.weight = backend.weight,
                                   .max_connections = backend.max_connections,
                                   .backup = backend.backup,
                                   .identity = hash_bytes(backend.name)});
    endpoints.push_back(backend.endpoint);
    host_fields_.push_back(host_field_of(backend.endpoint));
  }
  balancer_ = Balancer::create(to_balance(config_->algorithm), std::move(traits), {states_.get(), size()},
                               {.panic_threshold = config_->panic_threshold,
                                .slow_start = config_->slow_start,
                                .balance_factor = config_->hash.balance_factor});
  hashes_requests_ =
      config_->algorithm == Algorithm::consistent_hash && config_->hash.by != HashBy::client_ip;
  const bool limited = std::ranges::any_of(
      config_->backends, [](const BackendConfig& backend) { return backend.max_connections > 0; });
  if (limited && config_->queue.size > 0)
    queue_ = std::make_unique<BackendQueue>(config_->queue.size, workers);
  addresses_ = resolve_all(endpoints, budget);
  for (std::uint32_t i = 0; i < workers; ++i) counts_.push_back(std::make_unique<BackendCounts[]>(size()));
}

UpstreamSet::Counted UpstreamSet::counted(std::uint32_t i) const noexcept {
  Counted sum;
  for (const auto& counts : counts_) {
    sum.requests += counts[i].requests.load(std::memory_order_relaxed);
    sum.failures += counts[i].failures.load(std::memory_order_relaxed);
  }
  return sum;
}

SocketAddress UpstreamSet::address(std::uint32_t i) const {
  const std::scoped_lock lock{addresses_mutex_};
  return addresses_[i];
}

std::size_t UpstreamSet::resolve_missing(Milliseconds budget) {
  std::vector<std::size_t> missing;
  std::vector<Endpoint> endpoints;
  {
    const std::scoped_lock lock{addresses_mutex_};
    for (std::size_t i = 0; i < addresses_.size(); ++i) {
      if (!addresses_[i].empty()) continue;
      missing.push_back(i);
      endpoints.push_back(config_->backends[i].endpoint);
    }
  }
  if (missing.empty()) return 0;
  const std::vector<SocketAddress> found = resolve_all(endpoints, budget);
  std::size_t still_missing = 0;
  const std::scoped_lock lock{addresses_mutex_};
  for (std::size_t k = 0; k < missing.size(); ++k) {
    addresses_[missing[k]] = found[k];
    if (found[k].empty()) ++still_missing;
  }
  return still_missing;
}

}  // namespace lb
