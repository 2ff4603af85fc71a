// Another answer: no table and no tree. Every member of Config is compared by a line of its own, and lists
// are matched without hashing: both are sorted by identity and walked side by side, then what was found is
// put back into order.
#include <algorithm>
#include <optional>
#include <utility>

#include "lb/config/diff.hpp"
#include "lb/config/keys.hpp"
#include "lb/config/wording.hpp"

namespace lb {
namespace {

using Kind = ConfigChange::Kind;

std::string escaped(std::string_view identity) {
  std::string text;
  for (const char c : identity) text += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return text;
}

// One value as {JSON, words}.
struct Shown {
  std::string json;
  std::string words;
};
Shown show(bool value) {
  return {value ? "true" : "false", value ? "true" : "false"};
}
Shown show(std::uint32_t value) {
  return {std::to_string(value), std::to_string(value)};
}
Shown show(std::uint64_t value) {
  return {std::to_string(value), std::to_string(value)};
}
Shown show(double value) {
  return {number_words(value), number_words(value)};
}
Shown show(Milliseconds value) {
  return {seconds_text(value), seconds_text(value)};
}
Shown show(const std::string& value) {
  return {json_string(value), value.empty() ? "none" : shown_text(value)};
}
Shown show(Algorithm value) {
  const auto name = find_key(config_section(), "algorithm")->choices[static_cast<std::size_t>(value)];
  return {json_string(name), std::string{name}};
}
Shown show(HashBy value) {
  const auto name =
      find_key(*find_key(config_section(), "hash")->section, "by")->choices[static_cast<std::size_t>(value)];
  return {json_string(name), std::string{name}};
}
Shown show(const Endpoint& value) {
  return {json_string(value.text()), bare_words(value.text())};
}
Shown show(ListenMode value) {
  const auto name = find_key(listener_section(), "mode")->choices[static_cast<std::size_t>(value)];
  return {json_string(name), std::string{name}};
}
Shown show(SendProxy value) {
  const auto name = find_key(backend_section(), "send_proxy")->choices[static_cast<std::size_t>(value)];
  return {json_string(name), std::string{name}};
}
Shown show(const std::optional<ProxyProtocolConfig>& value) {
  if (!value) return {"null", "null"};
  std::string list;
  for (const Network& network : value->from) list += (list.empty() ? "" : ", ") + json_string(network.text());
  const std::string json = list.empty() ? "{}" : R"({"from": [)" + list + "]}";
  return {json, json};
}
Shown show(const ListenerConfig& listener) {
  const std::string address = json_string(listener.text());
  if (listener == ListenerConfig{{Endpoint{listener}}}) return {address, {}};
  Shown shown{R"({"address":)" + address + R"(,"mode":)" + show(listener.mode).json, {}};
  const auto tell = [&](const char* name, const Shown& value) {
    shown.words += (shown.words.empty() ? ": " : ", ") + std::string{name} + " " + value.words;
  };
  if (listener.mode != ListenMode::http) tell("mode", show(listener.mode));
  if (listener.proxy_protocol) {
    shown.json += R"(,"proxy_protocol":)" + show(listener.proxy_protocol).json;
    tell("proxy_protocol", show(listener.proxy_protocol));
  }
  shown.json += "}";
  return shown;
}
Shown show(const HeaderField& field) {
  if (is_secret_header(field.name)) return {R"j("(secret)")j", "(secret)"};
  return {json_string(field.value), shown_text(field.value)};
}
Shown show(const RateLimitConfig& limit) {
  return {R"({"per_ip":)" + show(limit.per_ip).json + R"(,"burst":)" + show(limit.burst).json + "}",
          "per_ip " + show(limit.per_ip).words + ", burst " + show(limit.burst).words};
}
Shown show(const BackendConfig& backend) {
  const Endpoint& at = backend.endpoint;
  std::string json = R"({"name":)" + json_string(backend.name);
  json += at.unix_socket ? R"(,"unix":)" + json_string(at.host)
                         : R"(,"host":)" + json_string(at.host) + R"(,"port":)" + std::to_string(at.port);
  json += R"(,"weight":)" + show(backend.weight).json;
  json += R"(,"max_connections":)" + show(backend.max_connections).json;
  json += R"(,"backup":)" + show(backend.backup).json;
  if (backend.send_proxy != SendProxy::off) json += R"(,"send_proxy":)" + show(backend.send_proxy).json;
  json += "}";
  std::string words = show(at).words + ", weight " + show(backend.weight).words;
  if (backend.max_connections != 0) words += ", max_connections " + show(backend.max_connections).words;
  if (backend.backup) words += ", backup true";
  if (backend.send_proxy != SendProxy::off) words += ", send_proxy " + show(backend.send_proxy).words;
  return {json, words};
}

std::string identity(const Endpoint& endpoint) {
  return endpoint.text();
}
std::string identity(const BackendConfig& backend) {
  return backend.name;
}
std::string identity(const HeaderField& field) {
  std::string lower = field.name;
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

template <class Item>
struct Matched {
  std::vector<const Item*> removed, added;
  std::vector<std::pair<const Item*, const Item*>> stayed;
};

template <class Item>
Matched<Item> match(const std::vector<Item>& before, const std::vector<Item>& after) {
  const auto sorted = [](const std::vector<Item>& items) {
    std::vector<std::pair<std::string, const Item*>> list;
    for (const Item& item : items) list.emplace_back(identity(item), &item);
    std::ranges::sort(list);
    return list;
  };
  const auto old = sorted(before);
  const auto now = sorted(after);
  Matched<Item> found;
  for (auto a = old.begin(), b = now.begin(); a != old.end() || b != now.end();) {
    if (b == now.end() || (a != old.end() && a->first < b->first)) {
      found.removed.push_back((a++)->second);
    } else if (a == old.end() || b->first < a->first) {
      found.added.push_back((b++)->second);
    } else {
      found.stayed.emplace_back((a++)->second, (b++)->second);
    }
  }
  // Items of one vector: the order of their addresses is that of the file.
  std::ranges::sort(found.removed);
  std::ranges::sort(found.added);
  std::ranges::sort(found.stayed, {}, [](const auto& pair) { return pair.second; });
  return found;
}

class Changes final {
 public:
  std::vector<ConfigChange> list;

  void removed(std::string path, const std::string& who, const Shown& what) {
    list.push_back({Kind::removed, std::move(path), what.json, {}, who + " removed: " + what.words});
  }
  void added(std::string path, const std::string& who, const Shown& what) {
    list.push_back({Kind::added, std::move(path), {}, what.json, who + " added: " + what.words});
  }
  template <class Value>
  void compare(std::string path, const std::string& said, const Value& before, const Value& after) {
    if (before == after) return;
    const Shown old = show(before);
    const Shown now = show(after);
    list.push_back(
        {Kind::changed, std::move(path), old.json, now.json, said + old.words + " -> " + now.words});
  }
  template <class Value>
  void key(const std::string& name, const Value& before, const Value& after) {
    compare("/" + name, name + ": ", before, after);
  }
  template <class Value>
  void key(const std::string& section, const std::string& name, const Value& before, const Value& after) {
    compare("/" + section + "/" + name, section + "." + name + ": ", before, after);
  }

  void listeners(const std::vector<ListenerConfig>& before, const std::vector<ListenerConfig>& after) {
    const auto found = match(before, after);
    const auto path = [](const ListenerConfig* item) { return "/listen/" + escaped(item->text()); };
    const auto who = [](const ListenerConfig* item) { return "listener " + bare_words(item->text()); };
    for (const auto* item : found.removed) {
      list.push_back({Kind::removed, path(item), show(*item).json, {}, who(item) + " removed"});
    }
    for (const auto& [old, now] : found.stayed) {
      compare(path(now) + "/mode", who(now) + ": mode ", old->mode, now->mode);
      compare(path(now) + "/proxy_protocol", who(now) + ": proxy_protocol ", old->proxy_protocol,
              now->proxy_protocol);
    }
    for (const auto* item : found.added) {
      const auto [json, words] = show(*item);
      list.push_back({Kind::added, path(item), {}, json, who(item) + " added" + words});
    }
  }

  void backends(const std::vector<BackendConfig>& before, const std::vector<BackendConfig>& after) {
    const auto found = match(before, after);
    const auto path = [](const BackendConfig* item) { return "/backends/" + escaped(item->name); };
    const auto who = [](const BackendConfig* item) { return "backend " + bare_words(item->name); };
    for (const auto* item : found.removed) removed(path(item), who(item), show(*item));
    for (const auto& [old, now] : found.stayed) {
      compare(path(now) + "/address", who(now) + ": address ", old->endpoint, now->endpoint);
      compare(path(now) + "/weight", who(now) + ": weight ", old->weight, now->weight);
      compare(path(now) + "/max_connections", who(now) + ": max_connections ", old->max_connections,
              now->max_connections);
      compare(path(now) + "/backup", who(now) + ": backup ", old->backup, now->backup);
      compare(path(now) + "/send_proxy", who(now) + ": send_proxy ", old->send_proxy, now->send_proxy);
    }
    for (const auto* item : found.added) added(path(item), who(item), show(*item));
  }

  void rate_limit(const std::optional<RateLimitConfig>& before, const std::optional<RateLimitConfig>& after) {
    if (before && after) {
      key("rate_limit", "per_ip", before->per_ip, after->per_ip);
      key("rate_limit", "burst", before->burst, after->burst);
    } else if (before) {
      removed("/rate_limit", "rate_limit", show(*before));
    } else if (after) {
      added("/rate_limit", "rate_limit", show(*after));
    }
  }

  void headers(const std::vector<HeaderField>& before, const std::vector<HeaderField>& after) {
    const auto found = match(before, after);
    const auto path = [](const HeaderField* item) { return "/response_headers/" + escaped(item->name); };
    const auto who = [](const HeaderField* item) { return "response_headers." + item->name; };
    for (const auto* item : found.removed) removed(path(item), who(item), show(*item));
    for (const auto& [old, now] : found.stayed) {
      if (old->value != now->value) compare(path(now), who(now) + ": ", *old, *now);
    }
    for (const auto* item : found.added) added(path(item), who(item), show(*item));
  }
};

}  // namespace

std::vector<ConfigChange> config_diff(const Config& a, const Config& b) {
  Changes changes;
  changes.listeners(a.listen, b.listen);
  changes.key("algorithm", a.algorithm, b.algorithm);
  changes.key("hash", "by", a.hash.by, b.hash.by);
  changes.key("hash", "name", a.hash.name, b.hash.name);
  changes.key("hash", "balance_factor", a.hash.balance_factor, b.hash.balance_factor);
  changes.backends(a.backends, b.backends);
  changes.key("slow_start", a.slow_start, b.slow_start);
  changes.key("panic_threshold", a.panic_threshold, b.panic_threshold);
  changes.key("retries", "attempts", a.retries.attempts, b.retries.attempts);
  changes.key("retries", "gateway_errors", a.retries.gateway_errors, b.retries.gateway_errors);
  changes.key("retries", "budget_share", a.retries.budget_share, b.retries.budget_share);
  changes.key("retries", "budget_per_second", a.retries.budget_per_second, b.retries.budget_per_second);
  changes.key("resolver", "interval", a.resolver.interval, b.resolver.interval);
  changes.key("pool", "max_size", a.pool.max_size, b.pool.max_size);
  changes.key("pool", "ttl", a.pool.ttl, b.pool.ttl);
  changes.rate_limit(a.rate_limit, b.rate_limit);
  changes.key("timeouts", "header", a.timeouts.header, b.timeouts.header);
  changes.key("timeouts", "idle", a.timeouts.idle, b.timeouts.idle);
  changes.key("timeouts", "connect", a.timeouts.connect, b.timeouts.connect);
  changes.key("timeouts", "response", a.timeouts.response, b.timeouts.response);
  changes.key("timeouts", "body", a.timeouts.body, b.timeouts.body);
  changes.key("timeouts", "tunnel", a.timeouts.tunnel, b.timeouts.tunnel);
  changes.key("timeouts", "quiet", a.timeouts.quiet, b.timeouts.quiet);
  changes.key("drain_timeout", a.drain_timeout, b.drain_timeout);
  changes.key("workers", a.workers, b.workers);
  changes.key("max_connections", a.max_connections, b.max_connections);
  changes.key("limits", "request_line_bytes", a.limits.request_line_bytes, b.limits.request_line_bytes);
  changes.key("limits", "header_bytes", a.limits.header_bytes, b.limits.header_bytes);
  changes.key("limits", "header_count", a.limits.header_count, b.limits.header_count);
  changes.key("limits", "body_bytes", a.limits.body_bytes, b.limits.body_bytes);
  changes.key("limits", "requests_per_connection", a.limits.requests_per_connection,
              b.limits.requests_per_connection);
  changes.key("limits", "connections_per_ip", a.limits.connections_per_ip, b.limits.connections_per_ip);
  changes.key("queue", "size", a.queue.size, b.queue.size);
  changes.key("queue", "timeout", a.queue.timeout, b.queue.timeout);
  changes.key("pid_file", a.pid_file, b.pid_file);
  changes.key("reload", "watch", a.reload.watch, b.reload.watch);
  changes.key("reload", "debounce", a.reload.debounce, b.reload.debounce);
  changes.key("reload", "probation", a.reload.probation, b.reload.probation);
  changes.key("reload", "requests_min", a.reload.requests_min, b.reload.requests_min);
  changes.key("reload", "failure_increase", a.reload.failure_increase, b.reload.failure_increase);
  changes.key("admin", "socket", a.admin.socket, b.admin.socket);
  changes.key("access_log", a.access_log, b.access_log);
  changes.headers(a.response_headers, b.response_headers);
  return std::move(changes.list);
}

}  // namespace lb
