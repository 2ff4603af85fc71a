#include "lb/config/rules.hpp"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <unordered_map>

#include "lb/config/alpn.hpp"
#include "lb/config/config.hpp"
#include "lb/config/keys.hpp"
#include "lb/config/status_set.hpp"
#include "lb/config/tree.hpp"
#include "lb/config/wording.hpp"

namespace lb {
namespace {

using Pointers = std::unordered_map<std::string, std::string>;  // identity -> pointer of its first bearer

class Rules final {
 public:
  Rules(const Config& config, const RuleContext& context, const RuleReport& report)
      : config_(config), context_(context), report_(report) {}

  void listeners() const {
    if (doubtful("/listen") || doubtful("/listen_port")) return;
    if (config_.listen.empty()) return report_("", "missing key \"listen_port\" or \"listen\"");
    if (config_.listen.size() > kListenersMax) {
      return report_("/listen", "found " + grouped(config_.listen.size()) + " addresses, expected at most " +
                                    grouped(kListenersMax));
    }
    Pointers first;
    for (std::size_t i = 0; i < config_.listen.size(); ++i) {
      const std::string text = config_.listen[i].text();
      const std::string pointer = listen_pointer(context_.listen_pointers, i);
      const auto [earlier, fresh] = first.try_emplace(text, pointer);
      if (!fresh)
        report_(pointer, "duplicate address " + shown_text(text) + ", the same as " + earlier->second);
    }
  }

  void listener_tls() const {
    for (std::size_t i = 0; i < config_.listen.size(); ++i) {
      const auto& tls = config_.listen[i].tls;
      if (!tls) continue;
      const std::string pointer = listen_pointer(context_.listen_pointers, i) + "/tls";
      const bool asks = tls->client_cert != ClientCert::none;
      if (asks && tls->client_ca.empty())
        report_(pointer + "/client_cert", "found client_cert without client_ca, expected both");
      if (!asks && !tls->client_ca.empty())
        report_(pointer + "/client_ca",
                "found client_ca without client_cert, expected \"optional\" or \"required\" there");
      alpn(config_.listen[i], pointer + "/alpn");
    }
  }

  /// What a client agrees on with us is spoken then.
  void alpn(const ListenerConfig& listener, const std::string& pointer) const {
    for (const std::string& name : alpn_names(listener.tls->alpn)) {
      if (name.empty() || name.size() > kAlpnNameBytesMax) {
        report_(pointer, "found the protocol " + shown_text(name) + ", expected names of 1 to " +
                             std::to_string(kAlpnNameBytesMax) + " bytes with commas between them");
      } else if (listener.mode == ListenMode::http && name != "http/1.1" && name != "http/1.0") {
        report_(pointer,
                "found " + shown_text(name) +
                    ", which this listener does not speak, expected \"http/1.1\", \"http/1.0\" or both");
      }
    }
  }

  void backend_tls() const {
    for (std::size_t i = 0; i < config_.backends.size(); ++i) {
      const BackendConfig& backend = config_.backends[i];
      if (!backend.tls || doubtful(pointer_of(i))) continue;
      const BackendTlsConfig& tls = *backend.tls;
      const std::string pointer = pointer_of(i) + "/tls";
      if (tls.cert.empty() != tls.key.empty())
        report_(pointer, "found one of \"cert\" and \"key\", expected both or none");
      if (!tls.verify && !tls.ca.empty())
        report_(pointer + "/ca", "found an authority although verify is false, expected one or the other");
      if (tls.verify && tls.server_name.empty() && backend.endpoint.unix_socket)
        report_(pointer,
                "missing key \"server_name\", expected the name that a backend on a Unix socket proves");
    }
  }

  void backends() const {
    if (doubtful_as_a_whole()) return;
    if (config_.backends.empty()) return report_("/backends", "found no backend, expected at least one");
    if (config_.backends.size() > kBackendsMax) {
      return report_("/backends", "found " + grouped(config_.backends.size()) +
                                      " backends, expected at most " + grouped(kBackendsMax));
    }
    std::unordered_map<std::string_view, std::size_t> first;
    first.reserve(config_.backends.size());
    std::uint64_t weights = 0;
    bool weights_known = true;
    bool any_primary = false;
    for (std::size_t i = 0; i < config_.backends.size(); ++i) {
      const BackendConfig& backend = config_.backends[i];
      any_primary |= !backend.backup;
      if (doubtful(pointer_of(i))) {
        weights_known = false;
        continue;
      }
      weights += backend.weight;
      const auto [earlier, fresh] = first.try_emplace(backend.name, i);
      if (!fresh) duplicate_backend(i, earlier->second);
    }
    if (weights_known && !any_primary) {
      report_("/backends", "found only backups, expected at least one backend that is none");
    }
    if (weights_known && weights == 0) {
      report_("/backends",
              "found weights whose sum is 0, expected at least one backend with a weight above 0");
    }
  }

  void hash() const {
    if (doubtful("/hash") || doubtful("/algorithm")) return;
    const HashConfig& hash = config_.hash;
    if (hash != HashConfig{} && config_.algorithm != Algorithm::consistent_hash) {
      return report_("/hash", "found with another algorithm, expected only with \"consistent_hash\"");
    }
    const bool named = hash.by == HashBy::header || hash.by == HashBy::cookie;
    if (named && hash.name.empty()) {
      report_("/hash", "missing key \"name\": of the header or cookie to go by");
    } else if (!named && !hash.name.empty()) {
      report_("/hash/name", "found " + shown_text(hash.name) + ", expected it only by header or cookie");
    } else if (named) {
      const std::string fault = header_name_fault(hash.name);  // a cookie's name is such a token as well
      if (!fault.empty()) report_("/hash/name", "found " + shown_text(hash.name) + ", " + fault);
    }
    if (hash.balance_factor != 0 && hash.balance_factor <= 1) {
      report_("/hash/balance_factor",
              "found " + number_text(hash.balance_factor) + ", expected 0 or a number above 1");
    }
  }

  void health_check() const {
    if (!config_.health_check || doubtful("/health_check")) return;
    const HealthCheckConfig& check = *config_.health_check;
    const auto visible = [](char c) { return c > ' ' && c < '\x7f'; };
    const auto wrong = [&](const char* key, std::string_view found, const char* expected) {
      report_(std::string{"/health_check/"} + key, "found " + shown_text(found) + ", expected " + expected);
    };
    // Both become part of a request's head as they are.
    if (!check.path.starts_with('/') || !std::ranges::all_of(check.path, visible)) {
      wrong("path", check.path, "a path that begins with /, percent-encoded where it needs to be");
    }
    if (!std::ranges::all_of(check.host, visible)) wrong("host", check.host, "a host without blanks");
    if (!StatusSet::parse(check.expect_status)) {
      wrong("expect_status", check.expect_status, "statuses from 100 to 599 such as \"200-299,404\"");
    }
    const bool http = check.type == HealthCheckType::http;
    if (check.type != HealthCheckType::tcp) {
      if (!check.send.empty()) wrong("send", check.send, "none but with the type \"tcp\"");
      if (!check.expect.empty()) wrong("expect", check.expect, "none but with the type \"tcp\"");
    }
    if (!http && !check.expect_body.empty()) {
      wrong("expect_body", check.expect_body, "none but with the type \"http\"");
    }
    if (http && check.method == HealthCheckMethod::head && !check.expect_body.empty()) {
      wrong("expect_body", check.expect_body, "none with the method \"HEAD\"");
    }
  }

  void response_headers() const {
    if (doubtful("/response_headers")) return;
    const auto& fields = config_.response_headers;
    if (fields.size() > kResponseHeadersMax) return;  // reported as a range already
    std::size_t bytes = 0;
    for (const HeaderField& field : fields) bytes += field.name.size() + field.value.size();
    if (bytes > kResponseHeadersBytesMax) {
      report_("/response_headers", "found " + grouped(bytes) +
                                       " bytes of names and values, expected at most " +
                                       grouped(kResponseHeadersBytesMax));
    }
    for (std::size_t i = 0; i < fields.size(); ++i) {
      const auto end = fields.begin() + static_cast<std::ptrdiff_t>(i);
      const auto same = std::find_if(fields.begin(), end, [&](const HeaderField& earlier) {
        return same_header_name(earlier.name, fields[i].name);
      });
      if (same == end) continue;
      const Place root;
      report_(root.member("response_headers").pointer() + root.member(fields[i].name).pointer(),
              "duplicate header name, the same as " + shown_text(same->name) + "; letter case is ignored");
    }
  }

 private:
  [[nodiscard]] bool doubtful(const std::string& pointer) const {
    return context_.doubtful && context_.doubtful(pointer);
  }
  /// A faulty element makes /backends doubtful too, yet its siblings can be judged.
  [[nodiscard]] bool doubtful_as_a_whole() const { return config_.backends.empty() && doubtful("/backends"); }

  static std::string pointer_of(std::size_t backend) { return "/backends/" + std::to_string(backend); }

  void duplicate_backend(std::size_t later, std::size_t earlier) const {
    const BackendConfig& a = config_.backends[earlier];
    const BackendConfig& b = config_.backends[later];
    const bool unnamed = b.name == b.endpoint.text() && a.endpoint == b.endpoint;
    if (unnamed) {
      return report_(pointer_of(later), "duplicate backend " + shown_text(b.name) + ", the same as " +
                                            pointer_of(earlier) + "; to have it twice give each a \"name\"");
    }
    report_(pointer_of(later) + "/name",
            "duplicate name " + shown_text(b.name) + ", the same as that of " + pointer_of(earlier));
  }

  const Config& config_;
  const RuleContext& context_;
  const RuleReport& report_;
};

}  // namespace

std::string listen_pointer(std::span<const std::string> listen_pointers, std::size_t i) {
  return listen_pointers.empty() ? "/listen/" + std::to_string(i) : listen_pointers[i];
}

void check_rules(const Config& config, const RuleContext& context, const RuleReport& report) {
  const Rules rules{config, context, report};
  rules.listeners();
  rules.listener_tls();
  rules.hash();
  rules.backends();
  rules.health_check();
  rules.backend_tls();
  rules.response_headers();
}

}  // namespace lb
