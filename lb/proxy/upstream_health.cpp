#include "lb/proxy/upstream_health.hpp"

#include <algorithm>
#include <string>
#include <string_view>

#include "lb/base/hash.hpp"

namespace lb {

namespace {

/// What is down by one way of checking may be up by another: the check's settings, and those of the backend
/// that its checks use too.
std::uint64_t hash_of(const HealthCheckConfig& check, const BackendConfig& backend) {
  std::string text;
  if (backend.tls) {
    const BackendTlsConfig& tls = *backend.tls;
    text += tls.verify ? "verified" : "unverified";
    for (const std::string* part : {&tls.ca, &tls.server_name, &tls.cert, &tls.key}) text += *part + '\0';
  }
  text += std::to_string(static_cast<int>(backend.send_proxy)) + ' ';
  for (const std::string* part :
       {&check.path, &check.host, &check.expect_status, &check.expect_body, &check.send, &check.expect}) {
    text += *part + '\0';
  }
  for (const std::int64_t part :
       {std::int64_t{check.port}, std::int64_t{check.timeout.count()}, static_cast<std::int64_t>(check.type),
        static_cast<std::int64_t>(check.method)}) {
    text += std::to_string(part) + ' ';
  }
  return hash_bytes(text);
}

}  // namespace

Result<std::unique_ptr<UpstreamHealth>> UpstreamHealth::create(std::shared_ptr<UpstreamSet> set,
                                                               std::shared_ptr<state::GenerationState> state,
                                                               EventLog* log, std::uint64_t seed) {
  std::unique_ptr<UpstreamHealth> health{new UpstreamHealth{std::move(set), std::move(state), log}};
  UpstreamSet& checked = *health->set_;
  HealthMonitor::Options options{
      .check = *checked.config().health_check,
      .address = [&checked](std::uint32_t i) { return checked.addresses().next(i, monotonic_now()); },
      .on_change = [self = health.get()](const auto& change) { self->on_change(change); },
      // The last word is ours each time: a generation that failed to start may have said otherwise.
      .on_checked = [self = health.get()](std::uint32_t i,
                                          bool up) { self->tell(i, !up, {}, monotonic_now()); },
      .seed = seed};
  for (std::uint32_t i = 0; i < checked.size(); ++i) {
    options.hosts.push_back(checked.host_field(i));
    options.send_proxy.push_back(checked.backend(i).send_proxy);
  }
  if (auto secured = health->add_tls(options); !secured) return std::unexpected(secured.error());
  for (std::uint32_t i = 0; i < checked.size(); ++i) {
    const state::Entry& entry = checked.entry(i);
    health->rules_.push_back(hash_of(options.check, checked.backend(i)));
    const bool same = entry.check_rules.load(std::memory_order_relaxed) == health->rules_.back();
    if (!same || !entry.state.down.load(std::memory_order_relaxed)) continue;
    const auto since = static_cast<std::int64_t>(entry.down_since_ns.load(std::memory_order_relaxed));
    options.down.push_back(
        {.target = i, .since = Instant{Duration{since}}, .failure = entry.down_reason.get()});
  }
  auto monitor = HealthMonitor::create(std::move(options));
  if (!monitor) return std::unexpected(monitor.error());
  health->monitor_ = std::move(*monitor);
  return health;
}

/// Another port is another server, of whose TLS the backend's settings say nothing; only the type `tls` asks
/// for a handshake there too.
Result<void> UpstreamHealth::add_tls(HealthMonitor::Options& options) {
  const bool handshakes = options.check.type == HealthCheckType::tls;
  if (options.check.port != 0 && !handshakes) return {};
  std::shared_ptr<const tls::ClientContext> unverified;
  for (std::uint32_t i = 0; i < set_->size(); ++i) {
    tls::ClientTarget* target = set_->tls_target(i);
    if (target == nullptr && handshakes) {
      if (!unverified) {
        tls::ClientOptions trusting;
        trusting.verify = false;
        trusting.alpn.clear();
        auto made = tls::ClientContext::create(trusting);
        if (!made) return std::unexpected(made.error());
        unverified = std::move(*made);
      }
      const Endpoint& endpoint = set_->backend(i).endpoint;
      std::string name = endpoint.unix_socket ? std::string{} : endpoint.host;
      own_targets_.push_back(std::make_unique<tls::ClientTarget>(unverified, std::move(name)));
      target = own_targets_.back().get();
    }
    options.tls.push_back(target);
  }
  return {};
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
  tell(change.target, !change.up, change.reason, now);
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
  tell_of_panic(now);
}

void UpstreamHealth::tell_of_panic(Instant now) {
  const bool panic = set_->balancer().panic(now);
  if (panic_.exchange(panic) == panic || log_ == nullptr) return;
  log_->write(panic ? LogLevel::error : LogLevel::info, panic ? "backends.panic" : "backends.panic_over",
              panic ? "too few backends are well: all of them are used" : "enough backends are well again");
}

UpstreamHealth::Finding UpstreamHealth::finding(std::uint32_t backend) const {
  HealthMonitor::Finding found = monitor_->finding(backend);
  return {.health = found.health, .since = found.since, .failure = std::move(found.failure)};
}

void UpstreamHealth::publish() {
  const Instant now = monotonic_now();
  for (std::uint32_t i = 0; i < set_->size(); ++i) {
    const HealthMonitor::Finding found = monitor_->finding(i);
    tell(i, found.health == Health::down, found.failure, now);
  }
  tell_of_panic(now);
}

/// To all generations, if it is for us to say.
void UpstreamHealth::tell(std::uint32_t backend, bool down, std::string_view reason, Instant now) {
  if (!state_->checks_count()) return;
  state::Entry& entry = set_->entry(backend);
  if (entry.state.down.load(std::memory_order_relaxed) == down) return;
  if (down) {
    entry.down_reason.set(reason);
    entry.down_since_ns.store(static_cast<std::uint64_t>(now.time_since_epoch().count()),
                              std::memory_order_relaxed);
    entry.check_rules.store(rules_[backend], std::memory_order_relaxed);
  }
  set_->balancer().set_down(backend, down, now);
}

}  // namespace lb
