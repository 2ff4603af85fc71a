#include "lb/proxy/proxy.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <utility>

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
constexpr std::uint64_t kBucketSeed = 0x6275636b6574;
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

/// Where the sockets of a listener really are: the kernel may have chosen the port.
IpAddress address_of(const Endpoint& endpoint, std::span<const ListeningSocket> sockets) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  const auto socket = std::ranges::find(sockets, endpoint, &ListeningSocket::endpoint);
  if (socket == sockets.end()) return {};
  ::getsockname(socket->fd.get(), reinterpret_cast<sockaddr*>(&storage), &size);
  return IpAddress::from(storage);
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
  std::shared_ptr<UpstreamSet> upstreams;       // the current one
  std::unique_ptr<UpstreamHealth> health;       // its checks; null when there are none, or not any more
  std::shared_ptr<UpstreamSet> home;            // our own configuration's
  std::unique_ptr<UpstreamHealth> home_health;  // parked, with a successor: its checks
  std::vector<ProbeTarget> probe_targets;       // one a listener; fixed after create()
  std::vector<std::unique_ptr<Worker>> workers;
  std::size_t next_adopter = 0;
  bool draining = false;
  bool parked = false;
  bool handing = false;                     // draining with handoff
  std::uint64_t came_in_drain = 0;          // client connections adopted since the drain began
  std::uint64_t tunnels_came_in_drain = 0;  // likewise
  Instant drain_began{};
  CounterTotals at_drain{};                     // what was counted when it began
  std::optional<std::uint64_t> removed_before;  // tunnels, when the successor was told: its part of the drain
  std::uint64_t completed_at_drain = 0;

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

  /// Its loop looks again at the end of the turn that this is.
  void wake_those_that_want_room() {
    for (const auto& worker : workers) {
      if (worker->wants_room()) worker->post([] {});
    }
  }

  void take_over_state();
  void keep_house();
  void refresh_names(UpstreamSet& set, bool lost_only);
  void start_keeper_for(const Config& of);
};

/// Just before the first request: from here on what this generation finds out counts.
void Proxy::Impl::take_over_state() {
  const Instant now = monotonic_now();
  const state::GenerationState& state = *shared.state;
  state.take_over_checks();
  if (health) {
    health->publish();
  } else {
    // Nobody checks any more, so nobody is known to be down.
    for (std::uint32_t i = 0; i < upstreams->size(); ++i) upstreams->balancer().set_down(i, false, now);
  }
  upstreams->greet_newcomers(now);
  if (shared.limiter) {
    const std::uint64_t before =
        state.segment().header().bucket_depth.exchange(shared.limiter->depth(), std::memory_order_relaxed);
    shared.limiter->rescale(before, now);
  }
  if (upstreams->unshared() > 0 && log != nullptr) {
    log->warn("state.full", "what is known of some backends will not outlive this generation",
              {{"backends", static_cast<std::int64_t>(upstreams->unshared())}});
  }
}

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
  const std::uint32_t count = worker_count(config);
  shared.state = std::move(options.state);
  if (shared.state == nullptr) {
    auto alone = state::GenerationState::alone(count, mix64(options.seed ^ kBucketSeed));
    if (!alone) return std::unexpected(alone.error());
    shared.state = std::move(*alone);
  }
  LB_ASSERT(shared.state->workers() == count);
  if (config.rate_limit) {
    // Seeded, so that nobody can compute which addresses share a bucket.
    const state::Segment& segment = shared.state->segment();
    shared.limiter =
        std::make_unique<RateLimiter>(config.rate_limit->per_ip, config.rate_limit->burst, segment.buckets(),
                                      segment.header().bucket_seed.load(std::memory_order_relaxed));
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
    shared.listener_addresses.push_back(address_of(listener, options.listeners));
  }
  auto targets = tls::make_client_targets(config);
  if (!targets) return std::unexpected(targets.error());
  impl->upstreams = std::make_shared<UpstreamSet>(options.config, kResolveBudget, shared.state,
                                                  std::move(*targets), options.log, options.resolve);
  impl->home = impl->upstreams;
  for (const ListeningSocket& socket : options.listeners) {
    const std::string name = socket.endpoint.text();
    const auto same = [&](const ProbeTarget& target) { return target.listener == name; };
    if (std::ranges::any_of(impl->probe_targets, same)) continue;
    auto target = probe_target(name, socket.fd.get());
    if (!target) return std::unexpected(target.error());
    impl->probe_targets.push_back(std::move(*target));
  }
  auto hands = deal(std::move(options.listeners), count);
  for (std::uint32_t i = 0; i < count; ++i) {
    auto worker = Worker::create(shared, impl->upstreams, std::move(hands[i]), i, mix64(options.seed + i));
    if (!worker) return std::unexpected(worker.error());
    shared.workers.push_back(worker->get());
    impl->workers.push_back(std::move(*worker));
  }
  if (config.health_check) {
    auto health =
        UpstreamHealth::create(impl->upstreams, shared.state, options.log, mix64(options.seed ^ kHealthSeed));
    if (!health) return std::unexpected(health.error());
    impl->health = std::move(*health);
  }
  return std::unique_ptr<Proxy>{new Proxy{std::move(impl)}};
}

void Proxy::start() {
  if (impl_->health) impl_->health->start();
  impl_->take_over_state();
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
  auto set = std::make_shared<UpstreamSet>(std::move(successor), kResolveBudget, impl_->shared.state,
                                           std::move(*targets), impl_->log, impl_->resolve);
  if (impl_->shared.limiter && set->config().rate_limit) {
    // The buckets are those of the successor by now.
    impl_->shared.limiter->retune(set->config().rate_limit->per_ip, set->config().rate_limit->burst);
  }
  if (!impl_->draining) impl_->removed_before = counters().tunnels_removed;
  for (const auto& worker : impl_->workers) {
    worker->post_and_wait([&] { worker->set_successor(set); });
  }
  const Config& config = set->config();
  {
    const std::scoped_lock lock{impl_->upstreams_mutex};
    impl_->upstreams = set;
  }
  if (impl_->parked && !impl_->home_health) impl_->home_health = std::move(impl_->health);
  impl_->health.reset();  // the successor checks its backends itself
  impl_->start_keeper_for(config);
}

void Proxy::start_drain(Handoff handoff) {
  if (impl_->draining && handoff == Handoff::none) return;
  if (!impl_->draining) {
    impl_->draining = true;
    impl_->drain_began = monotonic_now();
    impl_->came_in_drain = impl_->tunnels_came_in_drain = 0;
    impl_->at_drain = counters();
    if (impl_->removed_before) {
      CounterTotals& start = impl_->at_drain;
      const std::uint64_t removed =
          start.tunnels_removed - *std::exchange(impl_->removed_before, std::nullopt);
      start.tunnels_removed -= removed;
      start.tunnels_open += removed;
      start.connections_open += removed;
    }
    impl_->completed_at_drain = 0;
    for (const auto& worker : impl_->workers) impl_->completed_at_drain += worker->completed_in_drain();
    impl_->shared.ledger.hold(impl_->workers.size());
  }
  impl_->handing = handoff == Handoff::live;
  const Instant deadline = impl_->drain_began + impl_->config->drain_timeout;
  for (const auto& worker : impl_->workers) {
    worker->post_and_wait([&] { worker->start_drain(deadline, handoff); });
  }
}

void Proxy::park(const Config* successor) {
  std::vector<Endpoint> gone;
  for (const ListenerConfig& own : impl_->config->listen) {
    const auto same = [&](const Endpoint& endpoint) { return endpoint == own; };
    if (successor != nullptr && std::ranges::none_of(successor->listen, same)) gone.push_back(own);
  }
  impl_->parked = true;
  for (const auto& worker : impl_->workers) {
    worker->post_and_wait([&] { worker->park(gone); });
  }
}

void Proxy::let_go() {
  if (!std::exchange(impl_->parked, false)) return;
  impl_->home_health.reset();
  for (const auto& worker : impl_->workers) {
    worker->post_and_wait([&] { worker->let_go(); });
  }
}

void Proxy::resume(std::vector<ListeningSocket> more) {
  LB_ASSERT(impl_->parked && impl_->draining);
  impl_->parked = impl_->draining = impl_->handing = false;
  std::shared_ptr<UpstreamSet> home;  // null: it was not left
  {
    const std::scoped_lock lock{impl_->upstreams_mutex};
    if (impl_->upstreams != impl_->home) home = impl_->upstreams = impl_->home;
  }
  if (home) impl_->health = std::move(impl_->home_health);
  auto hands = deal(std::move(more), impl_->workers.size());
  for (std::size_t i = 0; i < impl_->workers.size(); ++i) {
    Worker* const worker = impl_->workers[i].get();
    worker->post_and_wait([&] { worker->resume(home, std::move(hands[i])); });
  }
  // The one that failed had these, whether our backends were left for its own or not.
  const auto& limit = impl_->config->rate_limit;
  if (impl_->shared.limiter && limit) impl_->shared.limiter->retune(limit->per_ip, limit->burst);
  impl_->take_over_state();
  std::vector<HandedConnection> back = impl_->shared.ledger.take();  // to be handed over, and not taken yet
  impl_->shared.ledger.reset();
  adopt(std::move(back));
}

std::vector<ListenerProbe> Proxy::probe(Duration timeout) {
  const Instant until = monotonic_now() + timeout;
  std::vector<ListenerProbe> probes;
  for (const ProbeTarget& target : impl_->probe_targets) {
    const bool was_full = impl_->shared.full();
    ListenerProbe probe = probe_listener(impl_->shared.probes, target, until);
    if (!probe.ok && (was_full || impl_->shared.full())) {
      // Nobody is accepted, as is configured: that says nothing against the configuration.
      probe.ok = true;
      probe.error = "not probed: as many clients are connected as max_connections allows";
    }
    probes.push_back(std::move(probe));
  }
  return probes;
}

int Proxy::handed_fd() const noexcept {
  return impl_->shared.ledger.handed_fd();
}

std::vector<HandedConnection> Proxy::take_handed() {
  std::vector<HandedConnection> taken = impl_->shared.ledger.take();
  impl_->wake_those_that_want_room();
  return taken;
}

void Proxy::pause_handoff(bool paused) {
  impl_->shared.ledger.pause(paused);
  if (!paused) impl_->wake_those_that_want_room();
}

void Proxy::adopt(std::vector<HandedConnection> connections) {
  const std::size_t count = impl_->workers.size();
  std::vector<std::vector<HandedConnection>> hands(count);
  for (HandedConnection& one : connections) {
    LB_ASSERT(one.fd);
    if (impl_->draining && one.kind == HandedConnection::Kind::client) ++impl_->came_in_drain;
    if (impl_->draining && one.kind == HandedConnection::Kind::tunnel) ++impl_->tunnels_came_in_drain;
    hands[impl_->next_adopter].push_back(std::move(one));
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
  const CounterTotals& before = impl_->at_drain;
  for (const auto& worker : impl_->workers) report.completed += worker->completed_in_drain();
  report.completed -= impl_->completed_at_drain;
  report.closed_idle = totals.drain_closed_idle - before.drain_closed_idle;
  report.force_closed = totals.drain_force_closed - before.drain_force_closed;
  report.closed_removed = totals.tunnels_removed - before.tunnels_removed;
  const std::uint64_t handed = totals.handed_over - before.handed_over;
  report.handed_over = handed - std::min(handed, impl_->came_in_drain);
  const Instant over_since = impl_->shared.ledger.over_since();
  const Instant end = over_since == kNever ? monotonic_now() : over_since;
  if (!impl_->draining) return report;
  report.duration = end - impl_->drain_began;
  const CounterTotals& start = impl_->at_drain;
  report.connections_at_start = start.connections_open;
  report.tunnels_at_start = start.tunnels_open;
  report.requests_at_start = start.requests_in_flight;
  report.came = impl_->came_in_drain + impl_->tunnels_came_in_drain;
  report.forced = impl_->shared.ledger.all_forced();
  // What was being accepted in that very moment came as well.
  const std::uint64_t all =
      start.connections_open + report.came + totals.connections_accepted - start.connections_accepted;
  const std::uint64_t told = totals.connections_open + handed + totals.tunnels_handed_over -
                             before.tunnels_handed_over + report.closed_idle + report.force_closed +
                             report.closed_removed;
  report.ended = all - std::min(all, told);
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

Census Proxy::census() const {
  Census census;
  for (const auto& worker : impl_->workers) {
    worker->post_and_wait([&] { worker->count(census); });
  }
  return census;
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
    const BackendState& state = set->entry(i).state;
    const BackendTotals counted = set->counted(i);
    result.push_back(BackendStatus{.name = backend.name,
                                   .endpoint = backend.endpoint.text(),
                                   .requests = counted.requests,
                                   .failures = counted.failures,
                                   .in_flight = set->balancer().in_flight(i),
                                   .aside = state.aside_until_ns.load(std::memory_order_relaxed) > now_ns,
                                   .resolved = set->addresses().resolved(i),
                                   .standing = standing_name(set->balancer().standing(i, now))});
    result.back().backup = backend.backup;
    result.back().entry = set->entry_number(i);
    result.back().latency_sum_us = counted.latency_sum_us;
    result.back().latency = counted.latency;
    result.back().share_percent = static_cast<std::uint32_t>(set->balancer().share(i, now) * 100);
    if (set->outliers() != nullptr) result.back().reason = set->outliers()->reason(i, now);
    if (health == nullptr) continue;
    UpstreamHealth::Finding finding = health->finding(i);
    if (result.back().reason.empty()) result.back().reason = std::move(finding.failure);
    result.back().since_s = std::chrono::duration_cast<std::chrono::seconds>(now - finding.since).count();
  }
  for (const ForeignBackends::Entry& entry : impl_->shared.foreign.list()) {
    result.push_back(BackendStatus{.name = entry.backend.name,
                                   .endpoint = entry.backend.endpoint,
                                   .in_flight = entry.tunnels,
                                   .standing = "removed"});
  }
  return result;
}

void reload_start_drain(Proxy& old_generation, std::shared_ptr<const Config> successor, Handoff handoff) {
  old_generation.set_successor(std::move(successor));
  old_generation.start_drain(handoff);
}

}  // namespace lb
