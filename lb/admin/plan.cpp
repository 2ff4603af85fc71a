#include "lb/admin/plan.hpp"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>

#include "lb/admin/words.hpp"
#include "lb/balance/key_moves.hpp"
#include "lb/base/hash.hpp"

namespace lb {
namespace {

/// Of the requests of the last five minutes, or of all keys: when more than this goes elsewhere, people may
/// notice.
constexpr double kDisruptiveShare = 0.5;

constexpr std::pair<Algorithm, KeyedAlgorithm> kHashing[] = {
    {Algorithm::ip_hash, KeyedAlgorithm::ip_hash},
    {Algorithm::consistent_hash, KeyedAlgorithm::consistent_hash}};

std::optional<KeyedAlgorithm> hashing(const Config& config) {
  const auto found =
      std::ranges::find(kHashing, config.algorithm, &std::pair<Algorithm, KeyedAlgorithm>::first);
  return found == std::end(kHashing) ? std::nullopt : std::optional{found->second};
}

const char* name_of(KeyedAlgorithm algorithm) {
  return algorithm == KeyedAlgorithm::ip_hash ? "ip_hash" : "consistent_hash";
}

std::vector<BackendTraits> traits_of(const Config& config) {
  std::vector<BackendTraits> traits;
  traits.reserve(config.backends.size());
  for (const BackendConfig& backend : config.backends) {
    traits.push_back(
        {.weight = backend.weight, .backup = backend.backup, .identity = hash_bytes(backend.name)});
  }
  return traits;
}

void plan_keys(Plan& plan, const Config& before, const Config& after) {
  const auto old = hashing(before);
  const auto next = hashing(after);
  if (!old && !next) return;
  if (old != next) {
    plan.keys_moved = 1;
    plan.keys_words = !next ? std::string{"there are keys no more: the algorithm was "} + name_of(*old)
                            : std::string{"the algorithm becomes "} + name_of(*next);
    return;
  }
  plan.keys_words = name_of(*old);
  const bool by_other = *old == KeyedAlgorithm::consistent_hash &&
                        (before.hash.by != after.hash.by || before.hash.name != after.hash.name);
  if (by_other) {
    plan.keys_moved = 1;
    plan.keys_words += " goes by something else";
    return;
  }
  plan.keys_moved = share_of_keys_moved(*old, traits_of(before), traits_of(after));
}

PlanListener planned(PlanListener::Fate fate, const std::string& endpoint, const RunningState& state) {
  PlanListener listener{.fate = fate, .endpoint = endpoint};
  const auto live = std::ranges::find(state.listeners, endpoint, &RunningState::Listener::endpoint);
  if (live == state.listeners.end()) return listener;
  listener.connections = live->connections;
  listener.busy = live->busy;
  listener.tunnels = live->tunnels;
  listener.tls = live->tls;
  return listener;
}

void plan_listeners(Plan& plan, const RunningState& state, const Config& before, const Config& after) {
  std::map<std::string, const ListenerConfig*> old;
  for (const ListenerConfig& listener : before.listen) old.emplace(listener.text(), &listener);
  for (const ListenerConfig& listener : after.listen) {
    const std::string endpoint = listener.text();
    const auto known = old.find(endpoint);
    if (known == old.end()) {
      plan.listeners.push_back({.fate = PlanListener::Fate::opened, .endpoint = endpoint});
      continue;
    }
    const bool same = *known->second == listener;
    plan.listeners.push_back(
        planned(same ? PlanListener::Fate::stays : PlanListener::Fate::changed, endpoint, state));
    old.erase(known);
  }
  for (const ListenerConfig& listener : before.listen) {
    if (old.contains(listener.text()))
      plan.listeners.push_back(planned(PlanListener::Fate::closed, listener.text(), state));
  }
}

PlanBackend planned(PlanBackend::Fate fate, const BackendConfig& backend, const RunningState& state) {
  PlanBackend planned{.fate = fate, .name = backend.name};
  const auto share = [](std::uint64_t part, std::uint64_t all) {
    return all == 0 ? 0.0 : static_cast<double>(std::min(part, all)) / static_cast<double>(all);
  };
  const std::string endpoint = backend.endpoint.text();
  for (const RunningState::Backend& live : state.backends) {
    if (live.name != backend.name || live.endpoint != endpoint) continue;
    planned.requests_1m += live.requests_1m;
    planned.requests_5m += live.requests_5m;
    planned.requests += live.requests;
    planned.tunnels += live.tunnels;
    planned.tunnels_tls += live.tunnels_tls;
  }
  planned.share_1m = share(planned.requests_1m, state.requests_1m);
  planned.share_5m = share(planned.requests_5m, state.requests_5m);
  return planned;
}

/// What the semantic diff says of that backend, without "backend NAME: ".
std::string words_of(const std::vector<ConfigChange>& changes, const BackendConfig& backend) {
  std::string words;
  const std::string prefix = "backend " + bare_words(backend.name) + ": ";
  for (const ConfigChange& change : changes) {
    if (change.kind != ConfigChange::Kind::changed || !change.words.starts_with(prefix)) continue;
    words += (words.empty() ? "" : ", ") + change.words.substr(prefix.size());
  }
  return words;
}

/// The gravest difference between two of one name; empty: none.
std::optional<PlanBackend::Fate> fate_of(const BackendConfig& before, const BackendConfig& after) {
  if (before == after) return std::nullopt;
  if (before.endpoint != after.endpoint) return PlanBackend::Fate::moved;
  BackendConfig reweighted = before;
  reweighted.weight = after.weight;
  return reweighted == after ? PlanBackend::Fate::reweighted : PlanBackend::Fate::changed;
}

void plan_backends(Plan& plan, const RunningState& state, const Config& before, const Config& after) {
  std::unordered_map<std::string_view, const BackendConfig*> next;
  for (const BackendConfig& backend : after.backends) next.emplace(backend.name, &backend);
  std::vector<PlanBackend> changed;
  for (const BackendConfig& backend : before.backends) {
    const auto still = next.find(backend.name);
    if (still == next.end()) {
      plan.backends.push_back(planned(PlanBackend::Fate::removed, backend, state));
      continue;
    }
    if (const auto fate = fate_of(backend, *still->second)) {
      changed.push_back(planned(*fate, backend, state));
      changed.back().words = words_of(plan.changes, backend);
    } else {
      ++plan.backends_kept;
    }
    next.erase(still);
  }
  plan.backends.insert(plan.backends.end(), std::make_move_iterator(changed.begin()),
                       std::make_move_iterator(changed.end()));
  for (const BackendConfig& backend : after.backends) {
    if (next.contains(backend.name))
      plan.backends.push_back({.fate = PlanBackend::Fate::added, .name = backend.name});
  }
}

void plan_connections(Plan& plan, const RunningState& state, const Config& before, const Config& after) {
  for (const RunningState::Listener& listener : state.listeners) {
    plan.drains_tls += listener.tls;
    plan.moves += listener.connections - std::min(listener.connections, listener.tunnels + listener.tls);
  }
  std::unordered_map<std::string_view, const BackendConfig*> old;
  for (const BackendConfig& backend : before.backends) old.emplace(backend.name, &backend);
  std::unordered_map<std::string_view, const BackendConfig*> next;
  for (const BackendConfig& backend : after.backends) next.emplace(backend.name, &backend);
  for (const RunningState::Backend& backend : state.backends) {
    plan.tunnels_drained += backend.tunnels_tls;
    const auto was = old.find(backend.name);
    const auto is = next.find(backend.name);
    // The same name at another address is another server.
    const bool stays = was != old.end() && is != next.end() && was->second->endpoint == is->second->endpoint;
    switch (stays || was == old.end() ? OnRemoval::keep : was->second->on_removal) {
      case OnRemoval::keep:
        plan.tunnels_kept += backend.tunnels;
        break;
      case OnRemoval::drain:
        plan.tunnels_drained += backend.tunnels;
        break;
      case OnRemoval::close:
        plan.tunnels_closed += backend.tunnels;
        break;
    }
  }
}

void judge(Plan& plan, const Config& after) {
  if (plan.changes.empty()) return;
  plan.verdict = PlanVerdict::safe;
  for (const PlanListener& listener : plan.listeners) {
    if (listener.fate == PlanListener::Fate::closed)
      plan.reasons.push_back("listener " + listener.endpoint + " is closed: who connects to it is refused");
    if (listener.fate == PlanListener::Fate::changed)
      plan.reasons.push_back("listener " + listener.endpoint + " speaks differently with new connections");
  }
  if (plan.tunnels_closed > 0)
    plan.reasons.push_back(counted(plan.tunnels_closed, "tunnel", "tunnels") +
                           " to removed backends are cut (on_removal close)");
  if (plan.tunnels_drained > 0)
    plan.reasons.push_back(counted(plan.tunnels_drained, "tunnel", "tunnels") +
                           " cannot go on for longer than drain_timeout");
  double leaving = 0;
  for (const PlanBackend& backend : plan.backends) {
    const auto next = std::ranges::find(after.backends, backend.name, &BackendConfig::name);
    const bool elsewhere =
        backend.fate == PlanBackend::Fate::moved;  // the server that answered is asked no more
    if (next == after.backends.end() || next->weight == 0 || elsewhere) leaving += backend.share_5m;
  }
  if (leaving > kDisruptiveShare)
    plan.reasons.push_back("backends leave that answered " + percent(leaving) +
                           " of the last minutes' requests");
  if (plan.keys_moved.value_or(0) > kDisruptiveShare)
    plan.reasons.push_back(percent(*plan.keys_moved) + " of all keys go to another backend");
  if (!plan.reasons.empty()) plan.verdict = PlanVerdict::disruptive;
}

}  // namespace

Plan make_plan(const RunningState& state, const Config& running, const LoadedConfig& planned_config,
               std::vector<ConfigChange> changes) {
  const Config& after = *planned_config.config;
  Plan plan{.generation = state.generation,
            .config = state.config,
            .planned_config = hash_text(planned_config.hash),
            .changes = std::move(changes),
            .live_known = state.live_known,
            .reload_in_flight = state.reload_in_flight,
            .backends_cut = state.backends_cut,
            .observed_s = state.observed_s,
            .requests_5m = state.requests_5m};
  plan_listeners(plan, state, running, after);
  plan_backends(plan, state, running, after);
  plan_keys(plan, running, after);
  plan_connections(plan, state, running, after);
  if (running.pid_file != after.pid_file)
    plan.restart.emplace_back("pid_file: the change takes effect at the next start of the balancer");
  if (running.admin.socket != after.admin.socket)
    plan.restart.emplace_back("admin.socket: the change takes effect at the next start of the balancer");
  judge(plan, after);
  return plan;
}

int plan_exit_code(PlanVerdict verdict) noexcept {
  switch (verdict) {
    case PlanVerdict::nothing:
      return 0;
    case PlanVerdict::safe:
      return 1;
    case PlanVerdict::disruptive:
      break;
  }
  return 3;
}

}  // namespace lb
