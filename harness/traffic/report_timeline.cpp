// What the picture is drawn from: latencies in buckets of time, and a sample of connections as lines.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "harness/traffic/report_parts.hpp"

namespace lb::traffic {

using Json = nlohmann::json;

namespace {

constexpr Nanos kBucket = 100 * kMilli;
constexpr std::size_t kBucketsMax = 6000;

struct Bucket {
  std::uint64_t n = 0, drops = 0;
  std::vector<std::uint64_t> all, fresh, kept;
};

Json us_or_null(std::vector<std::uint64_t>& nanos, double p) {
  if (nanos.empty()) return nullptr;
  std::ranges::sort(nanos);
  return static_cast<double>(nearest_rank(nanos, p)) / 1e3;
}

Json buckets_json(const Case& judged, Nanos width) {
  std::vector<Bucket> buckets(judged.items.empty() ? 0 : (judged.t_end - judged.t_begin) / width + 1);
  for (const Item& item : judged.items) {
    const TrafficRecord& r = *item.record;
    Bucket& bucket = buckets[(std::max(r.t_end, judged.t_begin) - judged.t_begin) / width];
    ++bucket.n;
    if (is_drop(item.outcome)) ++bucket.drops;
    if (item.outcome != Outcome::ok) continue;
    const LatencyClass kind = latency_class(judged.streams[item.stream].kind, r);
    if (kind == LatencyClass::none) continue;
    bucket.all.push_back(r.t_end - r.t_due);
    (kind == LatencyClass::new_connection ? bucket.fresh : bucket.kept).push_back(r.t_end - r.t_due);
  }
  Json out = {{"t_s", Json::array()},        {"n", Json::array()},          {"drops", Json::array()},
              {"p50_us", Json::array()},     {"p99_us", Json::array()},     {"max_us", Json::array()},
              {"new_p99_us", Json::array()}, {"kept_p99_us", Json::array()}};
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    Bucket& bucket = buckets[i];
    out["t_s"].push_back(static_cast<double>(i * width) / 1e9);
    out["n"].push_back(bucket.n);
    out["drops"].push_back(bucket.drops);
    out["p50_us"].push_back(us_or_null(bucket.all, 0.5));
    out["p99_us"].push_back(us_or_null(bucket.all, 0.99));
    out["max_us"].push_back(us_or_null(bucket.all, 1.0));
    out["new_p99_us"].push_back(us_or_null(bucket.fresh, 0.99));
    out["kept_p99_us"].push_back(us_or_null(bucket.kept, 0.99));
  }
  return out;
}

/// A conversation has one answer, at its beginning: which configuration serves it after the first reload
/// cannot be read off it. Its line goes on without a label, in pieces as long as the reloads are apart.
void append_flow_segments(const Case& judged, const Item& item, Json& segments) {
  const TrafficRecord& r = *item.record;
  Nanos from = r.t_connect_begin;
  Json label = text_or_null(judged.labels, item.label);
  std::uint64_t crossed = 0;
  const auto append = [&](Nanos to) {
    segments.push_back({{"t0_s", relative_s(judged, from)},
                        {"t1_s", relative_s(judged, to)},
                        {"label", label},
                        {"requests", crossed == 0 ? 1 : 0},
                        {"crossed", crossed}});
    from = to;
  };
  for (const Mark& mark : judged.options.marks) {
    if (!mark.ok || mark.t_answer <= from || mark.t_answer >= r.t_end) continue;
    append(mark.t_answer);
    label = nullptr;
    ++crossed;
  }
  append(r.t_end);
}

/// One connection: its life as segments of equal label, and its drops.
Json line_json(const Case& judged, const std::vector<std::uint32_t>& requests) {
  const Item& first = judged.items[requests.front()];
  const StreamName& stream = judged.streams[first.stream];
  Json segments = Json::array();
  Json drops = Json::array();
  Nanos end = 0;
  for (const std::uint32_t index : requests) {
    const Item& item = judged.items[index];
    const TrafficRecord& r = *item.record;
    end = std::max(end, r.t_end);
    if (is_drop(item.outcome)) {
      drops.push_back({{"t_s", relative_s(judged, r.t_end)}, {"outcome", name_of(item.outcome)}});
    }
    const Json label = text_or_null(judged.labels, item.label);
    const Json t1 = relative_s(judged, r.t_end);
    if (is_flow(stream.kind)) {
      append_flow_segments(judged, item, segments);
    } else if (!segments.empty() && segments.back().at("label") == label) {
      Json& last = segments.back();
      last["t1_s"] = t1;
      last["requests"] = last.at("requests").get<std::uint64_t>() + 1;
    } else {
      const Json t0 = segments.empty() ? relative_s(judged, r.t_connect_begin) : segments.back().at("t1_s");
      segments.push_back({{"t0_s", t0}, {"t1_s", t1}, {"label", label}, {"requests", 1}});
    }
  }
  return {{"id", first.connection},          {"stream", stream.name},
          {"kind", name_of(stream.kind)},    {"t0_s", relative_s(judged, first.record->t_connect_begin)},
          {"t1_s", relative_s(judged, end)}, {"requests", requests.size()},
          {"segments", std::move(segments)}, {"drops", std::move(drops)}};
}

}  // namespace

ConnectionPick::ConnectionPick(const Case& judged, std::size_t lines, std::size_t stories)
    : slot_of_(judged.connections + std::size_t{1}, 0), requests_(1) {
  for (std::uint32_t i = 0; i < judged.items.size(); ++i) {
    if (is_drop(judged.items[i].outcome)) drops_.push_back(i);
  }
  std::ranges::sort(drops_, {}, [&](std::uint32_t i) { return judged.items[i].record->t_end; });
  pick_lines(judged, lines);
  if (drops_.size() > stories) drops_.resize(stories);
  const auto pick = [&](std::uint32_t connection) {
    if (slot_of_[connection] != 0) return;
    slot_of_[connection] = static_cast<std::uint32_t>(requests_.size());
    requests_.emplace_back();
  };
  for (const std::uint32_t connection : lines_) pick(connection);
  for (const std::uint32_t index : drops_) pick(judged.items[index].connection);
  for (std::uint32_t i = 0; i < judged.items.size(); ++i) {
    if (const std::uint32_t slot = slot_of_[judged.items[i].connection]; slot != 0)
      requests_[slot].push_back(i);
  }
  for (auto& requests : requests_) {
    std::ranges::sort(requests, {}, [&](std::uint32_t i) {
      const TrafficRecord& r = *judged.items[i].record;
      return std::pair(r.t_send != 0 ? r.t_send : r.t_connect_begin, r.request_on_connection);
    });
  }
}

/// Connections with drops first, up to half of the lines; then of each stream an even sample over its
/// connections.
void ConnectionPick::pick_lines(const Case& judged, std::size_t lines) {
  std::vector<bool> taken(slot_of_.size());
  const auto take = [&](std::uint32_t connection) {
    if (taken[connection]) return;
    taken[connection] = true;
    lines_.push_back(connection);
  };
  for (const std::uint32_t index : drops_) {
    if (lines_.size() >= lines / 2) break;
    take(judged.items[index].connection);
  }
  std::vector<std::vector<std::uint32_t>> by_stream(judged.streams.size());
  for (const Item& item : judged.items) {
    if (item.record->request_on_connection == 0) by_stream[item.stream].push_back(item.connection);
  }
  std::size_t used = 0;
  for (const auto& connections : by_stream) used += connections.empty() ? 0 : 1;
  const std::size_t left = lines > lines_.size() ? lines - lines_.size() : 0;
  for (auto& connections : by_stream) {
    if (connections.empty()) continue;
    std::ranges::sort(connections);
    const std::size_t share = std::min(connections.size(), left / used);
    for (std::size_t k = 0; k < share; ++k) take(connections[k * connections.size() / share]);
  }
}

const std::vector<std::uint32_t>& ConnectionPick::requests_of(std::uint32_t connection) const {
  return requests_[connection < slot_of_.size() ? slot_of_[connection] : 0];
}

Json timeline_json(const Case& judged, const ConnectionPick& pick) {
  const Nanos duration = judged.t_end - judged.t_begin;
  const Nanos width = kBucket * (duration / kBucket / kBucketsMax + 1);
  Json connections = Json::array();
  for (const std::uint32_t connection : pick.lines()) {
    const auto& requests = pick.requests_of(connection);
    if (!requests.empty()) connections.push_back(line_json(judged, requests));
  }
  std::sort(connections.begin(), connections.end(), [](const Json& a, const Json& b) {
    return a.at("t0_s").get<double>() < b.at("t0_s").get<double>();
  });
  return {{"t0_ns", judged.t_begin},
          {"bucket_ms", width / kMilli},
          {"labels", judged.labels},
          {"buckets", buckets_json(judged, width)},
          {"connections", std::move(connections)}};
}

}  // namespace lb::traffic
