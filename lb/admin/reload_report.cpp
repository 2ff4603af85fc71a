#include "lb/admin/reload_report.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "lb/admin/words.hpp"

namespace lb {
namespace {

constexpr std::size_t kChangesShown = 20;
constexpr std::size_t kForcedShown = 8;
constexpr std::size_t kReasonBytesShown = 60;

/// 0.4 ms, 12.3 ms, 1.25 s, 3 min 20 s.
std::string time_text(double ms) {
  if (ms < 1000) return fmt::format("{:.1f} ms", ms);
  if (ms < 60'000) return fmt::format("{:.2f} s", ms / 1000);
  const auto s = static_cast<std::int64_t>(ms / 1000);
  return fmt::format("{} min {} s", s / 60, s % 60);
}

std::string local_time(const OrderedJson& record) {
  const auto seconds = static_cast<std::time_t>(number_of(record, "time"));
  std::tm parts{};
  if (seconds <= 0 || ::localtime_r(&seconds, &parts) == nullptr) return "-";
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", parts);
}

std::string first_line(const std::string& text, std::size_t bytes_max) {
  std::string line = text.substr(0, text.find('\n'));
  if (line.size() <= bytes_max && line.size() == text.size()) return line;
  return line.substr(0, bytes_max) + " ...";
}

void add_changes(TextTree& tree, const OrderedJson& record) {
  tree.branch("changed");
  std::size_t shown = 0;
  for (const OrderedJson& change : list_of(record, "changes")) {
    if (shown == kChangesShown) break;
    const std::string kind = text_of(change, "kind");
    const char mark = kind == "added" ? '+' : kind == "removed" ? '-' : '~';
    tree.line(fmt::format("{} {}", mark, text_of(change, "words")));
    ++shown;
  }
  const auto total = count_of(record, "changes_total");
  if (total > shown) tree.line(fmt::format("... and {} more", total - shown));
  if (total == 0 && flag_of(record, "applied", false)) tree.line("nothing");
}

/// Each step with the time since the one before it.
void add_times(TextTree& tree, const OrderedJson& record) {
  constexpr std::pair<const char*, const char*> kSteps[] = {
      {"spawned", "waited"}, {"loaded", "loaded"}, {"ready", "ready"}, {"switched", "switched"}};
  const OrderedJson times = object_of(record, "times_ms");
  double before = number_of(times, "asked");
  const double asked = before;
  std::string steps;
  for (const auto& [key, word] : kSteps) {
    if (!has_number(times, key)) continue;
    const double at = number_of(times, key);
    if (std::string_view{key} != "spawned" || at - before >= 0.1) {
      steps += fmt::format("{}{} {:.1f}", steps.empty() ? "" : ", ", word, at - before);
    }
    before = at;
  }
  tree.branch("took");
  if (!steps.empty()) tree.line(fmt::format("{}: {}", time_text(before - asked), steps));
  const OrderedJson phases = object_of(record, "phases_ms");
  std::string inside;
  for (const auto& [name, value] : phases.items()) {
    if (value.is_number())
      inside += fmt::format("{}{} {:.1f}", inside.empty() ? "" : ", ", name, value.get<double>());
  }
  if (!inside.empty()) tree.line("of these, in the new generation: " + inside);
}

void add_probes(TextTree& tree, const OrderedJson& record, const TextStyle& style) {
  tree.branch("probe");
  for (const OrderedJson& probe : list_of(record, "probes")) {
    const bool ok = flag_of(probe, "ok", false);
    const std::string how = ok ? style.good("ok") + " in " + time_text(number_of(probe, "us") / 1000)
                               : style.bad("failed") + ": " + text_of(probe, "error");
    tree.line(fmt::format("{} {}", text_of(probe, "listener"), how));
  }
}

std::string had(const OrderedJson& at_switch) {
  std::string text = counted(count_of(at_switch, "connections"), "connection", "connections");
  if (const auto n = count_of(at_switch, "requests"); n > 0)
    text += ", " + counted(n, "request", "requests") + " under way";
  if (const auto n = count_of(at_switch, "tunnels"); n > 0)
    text += ", " + counted(n, "tunnel", "tunnels") + " of these";
  return text;
}

/// What moved by kind, as far as it is not 0.
std::string moved_kinds(const OrderedJson& drain) {
  constexpr std::pair<const char*, const char*> kKinds[] = {
      {"idle", "idle"},
      {"after_exchange", "behind their request"},
      {"upgrade_tunnels", "upgraded tunnels"},
      {"tcp_tunnels", "TCP tunnels"},
      {"upstreams", "connections to backends beside these"},
      {"refused", "refused by the next generation"},
      {"came_back", "offered in vain"}};
  const OrderedJson moved = object_of(drain, "moved_by_kind");
  std::string text;
  for (const auto& [key, words] : kKinds) {
    const auto n = count_of(moved, key);
    if (n > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", n, words);
  }
  return text;
}

void add_forced(TextTree& tree, const OrderedJson& drain, const TextStyle& style) {
  const OrderedJson& forced = list_of(drain, "forced");
  const auto total = count_of(drain, "force_closed");
  std::size_t shown = 0;
  for (const OrderedJson& one : forced) {
    if (shown == kForcedShown) break;
    const auto name = [&](const char* key) {
      const std::string text = text_of(one, key);
      return text.empty() ? std::string{"-"} : text;
    };
    tree.line(fmt::format("{} {} -> {} -> {}, {}, {} old", style.bad("cut"), name("client"), name("listener"),
                          name("backend"), name("kind"), time_text(number_of(one, "age_ms"))));
    ++shown;
  }
  if (shown > 0 && total > shown) tree.line(fmt::format("... and {} more", total - shown));
}

void add_drain(TextTree& tree, const OrderedJson& record, const TextStyle& style) {
  const OrderedJson drain = object_of(record, "drain");
  if (drain.empty()) return;
  tree.branch("drain");
  const OrderedJson at_switch = object_of(drain, "at_switch");
  tree.line(fmt::format("generation {} had {}", text_of(drain, "generation"),
                        at_switch.empty() ? "connections that it did not tell of" : had(at_switch)));
  if (has_number(drain, "moved")) {
    const auto cut = count_of(drain, "force_closed");
    const auto removed = count_of(drain, "closed_removed");
    const std::string cut_text = fmt::format("{} cut", cut);
    tree.line(fmt::format(
        "{} moved, {} ended, {} closed idle, {}{}; {}", count_of(drain, "moved"), count_of(drain, "ended"),
        count_of(drain, "closed_idle"), cut > 0 ? style.bad(cut_text) : cut_text,
        removed > 0 ? fmt::format(", {} closed with their backend", removed) : "",
        counted(count_of(drain, "requests_completed"), "request", "requests") + " completed"));
    if (const std::string kinds = moved_kinds(drain); !kinds.empty()) tree.line("moved: " + kinds);
    add_forced(tree, drain, style);
  }
  const std::string state = text_of(drain, "state");
  const OrderedJson times = object_of(record, "times_ms");
  const double since = number_of(times, "switched");
  std::string end;
  if (has_number(times, "drained")) end = "over after " + time_text(number_of(times, "drained") - since);
  if (has_number(times, "gone")) {
    const std::string how = text_of(drain, "process");
    const bool well = how == "exit status 0" || how == "ended";
    end += fmt::format("{}process gone after {}{}", end.empty() ? "" : ", ",
                       time_text(number_of(times, "gone") - since), well ? "" : ": " + style.bad(how));
  }
  tree.line(state == "draining" ? style.careful("still drains") : end);
}

void add_kernel(TextTree& tree, const OrderedJson& record, const TextStyle& style) {
  const OrderedJson grown = object_of(object_of(record, "kernel"), "grown");
  if (grown.empty()) return;
  tree.branch("kernel");
  std::string lost;
  std::string quiet;
  for (const auto& [name, value] : grown.items()) {
    if (!value.is_number_unsigned()) continue;
    std::string words = name;
    std::ranges::replace(words, '_', ' ');
    const auto n = value.get<std::uint64_t>();
    if (n == 0) {
      if (name == "listen_drops" || name == "listen_overflows")
        quiet += (quiet.empty() ? "no " : ", no ") + words;
      continue;
    }
    const std::string text = fmt::format("{} {}", n, words);
    const bool listens = name == "listen_drops" || name == "listen_overflows";
    lost += (lost.empty() ? "" : ", ") + (listens ? style.bad(text) : text);
  }
  tree.line(quiet + (quiet.empty() || lost.empty() ? "" : "; ") + lost +
            style.faint(" (of all programs in this network namespace)"));
}

std::string headline(const OrderedJson& record, const TextStyle& style) {
  const bool applied = flag_of(record, "applied", false);
  const bool rollback = flag_of(record, "rollback", false);
  std::string text = style.bold("reload " + text_of(record, "number")) + "  ";
  text += applied ? style.good(rollback ? "rolled back" : "applied") : style.bad("rejected");
  text += fmt::format(", asked by {}", text_of(record, "cause"));
  if (applied) {
    text += fmt::format(", generation {} -> {}", text_of(record, "from"), text_of(record, "generation"));
  } else {
    text += fmt::format(", generation {} serves on", text_of(record, "from"));
  }
  if (const std::string config = text_of(record, "config"); !config.empty()) text += ", config " + config;
  return text + style.faint("  " + local_time(record)) + "\n";
}

}  // namespace

std::string reload_report(const OrderedJson& record, const TextStyle& style) {
  TextTree tree{style};
  if (const std::string reason = text_of(record, "reason"); !reason.empty() && reason != "-") {
    tree.branch("reason");
    for (std::string_view left = reason; !left.empty();) {
      const auto end = left.find('\n');
      tree.line(std::string{left.substr(0, end)});
      left = end == std::string_view::npos ? std::string_view{} : left.substr(end + 1);
    }
  }
  tree.branch("warnings");
  for (const OrderedJson& warning : list_of(record, "warnings")) {
    if (warning.is_string()) tree.line(style.careful(warning.get<std::string>()));
  }
  add_changes(tree, record);
  add_times(tree, record);
  add_probes(tree, record, style);
  add_drain(tree, record, style);
  add_kernel(tree, record, style);
  return headline(record, style) + tree.take();
}

OrderedJson one_reload(std::string_view line, std::string& error) {
  const OrderedJson json = OrderedJson::parse(line, nullptr, false);
  if (json.is_discarded() || !json.is_object()) {
    error = "the answer is not understood";
  } else if (!flag_of(json, "ok", false)) {
    error = text_of(json, "error");
  } else if (const OrderedJson& reloads = list_of(json, "reloads");
             reloads.empty() || !reloads.front().is_object()) {
    error = "the answer names no reload";
  } else {
    return reloads.front();
  }
  return nullptr;
}

std::string drain_under_way(const OrderedJson& record) {
  const OrderedJson drain = object_of(record, "drain");
  const OrderedJson at_switch = object_of(drain, "at_switch");
  if (count_of(at_switch, "connections") == 0 || text_of(drain, "state") != "draining") return {};
  return fmt::format("generation {} drains {}", text_of(drain, "generation"), had(at_switch));
}

std::string reloads_table(std::string_view line, const TextStyle& style) {
  const OrderedJson json = OrderedJson::parse(line, nullptr, false);
  if (json.is_discarded() || !json.is_object()) return "the answer is not understood\n";
  if (!flag_of(json, "ok", false)) return "error: " + text_of(json, "error") + "\n";
  const OrderedJson& reloads = list_of(json, "reloads");
  if (reloads.empty()) return "no reload so far\n";
  std::string out =
      style.bold(fmt::format("{:>6}  {:<19}  {:<8}  {:<11}  {:>9}  {:>7}  {:>7}  {:>7}  {:>6}  {:>5}  {:>10}",
                             "reload", "time", "asked by", "generation", "took", "changes", "moved", "ended",
                             "closed", "cut", "drained in")) +
      "\n";
  for (const OrderedJson& record : reloads) {
    const OrderedJson drain = object_of(record, "drain");
    const OrderedJson times = object_of(record, "times_ms");
    const bool applied = flag_of(record, "applied", false);
    const std::string took = time_text(number_of(record, "duration_ms"));
    out += fmt::format("{:>6}  {:<19}  {:<8}  ", text_of(record, "number"), local_time(record),
                       text_of(record, "cause"));
    if (!applied) {
      out += fmt::format("{:<11}  {:>9}  {}: {}\n", text_of(record, "from"), took, style.bad("rejected"),
                         first_line(text_of(record, "reason"), kReasonBytesShown));
      continue;
    }
    out +=
        fmt::format("{:<11}  {:>9}  {:>7}", text_of(record, "from") + " -> " + text_of(record, "generation"),
                    took, count_of(record, "changes_total"));
    if (has_number(drain, "moved")) {
      const std::string cut = fmt::format("{:>5}", count_of(drain, "force_closed"));
      out += fmt::format("  {:>7}  {:>7}  {:>6}  {}  {:>10}", count_of(drain, "moved"),
                         count_of(drain, "ended"), count_of(drain, "closed_idle"),
                         count_of(drain, "force_closed") > 0 ? style.bad(cut) : cut,
                         time_text(number_of(times, "drained") - number_of(times, "switched")));
    } else if (text_of(drain, "state") == "draining") {
      out += "  " + style.careful("still drains");
    } else if (!drain.empty()) {
      out += "  " + style.bad("died: " + text_of(drain, "process"));
    }
    if (flag_of(record, "rollback", false))
      out += "  " + style.bad("rolled back: ") + first_line(text_of(record, "reason"), kReasonBytesShown);
    out += "\n";
  }
  return out;
}

}  // namespace lb
