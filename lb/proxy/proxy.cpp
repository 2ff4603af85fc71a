#include "lb/proxy/proxy.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "lb/base/random.hpp"
#include "lb/http/chars.hpp"
#include "lb/limit/rate_limiter.hpp"
#include "lb/proxy/upstream_health.hpp"
#include "lb/proxy/upstream_outliers.hpp"
#include "lb/proxy/upstream_set.hpp"
#include "lb/proxy/worker.hpp"
#include "lb/tls/from_config.hpp"

namespace lb {
namespace {

constexpr Milliseconds kResolveBudget{2000};
constexpr Milliseconds kResolveAgain{5000};
constexpr Milliseconds kHousekeeping{500};
constexpr std::size_t kRateLimitBuckets = 1U << 16U;
constexpr std::uint64_t kHealthSeed = 0x6865616c7468;  // tells its random numbers from those of the workers

std::uint32_t worker_count(const Config& config) {
  if (config.workers > 0) return config.workers;
  return std::max(1U, std::thread::hardware_concurrency());
}

const char* standing_name(Standing standing) noexcept {
  switch (standing) {
    case Standing::down:
      return "down";
    case Standing::ejected:
      return "ejected";
    case Standing::aside:
      return "aside";
    case Standing::up:
      break;
  }
  return "up";
}

/// Deals the shards of each endpoint to the workers in turn, going on where the last endpoint stopped, so
/// that endpoints with few shards do not all burden the first worker.
std::vector<std::vector<ListeningSocket>> deal(std::vector<ListeningSocket> sockets, std::size_t workers) {
  std::vector<std::vector<ListeningSocket>> hands(workers);
  std::size_t next = 0;
  for (ListeningSocket& socket : sockets) hands[next++ % workers].push_back(std::move(socket));
  return hands;
}

}  // namespace

struct Proxy::Impl {
  WorkerShared shared;
  std::shared_ptr<const Config> config;
  EventLog* log = nullptr;
  ResolveFunction resolve;
  mutable std::mutex upstreams_mutex;
  std::shared_ptr<UpstreamSet> upstreams;  // the current one
  std::unique_ptr<UpstreamHealth> health;  // its checks; null when there are none, or not any more
  std::vector<std::unique_ptr<Worker>> workers;
  std::size_t next_adopter = 0;
  bool draining = false;
  bool handing = false;             // draining with handoff
  std::uint64_t came_in_drain = 0;  // adopted since the drain began
  Instant drain_began{};

  std::mutex keeper_mutex;
  std::condition_variable keeper_wake;
  bool keeper_stop = false;
  std::thread keeper;  // looks after names and outliers

  ~Impl() {
    {
      const std::scoped_lock lock{keeper_mutex};
      keeper_stop = true;
    }
    keeper_wake.notify_all();
    if (keeper.joinable()) keeper.join();
    health.reset();
    for (const auto& worker : workers) worker->stop();
    workers.clear();
  }

  void keep_house();
  void refresh_names(UpstreamSet& set, bool lost_only);
  void start_keeper_for(const Config& of);
};

/// For as long as the generation lives: names are resolved anew, outliers looked for.
void Proxy::Impl::keep_house() {
  Instant lost_at = monotonic_now() + kResolveAgain;
  Instant all_at = monotonic_now();
  std::shared_ptr<UpstreamSet> set;
  std::unique_lock lock{keeper_mutex};
  while (!keeper_stop) {
    if (keeper_wake.wait_for(lock, kHousekeeping, [this] { return keeper_stop; })) return;
    lock.unlock();
    {
      const std::scoped_lock upstreams_lock{upstreams_mutex};
      if (set != upstreams) all_at = monotonic_now() + upstreams->config().resolver.interval;
      set = upstreams;
    }
    const Instant now = monotonic_now();
    if (set->outliers() != nullptr) set->outliers()->sample(now);
    if (now >= all_at || now >= lost_at) {
      refresh_names(*set, now < all_at);
      if (now >= all_at) all_at = now + set->config().resolver.interval;
      lost_at = now + kResolveAgain;
    }
    lock.lock();
  }
}

void Proxy::Impl::refresh_names(UpstreamSet& set, bool lost_only) {
  using Kind = AddressBook::Change::Kind;
  bool moved = false;
  for (const AddressBook::Change& change : set.addresses().refresh(kResolveBudget, lost_only)) {
    moved = moved || change.kind != Kind::lost;
    if (log == nullptr) continue;
    const std::string_view name = set.backend(change.backend).name;
    const std::string_view addresses = change.addresses;
    if (change.kind == Kind::lost) {
      log->warn("backend.unresolved", "the name of a backend does not resolve; it keeps the addresses it had",
                {{"backend", name}, {"addresses", addresses}});
    } else {
      log->info("backend.addresses", "the name of a backend has other addresses",
                {{"backend", name}, {"addresses", addresses}});
    }
  }
  if (!moved) return;
  for (const auto& worker : workers) {
    worker->post([target = worker.get()] { target->leave_old_addresses(); });
  }
}

/// Only for a configuration that needs it, of this generation or a successor.
void Proxy::Impl::start_keeper_for(const Config& of) {
  bool has_names = false;
  {
    const std::scoped_lock lock{upstreams_mutex};
    has_names = upstreams->addresses().has_names();
  }
  if (keeper.joinable() || !(has_names || of.outlier_detection)) return;
  keeper = std::thread{[this] { keep_house(); }};
}

Proxy::Proxy(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Proxy::~Proxy() = default;

Result<std::unique_ptr<Proxy>> Proxy::create(ProxyOptions options) {
  auto impl = std::make_unique<Impl>();
  impl->config = options.config;
  impl->log = options.log;
  impl->resolve = options.resolve;
  if (auto opened = impl->shared.ledger.open(); !opened) return std::unexpected(opened.error());

  const Config& config = *options.config;
  WorkerShared& shared = impl->shared;
  shared.config = options.config;
  shared.generation = options.generation;
  shared.log = options.log;
  shared.access_log_format = options.access_log_format;
  if (!config.access_log.empty()) {
    auto file = AccessLogFile::open(config.access_log);
    if (!file) return std::unexpected(file.error());
    shared.access_log = std::move(*file);
  }
  if (config.rate_limit) {
    // Seeded, so that nobody can compute which addresses share a bucket.
    shared.limiter =
        std::make_unique<RateLimiter>(config.rate_limit->per_ip, config.rate_limit->burst, kRateLimitBuckets,
                                      mix64(options.seed ^ kRateLimitBuckets));
  }
  if (config.limits.connections_per_ip > 0) {
    shared.connection_counter = std::make_unique<ConnectionCounter>(config.limits.connections_per_ip);
  }
  const auto keys = options.ticket_keys ? options.ticket_keys : std::make_shared<tls::TicketKeys>();
  for (const HeaderField& field : config.response_headers) {
    shared.response_block += field.name + ": " + field.value + "\r\n";
    shared.response_names.push_back(field.name);
    shared.sets_date = shared.sets_date || http::equals_ignore_case(field.name, "date");
  }
  for (const ListenerConfig& listener : config.listen) {
    std::unique_ptr<tls::ServerContext> context;
    if (listener.tls) {
      auto made = tls::make_server_context(*listener.tls, listener.mode == ListenMode::http, keys);
      if (!made) {
        made.error().message.insert(0, "listener " + listener.text() + ": ");
        return std::unexpected(made.error());
      }
      context = std::move(*made);
    }
    shared.server_contexts.push_back(std::move(context));
  }
  auto targets = tls::make_client_targets(config);
  if (!targets) return std::unexpected(targets.error());
  const std::uint32_t count = worker_count(config);
  impl->upstreams = std::make_shared<UpstreamSet>(options.config, kResolveBudget, count, std::move(*targets),
                                                  options.log, options.resolve);
  auto hands = deal(std::move(options.listeners), count);
  for (std::uint32_t i = 0; i < count; ++i) {
    auto worker = Worker::create(shared, impl->upstreams, std::move(hands[i]), i, mix64(options.seed + i));
    if (!worker) return std::unexpected(worker.error());
    shared.workers.push_back(worker->get());
    impl->workers.push_back(std::move(*worker));
  }
  if (config.health_check) {
    auto health = UpstreamHealth::create(impl->upstreams, options.log, mix64(options.seed ^ kHealthSeed));
    if (!health) return std::unexpected(health.error());
    impl->health = std::move(*health);
  }
  return std::unique_ptr<Proxy>{new Proxy{std::move(impl)}};
}

void Proxy::start() {
  if (impl_->health) impl_->health->start();
  for (const auto& worker : impl_->workers) worker->start();
  impl_->start_keeper_for(*impl_->config);
}

void Proxy::set_successor(std::shared_ptr<const Config> successor) {
  auto targets = tls::make_client_targets(*successor);
  if (!targets) {
    // The successor itself could read these files a moment ago.
    if (impl_->log != nullptr) impl_->log->error("upstream.tls_unusable", targets.error().message);
    targets.emplace();
  }
  auto set = std::make_shared<UpstreamSet>(std::move(successor), kResolveBudget,
                                           static_cast<std::uint32_t>(impl_->workers.size()),
                                           std::move(*targets), impl_->log, impl_->resolve);
  if (impl_->health) impl_->health->pass_on(*set, monotonic_now());
  for (const auto& worker : impl_->workers) {
    worker->post_and_wait([&] { worker->set_successor(set); });
  }
  const Config& config = set->config();
  {
    const std::scoped_lock lock{impl_->upstreams_mutex};
    impl_->upstreams = set;
  }
  impl_->health.reset();  // the successor checks its backends itself
  impl_->start_keeper_for(config);
}

void Proxy::start_drain(Handoff handoff) {
  const bool starts_handing = handoff == Handoff::idle_clients && !impl_->handing;
  if (impl_->draining && !starts_handing) return;
  if (!impl_->draining) {
    impl_->draining = true;
    impl_->drain_began = monotonic_now();
    impl_->shared.ledger.hold(impl_->workers.size());
  }
  impl_->handing = starts_handing;
  const Instant deadline = impl_->drain_began + impl_->config->drain_timeout;
  for (const auto& worker : impl_->workers) {
    worker->post_and_wait([&] { worker->start_drain(deadline, handoff); });
  }
}

int Proxy::handed_fd() const noexcept {
  return impl_->shared.ledger.handed_fd();
}

std::vector<HandedClient> Proxy::take_handed() {
  return impl_->shared.ledger.take();
}

void Proxy::adopt(std::vector<HandedClient> clients) {
  const std::size_t count = impl_->workers.size();
  if (impl_->draining) impl_->came_in_drain += clients.size();
  std::vector<std::vector<HandedClient>> hands(count);
  for (HandedClient& client : clients) {
    LB_ASSERT(client.fd);
    hands[impl_->next_adopter].push_back(std::move(client));
    impl_->next_adopter = (impl_->next_adopter + 1) % count;
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (hands[i].empty()) continue;
    if (impl_->draining) impl_->shared.ledger.hold(1);  // until they have arrived
    Worker* const worker = impl_->workers[i].get();
    worker->post([worker, hand = std::move(hands[i])]() mutable { worker->adopt(std::move(hand)); });
  }
}

void Proxy::give_up_handoff() {
  if (!impl_->handing) return;
  impl_->handing = false;
  DrainLedger& ledger = impl_->shared.ledger;
  ledger.hold(1);  // the drain is not over between taking and adopting
  for (const auto& worker : impl_->workers) {
    worker->post_and_wait([&] { worker->stop_handoff(); });
  }
  adopt(ledger.take());
  ledger.release(1);
}

int Proxy::drained_fd() const noexcept {
  return impl_->shared.ledger.drained_fd();
}

DrainReport Proxy::drain_report() const {
  DrainReport report;
  const CounterTotals totals = counters();
  for (const auto& worker : impl_->workers) report.completed += worker->completed_in_drain();
  report.closed_idle = totals.drain_closed_idle;
  report.force_closed = totals.drain_force_closed;
  report.handed_over = totals.handed_over - std::min(totals.handed_over, impl_->came_in_drain);
  const Instant over_since = impl_->shared.ledger.over_since();
  const Instant end = over_since == kNever ? monotonic_now() : over_since;
  if (impl_->draining) report.duration = end - impl_->drain_began;
  return report;
}

Result<void> Proxy::reopen_logs() {
  if (!impl_->shared.access_log) return {};
  return impl_->shared.access_log->reopen();
}

CounterTotals Proxy::counters() const {
  CounterTotals totals;
  for (const auto& worker : impl_->workers) totals.add(worker->counters());
  return totals;
}

std::vector<Proxy::BackendStatus> Proxy::backends() const {
  std::shared_ptr<UpstreamSet> set;
  {
    const std::scoped_lock lock{impl_->upstreams_mutex};
    set = impl_->upstreams;
  }
  const Instant now = monotonic_now();
  const std::int64_t now_ns = now.time_since_epoch().count();
  const UpstreamHealth* health = impl_->health.get();  // of this set, if there is one
  std::vector<BackendStatus> result;
  for (std::uint32_t i = 0; i < set->size(); ++i) {
    const BackendConfig& backend = set->backend(i);
    const BackendState& state = set->state(i);
    const UpstreamSet::Counted counted = set->counted(i);
    result.push_back(BackendStatus{.name = backend.name,
                                   .endpoint = backend.endpoint.text(),
                                   .requests = counted.requests,
                                   .failures = counted.failures,
                                   .in_flight = state.in_flight.load(std::memory_order_relaxed),
                                   .aside = state.aside_until_ns.load(std::memory_order_relaxed) > now_ns,
                                   .resolved = set->addresses().resolved(i),
                                   .standing = standing_name(set->balancer().standing(i, now))});
    result.back().backup = backend.backup;
    result.back().share_percent = static_cast<std::uint32_t>(set->balancer().share(i, now) * 100);
    if (set->outliers() != nullptr) result.back().reason = set->outliers()->reason(i, now);
    if (health == nullptr) continue;
    UpstreamHealth::Finding finding = health->finding(i);
    if (result.back().reason.empty()) result.back().reason = std::move(finding.failure);
    result.back().since_s = std::chrono::duration_cast<std::chrono::seconds>(now - finding.since).count();
  }
  return result;
}

void reload_start_drain(Proxy& old_generation, std::shared_ptr<const Config> successor, Handoff handoff) {
  old_generation.set_successor(std::move(successor));
  old_generation.start_drain(handoff);
}

}  // namespace lb
