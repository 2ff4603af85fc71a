#include "harness/traffic/judge.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

namespace lb::traffic {
namespace {

using Json = nlohmann::json;

std::uint16_t index_of(std::vector<std::string>& names, const std::string& name) {
  const auto found = std::ranges::find(names, name);
  if (found != names.end()) return static_cast<std::uint16_t>(found - names.begin());
  names.push_back(name);
  return static_cast<std::uint16_t>(names.size() - 1);
}

/// A file's table of texts, as indices into the unified one.
std::vector<std::uint16_t> unify(std::vector<std::string>& names, const Json& table) {
  std::vector<std::uint16_t> map;
  if (!table.is_array()) return map;
  for (const Json& name : table)
    map.push_back(name.is_string() ? index_of(names, name.get<std::string>()) : kNone16);
  return map;
}

std::uint16_t mapped(const std::vector<std::uint16_t>& map, std::uint16_t i) noexcept {
  return i < map.size() ? map[i] : kNone16;
}

Error damaged(const std::string& path, const std::string& what) {
  return {Fault::environment, path + ": " + what, 0, false};
}

}  // namespace

Result<std::unique_ptr<Case>> Case::open(JudgeOptions options) {
  std::unique_ptr<Case> made(new Case);
  made->options = std::move(options);
  for (const std::string& path : made->options.traffic) {
    if (auto loaded = made->load_traffic(path); !loaded) return std::unexpected(loaded.error());
  }
  for (const std::string& path : made->options.backends) {
    if (auto loaded = made->load_backends(path); !loaded) return std::unexpected(loaded.error());
  }
  std::ranges::sort(made->sightings, [](const Sighting& a, const Sighting& b) {
    return a.nonce != b.nonce ? a.nonce < b.nonce : a.record->t_begin < b.record->t_begin;
  });
  return made;
}

Result<void> Case::load_traffic(const std::string& path) {
  auto opened = LedgerFile<TrafficRecord>::open(path);
  if (!opened) return std::unexpected(opened.error());
  traffic_files_.push_back(std::make_unique<LedgerFile<TrafficRecord>>(std::move(*opened)));
  const auto& file = *traffic_files_.back();
  const Json tables = Json::parse(file.tables(), nullptr, false);
  if (!tables.is_object() || !tables.value("streams", Json()).is_array()) {
    return std::unexpected(damaged(path, "the tables at its end are damaged"));
  }
  std::vector<std::uint16_t> stream_map;
  for (const Json& stream : tables.at("streams")) {
    const std::string name = stream.value("name", "");
    const auto kind = kind_named(stream.value("kind", ""));
    if (!kind) return std::unexpected(damaged(path, "stream '" + name + "' is of no known kind"));
    const auto found = std::ranges::find(streams, name, &StreamName::name);
    stream_map.push_back(static_cast<std::uint16_t>(found - streams.begin()));
    if (found == streams.end()) streams.push_back({name, *kind});
  }
  const auto backend_map = unify(backends, tables.value("backends", Json()));
  const auto label_map = unify(labels, tables.value("labels", Json()));
  seed = file.seed();
  target = tables.value("target", "");
  reason = tables.value("reason", "");
  const std::uint32_t first_connection = connections;
  items.reserve(items.size() + file.size());
  for (const TrafficRecord& r : file) {
    if (r.stream >= stream_map.size() || r.outcome >= kOutcomes) {
      return std::unexpected(damaged(path, "a record is damaged"));
    }
    Item item;
    item.record = &r;
    item.connection = first_connection + r.connection;
    item.stream = stream_map[r.stream];
    item.backend = mapped(backend_map, r.backend);
    item.label = mapped(label_map, r.label);
    item.outcome = static_cast<Outcome>(r.outcome);
    item.detail = static_cast<Detail>(r.detail);
    items.push_back(item);
    connections = std::max(connections, item.connection);
  }
  return {};
}

Result<void> Case::load_backends(const std::string& path) {
  auto opened = LedgerFile<BackendRecord>::open(path);
  if (!opened) return std::unexpected(opened.error());
  backend_files_.push_back(std::make_unique<LedgerFile<BackendRecord>>(std::move(*opened)));
  const auto& file = *backend_files_.back();
  const Json tables = Json::parse(file.tables(), nullptr, false);
  if (!tables.is_object()) return std::unexpected(damaged(path, "the tables at its end are damaged"));
  const auto backend_map = unify(backends, tables.value("backends", Json()));
  backend_ledger_full = backend_ledger_full || tables.value("full", false);
  sightings.reserve(sightings.size() + file.size());
  for (const BackendRecord& r : file) sightings.push_back({r.nonce, &r, mapped(backend_map, r.backend)});
  return {};
}

std::uint64_t Case::drops() const noexcept {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kOutcomes; ++i) {
    if (is_drop(static_cast<Outcome>(i))) sum += outcomes[i];
  }
  return sum;
}

std::vector<const Sighting*> Case::sightings_of(std::uint64_t nonce) const {
  std::vector<const Sighting*> found;
  for (auto at = std::ranges::lower_bound(sightings, nonce, {}, &Sighting::nonce);
       at != sightings.end() && at->nonce == nonce; ++at) {
    found.push_back(&*at);
  }
  return found;
}

void Case::compare_one(Item& item, const Sighting* first, const Sighting* last) {
  const TrafficRecord& r = *item.record;
  const auto seen = static_cast<std::size_t>(last - first);
  const bool answered = item.outcome == Outcome::ok;
  if (answered) ++comparison.answered;
  if (answered && seen == 0) {
    ++comparison.answered_not_seen;
    item.outcome = Outcome::wrong_body;
    item.detail = Detail::none;
    return;
  }
  if (!answered && seen > 0) ++comparison.seen_not_answered;
  if (item.outcome == Outcome::unserved && seen > 0) item.outcome = Outcome::lost;
  if (seen == 0) return;
  std::size_t complete = 0;
  bool body_wrong = false;
  const Sighting* answering = nullptr;
  for (const Sighting* s = first; s != last; ++s) {
    if ((s->record->flags & kBackendComplete) != 0) {
      ++complete;
      if (answering == nullptr || s->backend == item.backend) answering = s;
    }
    body_wrong = body_wrong || (s->record->flags & kBackendBodyWrong) != 0;
  }
  if (body_wrong) {
    ++comparison.request_body_wrong;
    // A backend that finds a conversation wrong ends it, which its client sees as a break.
    if (answered || item.outcome == Outcome::truncated) {
      item.outcome = Outcome::wrong_body;
      item.detail = Detail::request_body_wrong;
    }
  }
  if (seen > 1) {
    ++comparison.seen_twice;
    // An idempotent request may be sent once more when its first try was answered by nothing at all.
    const bool executed_twice = complete > 1 || (r.flags & kTrafficNotIdempotent) != 0;
    ++(executed_twice ? comparison.duplicated : comparison.retried);
    if (executed_twice && item.outcome == Outcome::ok) item.outcome = Outcome::duplicated;
  }
  if (!answered || answering == nullptr) return;
  if (answering->backend != item.backend) ++comparison.backend_disagrees;
  if (answering->record->status != r.status) ++comparison.status_disagrees;
}

/// Whether a drop is the backends' own doing, and of such a kind that no balancer may try again, or has
/// tried: no backend did well with the request, and it may not be repeated (RFC 9110, 9.2.2; in TCP mode
/// there is nothing that could be), or some of an answer was seen, or nothing was ever said of it, or the
/// second try failed as well. What no backend saw is excused only when it may not be repeated and the
/// connection it was sent into broke.
bool Case::is_excusable(const Item& item, const Sighting* first, const Sighting* last) noexcept {
  const bool tunneled = (item.record->flags & kTrafficTunneled) != 0;
  switch (item.outcome) {
    case Outcome::reset_before_first_byte:
    case Outcome::closed_under_request:
    case Outcome::truncated:
    case Outcome::timeout:
    case Outcome::unexpected_status:
      break;
    case Outcome::malformed:
      if (!tunneled) return false;
      break;
    default:
      return false;
  }
  const bool once = tunneled || (item.record->flags & kTrafficNotIdempotent) != 0;
  if (first == last) return once && (tunneled || item.record->status == 502);
  bool final = once || last - first > 1;
  for (const Sighting* s = first; s != last; ++s) {
    if ((s->record->flags & kBackendFaultScripted) == 0) return false;
    final = final || (s->record->flags & (kBackendSomeSent | kBackendHung)) != 0;
  }
  return final;
}

/// An answer that breaks off ends its connection, and what was pipelined behind it goes unanswered and
/// unseen.
void Case::excuse_pipelined() {
  std::set<std::pair<std::uint32_t, std::uint64_t>> broken;  // connection and time of sending
  for (const Item& item : items) {
    if (item.outcome == Outcome::excused) broken.emplace(item.connection, item.record->t_send);
  }
  for (Item& item : items) {
    const bool unanswered =
        item.outcome == Outcome::closed_under_request || item.outcome == Outcome::reset_before_first_byte;
    if (!unanswered || !broken.contains({item.connection, item.record->t_send})) continue;
    if (!sightings_of(item.record->nonce).empty()) continue;
    --outcomes[static_cast<std::size_t>(item.outcome)];
    item.outcome = Outcome::excused;
    ++outcomes[static_cast<std::size_t>(item.outcome)];
  }
}

void Case::check_removed(Item& item, const Sighting* first, const Sighting* last, const Removals& removals) {
  const TrafficRecord& r = *item.record;
  if (removals.empty() || r.t_send == 0) return;
  std::uint16_t backend = kNone16;
  std::optional<Nanos> since;
  const auto look = [&](std::uint16_t at, Nanos reached) {
    if (since || at >= backends.size()) return;
    since = removals.forbidden_since(backends[at], r.t_send, reached);
    if (since) backend = at;
  };
  for (const Sighting* s = first; s != last; ++s) look(s->backend, s->record->t_begin);
  if (first == last && item.outcome == Outcome::ok) look(item.backend, r.t_end);
  if (!since) return;
  const bool fresh = r.t_connect_begin >= *since;
  // In TCP mode there are no requests: a connection keeps the backend that it was given when it began.
  if (!fresh && (r.flags & kTrafficTunneled) != 0) return;
  ++removed.requests;
  if (fresh) ++removed.on_new_connections;
  ++removed.by_backend[backends[backend]];
  const bool counts = fresh || !options.removed_counts_connection;
  if (counts && item.outcome == Outcome::ok) item.outcome = Outcome::removed_backend;
}

void Case::compare() {
  const Windows windows(options.marks);
  const Removals removals(options.marks);
  comparison.backend_records = sightings.size();
  backend_seen.assign(backends.size(), 0);
  backend_completed.assign(backends.size(), 0);
  backend_answered.assign(backends.size(), 0);
  for (const Sighting& s : sightings) {
    if (s.backend >= backends.size()) continue;
    ++backend_seen[s.backend];
    if ((s.record->flags & kBackendComplete) != 0) ++backend_completed[s.backend];
  }
  std::vector<std::uint32_t> order(items.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::sort(order, {}, [&](std::uint32_t i) { return items[i].record->nonce; });
  const Sighting* at = sightings.data();
  const Sighting* const end = at + sightings.size();
  t_begin = items.empty() ? 0 : ~Nanos{0};
  for (const std::uint32_t i : order) {
    Item& item = items[i];
    const TrafficRecord& r = *item.record;
    for (; at != end && at->nonce < r.nonce; ++at) ++comparison.seen_not_sent;
    const Sighting* const first = at;
    while (at != end && at->nonce == r.nonce) ++at;
    if (item.outcome == Outcome::ok && item.backend < backends.size()) ++backend_answered[item.backend];
    compare_one(item, first, at);
    check_removed(item, first, at, removals);
    if (options.excuse_faults && is_excusable(item, first, at)) item.outcome = Outcome::excused;
    item.inside = windows.touches(r.t_due, r.t_end);
    ++outcomes[static_cast<std::size_t>(item.outcome)];
    t_begin = std::min(t_begin, r.t_due);
    t_end = std::max(t_end, r.t_end);
  }
  comparison.seen_not_sent += static_cast<std::uint64_t>(end - at);
  if (options.excuse_faults) excuse_pipelined();
}

std::vector<std::string> Case::doubts() const {
  std::vector<std::string> all;
  const std::uint64_t local = count(Outcome::local_error);
  if (items.empty()) all.emplace_back("no request was made");
  if (!items.empty() && sightings.empty() && count(Outcome::ok) + comparison.answered_not_seen > 0) {
    all.emplace_back("the backends' ledger is empty: nothing to compare with");
  }
  if (const std::uint64_t n = count(Outcome::unfinished); n > 0) {
    all.push_back(std::to_string(n) +
                  " requests were still in flight when the run ended: give it more grace");
  }
  if (local * 1000 > items.size()) {
    all.push_back(std::to_string(local) + " requests failed on the client's own machine");
  }
  if (backend_ledger_full) all.emplace_back("the backends' ledger was full: requests are missing from it");
  return all;
}

Verdict Case::verdict() const {
  const bool compared = !sightings.empty() || comparison.answered_not_seen == 0;
  const std::uint64_t found = compared ? drops() : drops() - comparison.answered_not_seen;
  if (found > 0) return Verdict::drops;
  return doubts().empty() ? Verdict::zero_drops : Verdict::cannot_judge;
}

}  // namespace lb::traffic
