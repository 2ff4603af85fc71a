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

std::vector<state::Identity> identities_of(const Config& config) {
  std::vector<state::Identity> identities;
  identities.reserve(config.backends.size());
  for (const BackendConfig& backend : config.backends)
    identities.push_back(state::identity_of(backend.name, backend.endpoint.text()));
  return identities;
}

std::vector<Endpoint> endpoints_of(const Config& config) {
  std::vector<Endpoint> endpoints;
  endpoints.reserve(config.backends.size());
  for (const BackendConfig& backend : config.backends) endpoints.push_back(backend.endpoint);
  return endpoints;
}

}  // namespace

UpstreamSet::~UpstreamSet() = default;

UpstreamSet::UpstreamSet(std::shared_ptr<const Config> config, Milliseconds budget,
                         std::shared_ptr<state::GenerationState> state,
                         std::vector<std::unique_ptr<tls::ClientTarget>> tls_targets, EventLog* log,
                         const ResolveFunction& resolve)
    : config_(std::move(config)),
      state_(std::move(state)),
      backends_(state_->claim(identities_of(*config_))),
      addresses_(endpoints_of(*config_), resolve ? resolve : resolve_by_system, budget),
      tls_targets_(std::move(tls_targets)) {
  std::vector<BackendTraits> traits;
  for (const BackendConfig& backend : config_->backends) {
    traits.push_back(BackendTraits{.weight = backend.weight,
                                   .max_connections = backend.max_connections,
                                   .backup = backend.backup,
                                   .identity = hash_bytes(backend.name)});
    by_name_.emplace(backend.name, static_cast<std::uint32_t>(host_fields_.size()));
    host_fields_.push_back(host_field_of(backend.endpoint));
  }
  balancer_ = Balancer::create(to_balance(config_->algorithm), std::move(traits), backends_.states,
                               {.panic_threshold = config_->panic_threshold,
                                .slow_start = config_->slow_start,
                                .balance_factor = config_->hash.balance_factor});
  hashes_requests_ =
      config_->algorithm == Algorithm::consistent_hash && config_->hash.by != HashBy::client_ip;
  const bool limited = std::ranges::any_of(
      config_->backends, [](const BackendConfig& backend) { return backend.max_connections > 0; });
  if (limited && config_->queue.size > 0)
    queue_ = std::make_unique<BackendQueue>(config_->queue.size, state_->workers());
  if (!backends_.first) {
    std::vector<BackendTotals> before;
    before.reserve(size());
    for (std::uint32_t i = 0; i < size(); ++i) before.push_back(counted(i));
    before_.swap(before);
  }
  if (config_->outlier_detection) outliers_ = std::make_unique<UpstreamOutliers>(*this, log);
}

std::uint32_t UpstreamSet::find(const BackendIdentity& identity) const {
  const auto found = by_name_.find(identity.name);
  if (found == by_name_.end() || backend(found->second).endpoint.text() != identity.endpoint)
    return kNoBackend;
  return found->second;
}

std::uint32_t UpstreamSet::find_same(const UpstreamSet& other, std::uint32_t i) const {
  const auto found = by_name_.find(other.backend(i).name);
  if (found == by_name_.end() || backend(found->second).endpoint != other.backend(i).endpoint)
    return kNoBackend;
  return poolable(found->second) && other.poolable(i) ? found->second : kNoBackend;
}

BackendTotals UpstreamSet::counted(std::uint32_t i) const noexcept {
  BackendTotals sum;
  for (const auto& counts : backends_.counts) sum.add(*counts[i]);
  if (!before_.empty()) sum.take_away(before_[i]);
  return sum;
}

void UpstreamSet::greet_newcomers(Instant now) noexcept {
  for (std::uint32_t i = 0; i < size(); ++i) {
    if (!backends_.fresh[i]) continue;
    entry(i).state.up_since_ns.store(now.time_since_epoch().count(), std::memory_order_relaxed);
  }
}

}  // namespace lb
