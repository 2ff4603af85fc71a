// What became of the connections that are meant to outlive reloads: how many crossed each, how many were cut,
// how many were closed while idle or told to leave.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "harness/traffic/report_parts.hpp"

namespace lb::traffic {

using Json = nlohmann::json;

namespace {

/// A connection of such a kind, from its first answer to its last sign of life.
struct Life {
  Nanos begin = ~Nanos{0};
  Nanos end = 0;
  std::uint8_t kind = 0;
};

struct Tally {
  std::vector<std::int64_t> crossed, cut, closed, told;  // by mark
  std::uint64_t connections = 0, crossings = 0, most = 0, all_cut = 0, all_closed = 0, all_told = 0;
  Nanos longest = 0;
};

/// The marks that `life` spans, as [first, second).
std::pair<std::size_t, std::size_t> spanned(const std::vector<Mark>& marks, const Life& life) {
  const auto low = std::ranges::upper_bound(marks, life.begin, {}, &Mark::t_request);
  const auto high = std::ranges::lower_bound(marks, life.end, {}, &Mark::t_answer);
  if (high <= low) return {0, 0};
  return {static_cast<std::size_t>(low - marks.begin()), static_cast<std::size_t>(high - marks.begin())};
}

void note_life(const std::vector<Mark>& marks, const Life& life, Tally& tally) {
  ++tally.connections;
  tally.longest = std::max(tally.longest, life.end - life.begin);
  const auto [low, high] = spanned(marks, life);
  if (low == high) return;
  ++tally.crossed[low];
  --tally.crossed[high];
  tally.crossings += high - low;
  tally.most = std::max<std::uint64_t>(tally.most, high - low);
}

void note_end(const std::vector<Mark>& marks, const Item& item, Tally& tally) {
  const int nearest = nearest_mark(marks, item.record->t_end);
  const auto count = [&](std::vector<std::int64_t>& by_mark, std::uint64_t& all) {
    ++all;
    if (nearest >= 0) ++by_mark[static_cast<std::size_t>(nearest)];
  };
  if (is_drop(item.outcome)) return count(tally.cut, tally.all_cut);
  if (item.outcome == Outcome::closed_idle) return count(tally.closed, tally.all_closed);
  if ((item.record->flags & kTrafficSaidClose) != 0) count(tally.told, tally.all_told);
}

std::vector<Tally> tallies(const Case& judged) {
  const auto& marks = judged.options.marks;
  std::vector<Tally> all(kKinds);
  for (Tally& tally : all) {
    tally.crossed.resize(marks.size() + 1);
    tally.cut.resize(marks.size());
    tally.closed.resize(marks.size());
    tally.told.resize(marks.size());
  }
  std::vector<Life> lives(judged.connections + std::size_t{1});
  for (const Item& item : judged.items) {
    const Kind kind = judged.streams[item.stream].kind;
    if (!is_long_lived(kind)) continue;
    const auto index = static_cast<std::uint8_t>(kind);
    // What the end of an event stream says of closing is about the past.
    if (kind == Kind::idle || is_drop(item.outcome)) note_end(marks, item, all[index]);
    const TrafficRecord& r = *item.record;
    if (item.outcome == Outcome::closed_idle || r.t_connected == 0) continue;
    Life& life = lives[item.connection];
    // An upload has its answer at its end.
    const Nanos begin = r.t_first_byte == 0 || kind == Kind::long_upload ? r.t_connected : r.t_first_byte;
    life.begin = std::min(life.begin, begin);
    life.end = std::max(life.end, r.t_end);
    life.kind = index;
  }
  for (const Life& life : lives) {
    if (life.end > life.begin) note_life(marks, life, all[life.kind]);
  }
  for (Tally& tally : all) {
    for (std::size_t i = 1; i < tally.crossed.size(); ++i) tally.crossed[i] += tally.crossed[i - 1];
  }
  return all;
}

}  // namespace

Json long_lived_json(const Case& judged, Json& marks) {
  const std::vector<Tally> all = tallies(judged);
  Json kinds = Json::object();
  for (std::size_t kind = 0; kind < kKinds; ++kind) {
    const Tally& tally = all[kind];
    if (tally.connections + tally.all_cut + tally.all_closed == 0) continue;
    const std::string name(name_of(static_cast<Kind>(kind)));
    kinds[name] = {{"connections", tally.connections},
                   {"crossings", tally.crossings},
                   {"most_crossed", tally.most},
                   {"longest_s", static_cast<double>(tally.longest) / 1e9},
                   {"cut", tally.all_cut},
                   {"closed_idle", tally.all_closed},
                   {"told_to_leave", tally.all_told}};
    for (std::size_t i = 0; i < marks.size(); ++i) {
      marks[i]["long_lived"][name] = {{"crossed", tally.crossed[i]},
                                      {"cut", tally.cut[i]},
                                      {"closed_idle", tally.closed[i]},
                                      {"told_to_leave", tally.told[i]}};
    }
  }
  return kinds;
}

}  // namespace lb::traffic
