#include "lb/proxy/upstream_set.hpp"

#include <algorithm>

#include "lb/base/hash.hpp"
#include "lb/proxy/upstream_outliers.hpp"

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

std::vector<Endpoint> endpoints_of(const Config& config) {
  std::vector<Endpoint> endpoints;
  endpoints.reserve(config.backends.size());
  for (const BackendConfig& backend : config.backends) endpoints.push_back(backend.endpoint);
  return endpoints;
}

}  // namespace

UpstreamSet::~UpstreamSet() = default;

UpstreamSet::UpstreamSet(std::shared_ptr<const Config> config, Milliseconds budget, std::uint32_t workers,
                         std::vector<std::unique_ptr<tls::ClientTarget>> tls_targets, EventLog* log,
                         const ResolveFunction& resolve)
    : config_(std::move(config)),
      states_(std::make_unique<BackendState[]>(config_->backends.size())),
      addresses_(endpoints_of(*config_), resolve ? resolve : resolve_by_system, budget),
      tls_targets_(std::move(tls_targets)) {
  std::vector<BackendTraits> traits;
  for (const BackendConfig& backend : config_->backends) {
    traits.push_back(BackendTraits{.weight = backend.weight,
                                   .max_connections = backend.max_connections,
                                   .backup = backend.backup,
                                   .identity = hash_bytes(backend.name)});
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
  for (std::uint32_t i = 0; i < workers; ++i) counts_.push_back(std::make_unique<BackendCounts[]>(size()));
  if (config_->outlier_detection) outliers_ = std::make_unique<UpstreamOutliers>(*this, log);
}

UpstreamSet::Counted UpstreamSet::counted(std::uint32_t i) const noexcept {
  Counted sum;
  for (const auto& counts : counts_) {
    sum.requests += counts[i].requests.load(std::memory_order_relaxed);
    sum.failures += counts[i].failures.load(std::memory_order_relaxed);
    sum.gateway_failures += counts[i].gateway_failures.load(std::memory_order_relaxed);
  }
  return sum;
}

}  // namespace lb
