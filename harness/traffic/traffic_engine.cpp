#include "harness/traffic/traffic_engine.hpp"

#include <nlohmann/json.hpp>

namespace lb::traffic {

using Json = nlohmann::json;

std::uint16_t Interner::number(std::string_view text) {
  if (const auto found = numbers_.find(text); found != numbers_.end()) return found->second;
  if (texts_.size() >= kNone16) return kNone16;
  const auto n = static_cast<std::uint16_t>(texts_.size());
  texts_.emplace_back(text);
  numbers_.emplace(std::string(text), n);
  return n;
}

Result<void> TrafficEngine::prepare() {
  tls_.resize(specs_.size());
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    if (!specs_[i].tls) continue;
    auto context = tls_client_context(specs_[i].tls_ca);
    if (!context) return std::unexpected(context.error());
    tls_[i] = std::move(*context);
  }
  return {};
}

TrafficEngine::TrafficEngine(Loop& loop, TrafficOptions options)
    : loop_(loop),
      specs_(std::move(options.spec.streams)),
      counters_(specs_.size()),
      paused_(specs_.size(), false),
      targets_(std::move(options.targets)),
      stream_targets_(specs_.size()),
      records_max_(options.records_max),
      records_(options.records_max + kConnectionsMax),
      random_(options.seed),
      seed_(options.seed),
      sources_(options.sources),
      ramp_(options.spec.ramp) {
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    first_client_.push_back(static_cast<std::uint32_t>(clients_.size()));
    // The bursts of halfopen come from one client; `clients` is only their default size.
    const std::uint32_t count = specs_[i].kind == Kind::halfopen ? 1 : specs_[i].clients;
    for (std::uint32_t k = 0; k < count; ++k) clients_.emplace_back(random_(), static_cast<std::uint16_t>(i));
    set_targets(static_cast<int>(i), specs_[i].targets.empty() ? targets_ : specs_[i].targets);
  }
  first_client_.push_back(static_cast<std::uint32_t>(clients_.size()));
}

void TrafficEngine::set_targets(int stream, std::vector<Address> targets) {
  std::vector<const Address*> pointers;
  for (Address& address : targets) {
    all_targets_.push_back(std::make_unique<Address>(std::move(address)));
    pointers.push_back(all_targets_.back().get());
  }
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    if (stream < 0 || static_cast<std::size_t>(stream) == i) stream_targets_[i] = pointers;
  }
}

int TrafficEngine::stream_named(std::string_view name) const noexcept {
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    if (specs_[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

void TrafficEngine::count(const TrafficRecord& record, std::int64_t by) {
  StreamCounters& n = counters_[record.stream];
  const auto outcome = static_cast<Outcome>(record.outcome);
  const auto add = static_cast<std::uint64_t>(by);  // -1 wraps, as wanted
  n.done += add;
  n.outcomes[record.outcome] += add;
  (outcome == Outcome::ok ? n.ok : is_drop(outcome) ? n.drops : n.not_drops) += add;
}

/// A record without a request: of the kind that is about connections staying open, one did not.
void TrafficEngine::note_idle_close(const Connection& c) {
  if (specs_[c.stream].kind != Kind::idle || t_stop_ != 0) return;
  TrafficRecord r;
  r.t_due = r.t_send = r.t_end = now_ns();
  r.t_connect_begin = c.t_connect_begin;
  r.t_connected = c.t_connected;
  r.connection = c.id;
  r.local_port = c.local_port;
  r.request_on_connection = saturated<std::uint16_t>(c.requests);
  r.stream = static_cast<std::uint8_t>(c.stream);
  r.outcome = static_cast<std::uint8_t>(Outcome::closed_idle);
  r.phase = static_cast<std::uint8_t>(Phase::after);
  records_.append(r);
  ++counters_[c.stream].outcomes[r.outcome];
}

void TrafficEngine::finish(Connection& c, Exchange& exchange, Fate fate) {
  TrafficRecord& r = exchange.record;
  r.t_connect_begin = c.t_connect_begin;
  r.t_connected = c.t_connected;
  if (r.t_end == 0) r.t_end = now_ns();
  r.local_port = c.local_port;
  r.outcome = static_cast<std::uint8_t>(fate.outcome);
  r.phase = static_cast<std::uint8_t>(fate.phase);
  r.os_error = static_cast<std::uint8_t>(fate.os_error);
  r.detail = static_cast<std::uint8_t>(fate.detail);
  c.last_record = records_.append(r);
  count(r, 1);
  StreamCounters& n = counters_[c.stream];
  if (c.flow) {
    n.messages_sent += c.flow->messages_sent();
    n.messages_received += c.flow->messages_received();
  }
  ++n.interval_done;
  --n.in_flight;
  --in_flight_;
  if (fate.outcome == Outcome::ok) {
    n.interval_latencies.push_back(r.t_end - r.t_due);
  } else if (is_drop(fate.outcome) && on_drop) {
    on_drop(r);
  }
}

std::string TrafficEngine::tables(std::string_view reason) const {
  Json streams = Json::array();
  for (const StreamSpec& spec : specs_)
    streams.push_back({{"name", spec.name}, {"kind", name_of(spec.kind)}});
  Json kinds = Json::array();
  for (std::size_t i = 0; i < kKinds; ++i) kinds.push_back(name_of(static_cast<Kind>(i)));
  Json outcomes = Json::array();
  for (std::size_t i = 0; i < kOutcomes; ++i) outcomes.push_back(name_of(static_cast<Outcome>(i)));
  std::string target;
  for (const Address& address : targets_) target += (target.empty() ? "" : ",") + address.text;
  const Json tables = {{"streams", std::move(streams)},   {"backends", backends_.texts()},
                       {"labels", labels_.texts()},       {"kinds", std::move(kinds)},
                       {"outcomes", std::move(outcomes)}, {"target", target},
                       {"t_start_ns", t_start_},          {"t_stop_ns", t_stop_},
                       {"ledger_full", ledger_full()},    {"reason", std::string(reason)}};
  return tables.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace lb::traffic
