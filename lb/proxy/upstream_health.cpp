#include "lb/proxy/upstream_health.hpp"

#include <algorithm>
#include <string_view>
#include <unordered_map>

namespace lb {

Result<std::unique_ptr<UpstreamHealth>> UpstreamHealth::create(std::shared_ptr<UpstreamSet> set,
                                                               EventLog* log, std::uint64_t seed) {
  std::unique_ptr<UpstreamHealth> health{new UpstreamHealth{std::move(set), log}};
  UpstreamSet& checked = *health->set_;
  HealthMonitor::Options options{
      .check = *checked.config().health_check,
      .address = [&checked](std::uint32_t i) { return checked.addresses().next(i, monotonic_now()); },
      .on_change = [self = health.get()](const auto& change) { self->on_change(change); },
      .seed = seed};
  for (std::uint32_t i = 0; i < checked.size(); ++i) {
    options.hosts.push_back(checked.host_field(i));
    options.send_proxy.push_back(checked.backend(i).send_proxy);
  }
  auto monitor = HealthMonitor::create(std::move(options));
  if (!monitor) return std::unexpected(monitor.error());
  health->monitor_ = std::move(*monitor);
  return health;
}

void UpstreamHealth::start() {
  // A check that times out in time for the budget ends somewhat later than its timeout.
  constexpr Milliseconds kSlack{100};
  monitor_->start();
  const Milliseconds budget = std::min(set_->config().health_check->timeout + kSlack, kWarmUpMax);
  if (monitor_->wait_tested(budget) || log_ == nullptr) return;
  log_->warn("health.late",
             "some backends have not answered their first check yet: they count as up until then",
             {{"waited_ms", budget.count()}});
}

void UpstreamHealth::on_change(const HealthMonitor::Change& change) {
  const Instant now = monotonic_now();
  set_->balancer().set_down(change.target, !change.up, now);
  if (log_ == nullptr) return;
  const BackendConfig& backend = set_->backend(change.target);
  const std::string address = backend.endpoint.text();
  if (change.up) {
    log_->info("backend.up", "a backend passes its health checks again",
               {{"backend", std::string_view{backend.name}}, {"address", std::string_view{address}}});
  } else {
    log_->warn("backend.down", "a backend fails its health checks",
               {{"backend", std::string_view{backend.name}},
                {"address", std::string_view{address}},
                {"reason", change.reason}});
  }
  if (const bool panic = set_->balancer().panic(now); panic != panic_) {
    panic_ = panic;
    log_->write(panic ? LogLevel::error : LogLevel::info, panic ? "backends.panic" : "backends.panic_over",
                panic ? "too few backends are well: all of them are used" : "enough backends are well again");
  }
}

UpstreamHealth::Finding UpstreamHealth::finding(std::uint32_t backend) const {
  HealthMonitor::Finding found = monitor_->finding(backend);
  return {.health = found.health, .since = found.since, .failure = std::move(found.failure)};
}

void UpstreamHealth::pass_on(UpstreamSet& other, Instant now) const {
  if (other.config().health_check != set_->config().health_check) return;
  std::unordered_map<std::string_view, std::uint32_t> down;
  for (std::uint32_t i = 0; i < set_->size(); ++i) {
    if (monitor_->finding(i).health == Health::down) down.emplace(set_->backend(i).name, i);
  }
  if (down.empty()) return;
  for (std::uint32_t i = 0; i < other.size(); ++i) {
    const auto known = down.find(other.backend(i).name);
    if (known != down.end() && set_->backend(known->second).endpoint == other.backend(i).endpoint) {
      other.balancer().set_down(i, true, now);
    }
  }
}

}  // namespace lb
