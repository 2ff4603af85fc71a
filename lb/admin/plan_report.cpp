// A plan as text and as JSON, and the answer of the control socket that it is made from.
#include <algorithm>

#include "lb/admin/json_view.hpp"
#include "lb/admin/plan.hpp"
#include "lb/admin/words.hpp"
#include "lb/base/json_line.hpp"

namespace lb {
namespace {

constexpr std::size_t kShown = 40;  // of each list, for people

const char* verdict_name(PlanVerdict verdict) {
  switch (verdict) {
    case PlanVerdict::nothing:
      return "nothing";
    case PlanVerdict::safe:
      return "safe";
    case PlanVerdict::disruptive:
      break;
  }
  return "disruptive";
}

struct FateWords {
  const char* name;
  char mark;
};
FateWords words_of(PlanListener::Fate fate) {
  switch (fate) {
    case PlanListener::Fate::stays:
      return {"stays", '='};
    case PlanListener::Fate::opened:
      return {"opened", '+'};
    case PlanListener::Fate::closed:
      return {"closed", '-'};
    case PlanListener::Fate::changed:
      break;
  }
  return {"changed", '~'};
}
FateWords words_of(PlanBackend::Fate fate) {
  switch (fate) {
    case PlanBackend::Fate::added:
      return {"added", '+'};
    case PlanBackend::Fate::removed:
      return {"removed", '-'};
    case PlanBackend::Fate::reweighted:
      return {"reweighted", '~'};
    case PlanBackend::Fate::moved:
      return {"moved", '~'};
    case PlanBackend::Fate::changed:
      break;
  }
  return {"changed", '~'};
}

/// "2 with a request under way, 1 with TLS" of those that are not 0.
class Phrase {
 public:
  void add(std::uint64_t n, std::string words) {
    if (n > 0) text_ += (text_.empty() ? "" : ", ") + std::move(words);
  }
  [[nodiscard]] std::string or_else(const char* nothing) const { return text_.empty() ? nothing : text_; }

 private:
  std::string text_;
};

template <class Items>
std::size_t widest(const Items& items, auto name) {
  std::size_t width = 0;
  for (std::size_t i = 0; i < std::min(items.size(), kShown); ++i)
    width = std::max(width, name(items[i]).size());
  return width;
}

void more(TextTree& tree, std::size_t all) {
  if (all > kShown) tree.line(fmt::format("... and {} more", all - kShown));
}

std::string listener_words(const PlanListener& listener, bool live_known) {
  if (listener.fate == PlanListener::Fate::opened) return "is opened";
  Phrase phrase;
  phrase.add(listener.connections, counted(listener.connections, "connection", "connections"));
  phrase.add(listener.busy, fmt::format("{} with a request under way", listener.busy));
  phrase.add(listener.tunnels, counted(listener.tunnels, "tunnel", "tunnels"));
  phrase.add(listener.tls, fmt::format("{} with TLS", listener.tls));
  const std::string live = live_known ? phrase.or_else("no connection") : "connections unknown";
  if (listener.fate == PlanListener::Fate::closed)
    return "is closed; " + live +
           (listener.connections == 0   ? ""
            : listener.connections == 1 ? " goes on"
                                        : " go on");
  return (listener.fate == PlanListener::Fate::changed ? "speaks differently; " : "") + live;
}

std::string backend_words(const PlanBackend& backend, const Plan& plan) {
  if (backend.fate == PlanBackend::Fate::added) return "is added";
  std::string text = backend.words.empty() ? words_of(backend.fate).name : backend.words;
  text += fmt::format("; {} of the requests of {}", percent(backend.share_5m),
                      plan.observed_s >= 300 ? "5 min" : fmt::format("{} s", plan.observed_s));
  if (plan.observed_s > 60) text += fmt::format(" ({} in 1 min)", percent(backend.share_1m));
  Phrase phrase;
  phrase.add(backend.requests, counted(backend.requests, "request", "requests") + " under way");
  const std::uint64_t tunnels = backend.tunnels + backend.tunnels_tls;
  phrase.add(tunnels, counted(tunnels, "tunnel", "tunnels"));
  return text + (plan.live_known ? "; " + phrase.or_else("idle") : "");
}

void add_lists(TextTree& tree, const Plan& plan) {
  tree.branch("changes");
  for (std::size_t i = 0; i < std::min(plan.changes.size(), kShown); ++i)
    tree.line(change_line(plan.changes[i]));
  more(tree, plan.changes.size());
  tree.branch("listeners");
  const std::size_t listener_width = widest(plan.listeners, [](const auto& l) { return l.endpoint; });
  for (std::size_t i = 0; i < std::min(plan.listeners.size(), kShown); ++i) {
    const PlanListener& listener = plan.listeners[i];
    tree.line(fmt::format("{} {:<{}}  {}", words_of(listener.fate).mark, listener.endpoint, listener_width,
                          listener_words(listener, plan.live_known)));
  }
  more(tree, plan.listeners.size());
  tree.branch("backends");
  const std::size_t backend_width = widest(plan.backends, [](const auto& b) { return bare_words(b.name); });
  for (std::size_t i = 0; i < std::min(plan.backends.size(), kShown); ++i) {
    const PlanBackend& backend = plan.backends[i];
    tree.line(fmt::format("{} {:<{}}  {}", words_of(backend.fate).mark, bare_words(backend.name),
                          backend_width, backend_words(backend, plan)));
  }
  more(tree, plan.backends.size());
  if (plan.backends_kept > 0)
    tree.line(fmt::format("= {}", counted(plan.backends_kept, "backend stays", "backends stay")));
  if (plan.backends_cut) tree.line("the balancer tells figures of the first thousand backends only");
}

void add_connections(TextTree& tree, const Plan& plan) {
  tree.branch("keys");
  if (plan.keys_moved)
    tree.line(
        fmt::format("{} of all keys go to another backend: {}", percent(*plan.keys_moved), plan.keys_words));
  tree.branch("moves");
  if (!plan.live_known) return tree.line("unknown: the balancer did not tell in time what is connected");
  tree.line(counted(plan.moves, "connection", "connections") + " to the next generation, unnoticed");
  tree.branch("drains");
  if (plan.drains_tls > 0)
    tree.line(counted(plan.drains_tls, "connection", "connections") +
              " with TLS: closed behind a response, or when quiet");
  tree.branch("tunnels");
  Phrase tunnels;
  tunnels.add(plan.tunnels_kept, fmt::format("{} go on", plan.tunnels_kept));
  tunnels.add(plan.tunnels_drained, fmt::format("{} go on until drain_timeout", plan.tunnels_drained));
  tunnels.add(plan.tunnels_closed, fmt::format("{} cut", plan.tunnels_closed));
  if (const std::string text = tunnels.or_else(""); !text.empty()) tree.line(text);
}

OrderedJson listeners_json(const Plan& plan) {
  OrderedJson list = OrderedJson::array();
  for (const PlanListener& listener : plan.listeners) {
    list.push_back({{"endpoint", listener.endpoint},
                    {"fate", words_of(listener.fate).name},
                    {"connections", listener.connections},
                    {"busy", listener.busy},
                    {"tunnels", listener.tunnels},
                    {"tls", listener.tls}});
  }
  return list;
}

OrderedJson backends_json(const Plan& plan) {
  OrderedJson list = OrderedJson::array();
  for (const PlanBackend& backend : plan.backends) {
    list.push_back({{"name", backend.name},
                    {"fate", words_of(backend.fate).name},
                    {"words", backend.words},
                    {"share_1m", backend.share_1m},
                    {"share_5m", backend.share_5m},
                    {"requests_1m", backend.requests_1m},
                    {"requests_5m", backend.requests_5m},
                    {"requests", backend.requests},
                    {"tunnels", backend.tunnels},
                    {"tunnels_tls", backend.tunnels_tls}});
  }
  return list;
}

void read_live(const OrderedJson& live, RunningState& state) {
  for (const OrderedJson& one : list_of(live, "listeners")) {
    state.listeners.push_back({.endpoint = text_of(one, "endpoint"),
                               .connections = count_of(one, "connections"),
                               .busy = count_of(one, "busy"),
                               .tunnels = count_of(one, "tunnels"),
                               .tls = count_of(one, "tls")});
  }
  for (const OrderedJson& one : list_of(live, "backends")) {
    state.backends.push_back({.name = text_of(one, "name"),
                              .endpoint = text_of(one, "endpoint"),
                              .requests = count_of(one, "requests"),
                              .tunnels = count_of(one, "tunnels"),
                              .tunnels_tls = count_of(one, "tunnels_tls")});
  }
}

}  // namespace

Result<RunningState> parse_running_state(std::string_view line) {
  const auto failed = [](std::string message) {
    return std::unexpected(Error{.message = std::move(message)});
  };
  const OrderedJson json = OrderedJson::parse(line, nullptr, false);
  if (json.is_discarded() || !json.is_object()) return failed("the answer is not understood");
  if (!flag_of(json, "ok", false)) return failed(text_of(json, "error"));
  if (!json.contains("running")) return failed("the balancer that runs is too old to be asked for a plan");
  const OrderedJson running = object_of(json, "running");
  if (running.empty() || !running.contains("text") || !running["text"].is_string())
    return failed("no generation serves just now, so there is nothing to compare with; try again");
  RunningState state;
  state.generation = static_cast<std::int64_t>(count_of(running, "generation"));
  state.config = text_of(running, "config");
  state.format = text_of(running, "format") == "yaml" ? ConfigFormat::yaml : ConfigFormat::json;
  state.text = running["text"].get<std::string>();
  const OrderedJson live = object_of(json, "live");
  state.live_known = !live.empty();
  read_live(live, state);
  for (const OrderedJson& one : list_of(json, "backends")) {
    state.backends.push_back({.name = text_of(one, "name"),
                              .endpoint = text_of(one, "endpoint"),
                              .requests_1m = count_of(one, "requests_1m"),
                              .requests_5m = count_of(one, "requests_5m")});
  }
  state.backends_cut = count_of(json, "backends_total") > list_of(json, "backends").size();
  const OrderedJson traffic = object_of(json, "traffic");
  state.observed_s = count_of(traffic, "observed_s");
  state.requests_1m = count_of(traffic, "requests_1m");
  state.requests_5m = count_of(traffic, "requests_5m");
  state.reload_in_flight = flag_of(object_of(json, "reloads"), "in_flight", false);
  return state;
}

std::string plan_text(const Plan& plan, const TextStyle& style) {
  std::string out =
      style.bold("plan") + fmt::format("  config {} against generation {}, which serves config {}\n",
                                       plan.planned_config, plan.generation, plan.config);
  TextTree tree{style};
  if (plan.verdict != PlanVerdict::nothing) {
    add_lists(tree, plan);
    add_connections(tree, plan);
  }
  tree.branch("restart");
  for (const std::string& text : plan.restart) tree.line(style.careful(text));
  tree.branch("note");
  if (plan.reload_in_flight)
    tree.line(style.careful("a reload is under way: the answer may be old in a moment"));
  tree.branch("verdict");
  switch (plan.verdict) {
    case PlanVerdict::nothing:
      tree.line(style.good("nothing") + (plan.config == plan.planned_config
                                             ? ": it is the configuration that serves"
                                             : ": the text is another, what it says is the same"));
      break;
    case PlanVerdict::safe:
      tree.line(style.good("safe"));
      break;
    case PlanVerdict::disruptive:
      for (const std::string& reason : plan.reasons) tree.line(style.bad("disruptive") + ": " + reason);
      break;
  }
  return out + tree.take();
}

std::string plan_json(const Plan& plan) {
  OrderedJson json{{"ok", true},
                   {"verdict", verdict_name(plan.verdict)},
                   {"reasons", plan.reasons},
                   {"generation", plan.generation},
                   {"config", plan.config},
                   {"planned_config", plan.planned_config},
                   {"changes", OrderedJson::parse(changes_json(plan.changes), nullptr, false)},
                   {"listeners", listeners_json(plan)},
                   {"backends", backends_json(plan)},
                   {"backends_kept", plan.backends_kept},
                   {"keys", nullptr},
                   {"connections", nullptr},
                   {"restart", plan.restart},
                   {"observed_s", plan.observed_s},
                   {"requests_5m", plan.requests_5m},
                   {"reload_in_flight", plan.reload_in_flight}};
  if (plan.keys_moved) json["keys"] = {{"moved", *plan.keys_moved}, {"words", plan.keys_words}};
  if (plan.live_known) {
    json["connections"] = {{"move", plan.moves},
                           {"drain_tls", plan.drains_tls},
                           {"tunnels_kept", plan.tunnels_kept},
                           {"tunnels_drained", plan.tunnels_drained},
                           {"tunnels_closed", plan.tunnels_closed}};
  }
  return json_line(json);
}

}  // namespace lb
