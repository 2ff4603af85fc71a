// The story of each drop, the slowest requests, and what happened around each reload.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <queue>

#include "harness/traffic/payload.hpp"
#include "harness/traffic/report_parts.hpp"

namespace lb::traffic {

using Json = nlohmann::json;

namespace {

constexpr std::size_t kHistoryMax = 10;

double ms_between(Nanos from, Nanos to) {
  return (static_cast<double>(to) - static_cast<double>(from)) / 1e6;
}

std::string spell(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string span_text(double ms) {
  const double size = std::fabs(ms);
  if (size < 1) return spell("%.0f us", size * 1000);
  if (size < 1000) return spell("%.1f ms", size);
  return spell("%.2f s", size / 1000);
}

/// When the request's fate was sealed, as far as its story goes: the moment to relate to reloads.
Nanos moment_of(const Item& item) {
  return item.outcome == Outcome::removed_backend || item.outcome == Outcome::duplicated ? item.record->t_send
                                                                                         : item.record->t_end;
}

/// A conversation that was ended from outside: how old it was, and under which configuration it had begun.
std::string how_it_was_cut(const Case& judged, const Item& item) {
  const TrafficRecord& r = *item.record;
  std::size_t crossed = 0;
  for (const Mark& mark : judged.options.marks) {
    if (mark.ok && mark.t_request > r.t_connected && mark.t_answer < r.t_end) ++crossed;
  }
  std::string text = "it was cut " + span_text(ms_between(r.t_connected, r.t_end)) + " after it had begun";
  if (item.label < judged.labels.size()) text += " under " + judged.labels[item.label];
  return text + ", having crossed " + std::to_string(crossed) + (crossed == 1 ? " reload" : " reloads");
}

std::string what_happened(const Case& judged, const Item& item) {
  const TrafficRecord& r = *item.record;
  const Nanos since = r.t_send != 0 ? r.t_send : r.t_connect_begin;
  const std::string after = span_text(ms_between(since, r.t_end));
  const std::string backend =
      item.backend < judged.backends.size() ? judged.backends[item.backend] : "a backend";
  switch (item.outcome) {
    case Outcome::refused:
      return "the connection was refused";
    case Outcome::connect_timeout:
      return "no connection came about within " + after;
    case Outcome::reset_before_first_byte:
      return r.t_send == 0
                 ? "the connection was reset before a request could be sent"
                 : "the connection was reset " + after + " after the request was sent, before any answer";
    case Outcome::closed_under_request:
      return "the connection was closed " + after + " after the request was sent, before any answer";
    case Outcome::truncated:
      if (is_flow(judged.streams[item.stream].kind)) return how_it_was_cut(judged, item);
      return "the answer broke off after " + std::to_string(r.bytes) + " bytes of its body";
    case Outcome::timeout:
      return "nothing moved for so long that the client gave up, " + after + " after sending";
    case Outcome::wrong_body:
      if (item.detail == Detail::none) return "it was answered, but no backend saw the request";
      return "the answer is wrong: " + std::string(name_of(item.detail));
    case Outcome::unexpected_status:
      return "it was answered with status " + std::to_string(r.status);
    case Outcome::malformed:
      return "the answer is not HTTP: " + std::string(name_of(item.detail));
    case Outcome::duplicated:
      return "backends executed it more than once";
    case Outcome::removed_backend:
      return "it was answered by " + backend + ", which was no longer configured when it was sent";
    case Outcome::lost:
      return "an earlier answer announced the close, so it should not have been processed, yet a backend saw "
             "it";
    default:
      return std::string(name_of(item.outcome));
  }
}

std::string likely_cause(const Item& item) {
  const bool kept = (item.record->flags & kTrafficKeptAlive) != 0;
  const bool early =
      item.outcome == Outcome::closed_under_request || item.outcome == Outcome::reset_before_first_byte;
  if (early && kept)
    return " Usually: an idle kept-alive connection is closed just as a request is on its way.";
  if (early) return " Usually: a listening socket is closed while connections wait in its queue.";
  if (item.outcome == Outcome::refused) return " Usually: for a moment nobody listened on the address.";
  return {};
}

Json mark_json(const Case& judged, const Item& item, std::string& text) {
  const Nanos at = moment_of(item);
  const int index = nearest_mark(judged.options.marks, at);
  if (index < 0) return nullptr;
  const Mark& mark = judged.options.marks[static_cast<std::size_t>(index)];
  const double after_request = ms_between(mark.t_request, at);
  const double after_answer = ms_between(mark.t_answer, at);
  text += "; that was " + span_text(after_request) + (after_request < 0 ? " before " : " after ") +
          mark.name + " was requested and " + span_text(after_answer) +
          (after_answer < 0 ? " before" : " after") + " its answer";
  return {{"index", index},
          {"name", mark.name},
          {"after_request_ms", after_request},
          {"after_answer_ms", after_answer}};
}

Json seen_by_json(const Case& judged, const Item& item, std::string& text) {
  Json seen = Json::array();
  std::string names;
  for (const Sighting* s : judged.sightings_of(item.record->nonce)) {
    const bool complete = (s->record->flags & kBackendComplete) != 0;
    seen.push_back({{"backend", text_or_null(judged.backends, s->backend)},
                    {"t_begin_s", relative_s(judged, s->record->t_begin)},
                    {"t_end_s", relative_s(judged, s->record->t_end)},
                    {"complete", complete},
                    {"status", s->record->status}});
    if (s->backend < judged.backends.size()) {
      names += (names.empty() ? "" : ", ") + judged.backends[s->backend] +
               (complete ? " (answered)" : " (not answered)");
    }
  }
  text += names.empty() ? "; no backend saw it." : "; seen by " + names + ".";
  return seen;
}

Json item_json(const Case& judged, const Item& item) {
  const TrafficRecord& r = *item.record;
  const StreamName& stream = judged.streams[item.stream];
  std::string nonce;
  append_nonce(nonce, r.nonce);
  std::string text = std::string(name_of(stream.kind)) + " request " +
                     std::to_string(r.request_on_connection + 1) + " of connection " +
                     std::to_string(item.connection) + " (local port " + std::to_string(r.local_port) +
                     "): " + what_happened(judged, item);
  Json json = {{"nonce", nonce},
               {"stream", stream.name},
               {"kind", name_of(stream.kind)},
               {"outcome", name_of(item.outcome)},
               {"detail", name_of(item.detail)},
               {"phase", name_of(static_cast<Phase>(r.phase))},
               {"errno", r.os_error},
               {"errno_name", errno_name(r.os_error)},
               {"status", r.status},
               {"backend", text_or_null(judged.backends, item.backend)},
               {"label", text_or_null(judged.labels, item.label)},
               {"connection", item.connection},
               {"local_port", r.local_port},
               {"request_on_connection", r.request_on_connection},
               {"t_due_s", relative_s(judged, r.t_due)},
               {"t_connect_s", relative_s(judged, r.t_connect_begin)},
               {"t_connected_s", relative_s(judged, r.t_connected)},
               {"t_send_s", relative_s(judged, r.t_send)},
               {"t_first_byte_s", relative_s(judged, r.t_first_byte)},
               {"t_end_s", relative_s(judged, r.t_end)},
               {"bytes", r.bytes},
               {"idle_before_us", nullptr}};
  json["mark"] = mark_json(judged, item, text);
  json["seen_by"] = seen_by_json(judged, item, text);
  json["text"] = text + likely_cause(item);
  return json;
}

}  // namespace

Json drops_json(const Case& judged, const ConnectionPick& pick) {
  Json all = Json::array();
  for (const std::uint32_t index : pick.drops()) {
    const Item& item = judged.items[index];
    Json story = item_json(judged, item);
    const auto& requests = pick.requests_of(item.connection);
    const auto self = std::ranges::find(requests, index);
    const auto first = self - requests.begin() > static_cast<std::ptrdiff_t>(kHistoryMax)
                           ? self - static_cast<std::ptrdiff_t>(kHistoryMax)
                           : requests.begin();
    Json history = Json::array();
    for (auto at = first; at != self; ++at) {
      const Item& earlier = judged.items[*at];
      history.push_back({{"t_send_s", relative_s(judged, earlier.record->t_send)},
                         {"t_end_s", relative_s(judged, earlier.record->t_end)},
                         {"outcome", name_of(earlier.outcome)},
                         {"backend", text_or_null(judged.backends, earlier.backend)},
                         {"label", text_or_null(judged.labels, earlier.label)}});
    }
    if (self != requests.begin() && self != requests.end() && item.record->t_send != 0) {
      const Nanos before = judged.items[*(self - 1)].record->t_end;
      story["idle_before_us"] = ms_between(before, item.record->t_send) * 1000;
    }
    story["history"] = std::move(history);
    all.push_back(std::move(story));
  }
  return all;
}

Json slowest_json(const Case& judged, std::size_t count) {
  using Slow = std::pair<std::uint64_t, std::uint32_t>;
  std::priority_queue<Slow, std::vector<Slow>, std::greater<>> heap;
  for (std::uint32_t i = 0; i < judged.items.size() && count > 0; ++i) {
    const Item& item = judged.items[i];
    if (item.outcome != Outcome::ok) continue;
    if (latency_class(judged.streams[item.stream].kind, *item.record) == LatencyClass::none) continue;
    heap.emplace(item.record->t_end - item.record->t_due, i);
    if (heap.size() > count) heap.pop();
  }
  Json all = Json::array();
  for (; !heap.empty(); heap.pop()) {
    Json story = item_json(judged, judged.items[heap.top().second]);
    story["latency_us"] = static_cast<double>(heap.top().first) / 1e3;
    all.push_back(std::move(story));
  }
  std::reverse(all.begin(), all.end());
  return all;
}

namespace {

struct Around {
  std::uint64_t attempts = 0, drops = 0;
  std::vector<std::uint64_t> fresh, kept;
  Nanos first_with = ~Nanos{0};
  Nanos last_without = 0;
  Nanos latest_end = 0;  // of this window and all before

  void add(const Item& item, LatencyClass kind) {
    if (item.outcome == Outcome::local_error || item.outcome == Outcome::closed_idle) return;
    ++attempts;
    if (is_drop(item.outcome)) ++drops;
    if (item.outcome != Outcome::ok) return;
    const std::uint64_t latency = item.record->t_end - item.record->t_due;
    if (kind == LatencyClass::new_connection) fresh.push_back(latency);
    if (kind == LatencyClass::kept_alive) kept.push_back(latency);
  }
};

/// When the answers took on a mark's label.
void note_label(const Case& judged, const Mark& mark, const Item& item, Around& around) {
  const Nanos at = item.record->t_first_byte;
  if (!mark.label || item.label >= judged.labels.size() || at < mark.t_request) return;
  if (judged.labels[item.label] == *mark.label) {
    around.first_with = std::min(around.first_with, at);
  } else {
    around.last_without = std::max(around.last_without, at);
  }
}

std::vector<Around> around_marks(const Case& judged) {
  const auto& marks = judged.options.marks;
  std::vector<Around> around(marks.size());
  for (std::size_t i = 0; i < marks.size(); ++i) {
    around[i].latest_end = std::max(marks[i].window_end, i > 0 ? around[i - 1].latest_end : 0);
  }
  for (const Item& item : judged.items) {
    const TrafficRecord& r = *item.record;
    const int nearest = nearest_mark(marks, r.t_end);
    if (nearest < 0) continue;
    note_label(judged, marks[static_cast<std::size_t>(nearest)], item,
               around[static_cast<std::size_t>(nearest)]);
    if (!item.inside) continue;
    const LatencyClass kind = latency_class(judged.streams[item.stream].kind, r);
    for (int i = nearest; i >= 0; --i) {
      const auto at = static_cast<std::size_t>(i);
      if (around[at].latest_end < r.t_due) break;
      if (marks[at].t_request <= r.t_end && marks[at].window_end >= r.t_due) around[at].add(item, kind);
    }
  }
  return around;
}

}  // namespace

Json marks_json(const Case& judged) {
  const auto& marks = judged.options.marks;
  std::vector<Around> around = around_marks(judged);
  Json all = Json::array();
  for (std::size_t i = 0; i < marks.size(); ++i) {
    const Mark& mark = marks[i];
    Around& a = around[i];
    all.push_back({{"index", i},
                   {"name", mark.name},
                   {"ok", mark.ok},
                   {"label", mark.label ? Json(*mark.label) : Json()},
                   {"removed", mark.removed},
                   {"added", mark.added},
                   {"t_request_s", relative_s(judged, mark.t_request)},
                   {"t_answer_s", relative_s(judged, mark.t_answer)},
                   {"window_end_s", relative_s(judged, mark.window_end)},
                   {"answer_ms", ms_between(mark.t_request, mark.t_answer)},
                   {"attempts_inside", a.attempts},
                   {"drops_inside", a.drops},
                   {"latency",
                    {{"new_connection", latency_json(summarize(a.fresh))},
                     {"kept_alive", latency_json(summarize(a.kept))}}},
                   {"first_with_label_ms",
                    a.first_with == ~Nanos{0} ? Json() : Json(ms_between(mark.t_request, a.first_with))},
                   {"last_without_label_ms",
                    a.last_without == 0 ? Json() : Json(ms_between(mark.t_request, a.last_without))}});
  }
  return all;
}

}  // namespace lb::traffic
