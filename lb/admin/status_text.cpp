#include "lb/admin/status_text.hpp"

#include <fmt/format.h>

#include "lb/admin/json_view.hpp"
#include "lb/admin/reload_report.hpp"

namespace lb {
namespace {

void append_generations(std::string& out, const OrderedJson& json) {
  out += fmt::format("\n{:>10}  {:>8}  {:<13}{:<18}{:>8}{:>13}{:>11}\n", "generation", "pid", "state",
                     "config", "age", "connections", "in flight");
  for (const OrderedJson& generation : list_of(json, "generations")) {
    out +=
        fmt::format("{:>10}  {:>8}  {:<13}{:<18}{:>6} s{:>13}{:>11}{}\n", text_of(generation, "generation"),
                    text_of(generation, "pid"), text_of(generation, "state"), text_of(generation, "config"),
                    text_of(generation, "age_s"), text_of(generation, "connections"),
                    text_of(generation, "requests_in_flight"),
                    flag_of(generation, "fresh", true) ? "" : "  (did not answer in time)");
  }
}

void append_listeners(std::string& out, const OrderedJson& json) {
  out += "\nlisteners\n";
  for (const OrderedJson& listener : list_of(json, "listeners")) {
    const std::string endpoint = text_of(listener, "endpoint");
    const std::string address = text_of(listener, "address");
    out += fmt::format("  {}{}  {} {}\n", endpoint.empty() ? "(unused)" : endpoint,
                       address == endpoint ? "" : " = " + address, text_of(listener, "shards"),
                       number_of(listener, "shards") == 1 ? "socket" : "sockets");
  }
}

/// What is to be said of a backend beyond its figures; nothing when all is well.
std::string state_words(const OrderedJson& backend) {
  if (!flag_of(backend, "resolved", true)) return "  unresolved";
  const std::string standing = text_of(backend, "standing");
  if (standing == "down" || standing == "ejected") {
    const std::string since = text_of(backend, "since_s");
    const std::string reason = text_of(backend, "reason");
    return "  " + standing + (standing == "down" && since != "-" ? " for " + since + " s" : "") +
           (reason.empty() || reason == "-" ? "" : ": " + reason);
  }
  if (flag_of(backend, "aside", false)) return "  put aside";
  const auto share = number_of(backend, "share_percent");
  if (share > 0 && share < 100) return fmt::format("  slow start, {} % of its weight", share);
  return standing == "up" && text_of(backend, "since_s") != "-" ? "  up" : "";
}

/// The average of those that were answered; nothing before the first.
std::string latency_words(const OrderedJson& backend) {
  const OrderedJson latency = object_of(backend, "latency");
  const double count = number_of(latency, "count");
  return count > 0 ? fmt::format("  {:.1f} ms", number_of(latency, "sum_us") / count / 1000) : "";
}

/// What was counted before this generation too; nothing when that is the same.
std::string total_words(const OrderedJson& backend) {
  const OrderedJson total = object_of(backend, "total");
  if (total.empty() || text_of(total, "requests") == text_of(backend, "requests")) return "";
  return fmt::format("  ({} requests, {} failed in all)", text_of(total, "requests"),
                     text_of(total, "failures"));
}

void append_backends(std::string& out, const OrderedJson& json) {
  const OrderedJson& backends = list_of(json, "backends");
  if (backends.empty()) return;
  out += "\nbackends\n";
  for (const OrderedJson& backend : backends) {
    out += fmt::format("  {:<24} {:<24} {:>6} in flight {:>10} requests {:>6} failed{}\n",
                       text_of(backend, "name"), text_of(backend, "endpoint"), text_of(backend, "in_flight"),
                       text_of(backend, "requests"), text_of(backend, "failures"),
                       latency_words(backend) + total_words(backend) +
                           (flag_of(backend, "backup", false) ? "  backup" : "") + state_words(backend));
  }
  const auto total = static_cast<std::size_t>(number_of(json, "backends_total"));
  if (total > backends.size()) out += fmt::format("  ... and {} more\n", total - backends.size());
}

void append_counters(std::string& out, const OrderedJson& json) {
  const OrderedJson counters = object_of(json, "counters");
  if (counters.empty()) return;
  OrderedJson serving = OrderedJson::object();
  for (const OrderedJson& generation : list_of(json, "generations")) {
    if (generation.is_object() && text_of(generation, "generation") == text_of(json, "current"))
      serving = object_of(generation, "counters");
  }
  out +=
      fmt::format("\n{:<30}{:>16}{:>16}\n", "counters", "in all", "generation " + text_of(json, "current"));
  for (const auto& [name, value] : counters.items())
    out += fmt::format("  {:<28}{:>16}{:>16}\n", name, value.dump(), text_of(serving, name.c_str()));
}

void append_reloads(std::string& out, const OrderedJson& json) {
  const OrderedJson reloads = object_of(json, "reloads");
  out += fmt::format("\nreloads   {} applied, {} rejected, {} requested; {} rolled back; {} restarts\n",
                     text_of(reloads, "applied"), text_of(reloads, "rejected"), text_of(reloads, "requested"),
                     text_of(reloads, "rolled_back"), text_of(json, "restarts"));
  const std::string error = text_of(reloads, "last_error");
  if (error != "-" && !error.empty()) out += "last error: " + error + "\n";
  const OrderedJson good = object_of(json, "last_good");
  if (!good.empty()) {
    const std::string file = text_of(good, "file");
    out += fmt::format("last good configuration {}{}{}\n", text_of(good, "config"),
                       file.empty() || file == "-" ? "" : ", kept in " + file,
                       flag_of(good, "probation", false) ? "; what serves is on probation" : "");
  }
  if (flag_of(json, "watch", false)) out += "the configuration file is watched\n";
}

}  // namespace

std::string error_of_answer(std::string_view line) {
  const OrderedJson json = OrderedJson::parse(line, nullptr, false);
  if (json.is_discarded() || !json.is_object()) return "the answer is not understood";
  return flag_of(json, "ok", false) ? "" : text_of(json, "error");
}

std::string status_text(std::string_view line) {
  const OrderedJson json = OrderedJson::parse(line, nullptr, false);
  if (json.is_discarded() || !json.is_object()) return "the answer is not understood\n";
  if (!flag_of(json, "ok", false)) return "error: " + text_of(json, "error") + "\n";
  std::string out = fmt::format("lb {}, pid {}, up {} s, serving generation {}\n", text_of(json, "version"),
                                text_of(json, "pid"), text_of(json, "uptime_s"), text_of(json, "current"));
  out += fmt::format("file {}\n", text_of(json, "config_file"));
  append_generations(out, json);
  append_listeners(out, json);
  append_backends(out, json);
  append_counters(out, json);
  append_reloads(out, json);
  return out;
}

ReloadText reload_text(std::string_view line) {
  ReloadText text;
  const OrderedJson json = OrderedJson::parse(line, nullptr, false);
  if (json.is_discarded() || !json.is_object() || !json.contains("ok")) {
    text.reason = "the answer is not understood: " + std::string{line.substr(0, 200)};
    return text;
  }
  if (json.contains("error")) {  // it was not asked, or has not heard: nothing is known of the configuration
    text.reason = text_of(json, "error");
    return text;
  }
  text.understood = true;
  text.applied = flag_of(json, "ok", false);
  for (const OrderedJson& warning : list_of(json, "warnings")) {
    if (warning.is_string()) text.warnings += "warning: " + warning.get<std::string>() + "\n";
  }
  text.reason = text_of(json, "reason");
  text.summary =
      fmt::format("generation {} -> {}, config {}, {:.1f} ms", text_of(json, "from"),
                  text_of(json, "generation"), text_of(json, "config"), number_of(json, "duration_ms"));
  const OrderedJson& changes = list_of(json, "changes");
  for (const OrderedJson& change : changes) {
    const std::string kind = text_of(change, "kind");
    text.summary += fmt::format("\n  {} {}",
                                kind == "added"     ? '+'
                                : kind == "removed" ? '-'
                                                    : '~',
                                text_of(change, "words"));
  }
  text.drains = drain_under_way(json);
  const auto total = static_cast<std::size_t>(number_of(json, "changes_total"));
  if (total > changes.size())
    text.summary += fmt::format("\n  ... and {} more changes", total - changes.size());
  return text;
}

}  // namespace lb
