#include "harness/traffic/traffic_spec.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace lb::traffic {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kBytesMax = std::uint64_t{1} << 34U;
constexpr std::uint64_t kMsMax = 3'600'000;

bool is_clean(std::string_view text) noexcept {
  return text.find_first_of("\r\n") == std::string_view::npos;
}

bool range(const Json& value, Range& to, std::uint64_t low, std::uint64_t high) {
  Range read;
  if (value.is_number_unsigned()) {
    read.low = read.high = value.get<std::uint64_t>();
  } else if (value.is_array() && value.size() == 2 && value[0].is_number_unsigned() &&
             value[1].is_number_unsigned()) {
    read = {value[0].get<std::uint64_t>(), value[1].get<std::uint64_t>()};
  } else {
    return false;
  }
  if (read.low > read.high || read.low < low || read.high > high) return false;
  to = read;
  return true;
}

/// Milliseconds, fractions allowed, as microseconds.
bool range_ms(const Json& value, Range& to_us) {
  const auto one = [](const Json& v, std::uint64_t& to) {
    if (!v.is_number() || v.get<double>() < 0 || v.get<double>() > static_cast<double>(kMsMax)) return false;
    to = static_cast<std::uint64_t>(std::llround(v.get<double>() * 1000));
    return true;
  };
  Range read;
  if (value.is_array()) {
    if (value.size() != 2 || !one(value[0], read.low) || !one(value[1], read.high) || read.low > read.high)
      return false;
  } else {
    if (!one(value, read.low)) return false;
    read.high = read.low;
  }
  to_us = read;
  return true;
}

template <class T>
bool number(const Json& value, T& to, std::uint64_t low, std::uint64_t high) {
  Range read;
  if (value.is_array() || !range(value, read, low, high)) return false;
  to = static_cast<T>(read.low);
  return true;
}

bool milliseconds(const Json& value, Nanos& to) {
  Range read;
  if (value.is_array() || !range_ms(value, read) || read.low == 0) return false;
  to = read.low * kMicro;
  return true;
}

bool flag(const Json& value, bool& to) {
  if (!value.is_boolean()) return false;
  to = value.get<bool>();
  return true;
}

bool text(const Json& value, std::string& to) {
  if (!value.is_string() || !is_clean(value.get_ref<const std::string&>())) return false;
  to = value.get<std::string>();
  return true;
}

bool headers(const Json& value, std::string& to) {
  if (!value.is_object()) return false;
  for (const auto& [name, item] : value.items()) {
    std::string line;
    if (!text(item, line) || !is_clean(name) || name.empty() || name.find(':') != std::string::npos)
      return false;
    to.append(name).append(": ").append(line).append("\r\n");
  }
  return true;
}

bool close_by(const Json& value, CloseBy& to) {
  if (value == "server") return to = CloseBy::server, true;
  if (value == "client") return to = CloseBy::client, true;
  if (value == "reset") return to = CloseBy::reset, true;
  return false;
}

/// One of two words.
bool either(const Json& value, const char* no, const char* yes, bool& to) {
  if (value != no && value != yes) return false;
  to = value == yes;
  return true;
}

enum class Read : std::uint8_t { good, bad, unknown };

Read good_if(bool good) {
  return good ? Read::good : Read::bad;
}

/// true, or {"name", "ca", "resume"}.
Read read_tls(StreamSpec& s, const Json& value) {
  if (value.is_boolean()) return good_if(flag(value, s.tls));
  if (!value.is_object()) return Read::bad;
  s.tls = true;
  for (const auto& [key, item] : value.items()) {
    const bool good = key == "name"     ? text(item, s.tls_name)
                      : key == "ca"     ? text(item, s.tls_ca)
                      : key == "resume" ? flag(item, s.tls_resume)
                                        : false;
    if (!good) return Read::bad;
  }
  return Read::good;
}

Read read_param(StreamSpec& s, const std::string& key, const Json& value) {
  if (key == "size") return good_if(range(value, s.size, 0, kBytesMax));
  if (key == "body") return good_if(range(value, s.body, 0, kBytesMax));
  if (key == "chunk") return good_if(range(value, s.chunk, 1, kBytesMax));
  if (key == "delay_ms") return good_if(range(value, s.delay_ms, 0, kMsMax));
  if (key == "method") return good_if(text(value, s.method) && s.method.find(' ') == std::string::npos);
  if (key == "path")
    return good_if(text(value, s.path) && s.path.starts_with('/') && s.path.find(' ') == s.path.npos);
  if (key == "query") return good_if(text(value, s.query) && s.query.find(' ') == std::string::npos);
  if (key == "host") return good_if(text(value, s.host));
  if (key == "headers") return good_if(headers(value, s.headers));
  if (key == "preface") {
    if (!value.is_string()) return Read::bad;
    s.preface = value.get<std::string>();  // any bytes: a PROXY header ends with CR LF
    return Read::good;
  }
  if (key == "tls") return read_tls(s, value);
  if (key == "tunneled") return good_if(flag(value, s.tunneled));
  if (key == "chunked_response") return good_if(flag(value, s.chunked_response));
  if (key == "chunked_request") return good_if(flag(value, s.chunked_request));
  if (key == "expect") return good_if(flag(value, s.expect));
  const Kind kind = s.kind;
  if (kind == Kind::new_connection) {
    if (key == "close") return good_if(close_by(value, s.close));
    if (key == "max_in_flight") return good_if(number(value, s.max_in_flight, 1, 10'000));
  }
  if (key == "per_connection" && s.keeps_connection())
    return good_if(range(value, s.per_connection, 0, kBytesMax));
  if (key == "depth" && kind == Kind::pipelined) return good_if(range(value, s.depth, 1, 1000));
  if (kind == Kind::slow_download || kind == Kind::slow_upload) {
    if (key == "bytes_per_s") return good_if(number(value, s.bytes_per_s, 1, kBytesMax));
    if (key == "slow_side" && kind == Kind::slow_download)
      return good_if(either(value, "backend", "client", s.slow_client));
  }
  if (is_flow(kind) || kind == Kind::long_upload) {
    if (key == "lifetime_ms") return good_if(range(value, s.lifetime_ms, 0, kMsMax));
    if (key == "bytes_per_s" && kind == Kind::long_upload)
      return good_if(number(value, s.bytes_per_s, 1, kBytesMax));
    if (key == "interval_ms") return good_if(range(value, s.interval_ms, 1, kMsMax));
    if (key == "message") return good_if(range(value, s.message, 0, 1U << 20U));
    if (key == "peer_interval_ms") return good_if(range(value, s.peer_interval_ms, 1, kMsMax));
    if (key == "peer_message") return good_if(range(value, s.peer_message, 0, 1U << 20U));
  }
  if (kind == Kind::upgrade) {
    if (key == "lifetime_ms") return good_if(range(value, s.lifetime_ms, 1, kMsMax));
    if (key == "interval_ms") return good_if(range(value, s.interval_ms, 0, kMsMax));
    if (key == "message") return good_if(range(value, s.message, 1, 1U << 20U));
    if (key == "end") return good_if(either(value, "drained", "half_close", s.half_close));
  }
  if (key == "send_after_ms" && kind == Kind::halfopen)
    return good_if(range(value, s.send_after_ms, 0, kMsMax));
  return Read::unknown;
}

bool targets(const Json& value, std::vector<Address>& to) {
  const Json list = value.is_array() ? value : Json::array({value});
  to.clear();
  for (const Json& item : list) {
    if (!item.is_string()) return false;
    auto address = parse_address(item.get_ref<const std::string&>());
    if (!address) return false;
    to.push_back(*address);
  }
  return !to.empty();
}

Read read_key(StreamSpec& s, const std::string& key, const Json& value) {
  if (key == "kind" || key == "params") return Read::good;  // read apart
  if (key == "name") return good_if(text(value, s.name) && !s.name.empty());
  if (key == "clients") return good_if(number(value, s.clients, 1, TrafficSpec::kClientsMax));
  if (key == "rate") {
    if (!value.is_number() || value.get<double>() < 0 || value.get<double>() > 1e6) return Read::bad;
    s.rate = value.get<double>();
    return Read::good;
  }
  if (key == "think_ms") return good_if(range_ms(value, s.think_us));
  if (key == "timeout_ms") return good_if(milliseconds(value, s.timeout));
  if (key == "connect_timeout_ms") return good_if(milliseconds(value, s.connect_timeout));
  if (key == "target") return good_if(targets(value, s.targets));
  if (key == "statuses") {
    if (!value.is_array() || value.empty()) return Read::bad;
    s.statuses.clear();
    for (const Json& item : value) {
      int status = 0;
      if (!number(item, status, 100, 599)) return Read::bad;
      s.statuses.push_back(status);
    }
    return Read::good;
  }
  return Read::unknown;
}

void set_kind_defaults(StreamSpec& s) {
  switch (s.kind) {
    case Kind::slow_download:
      s.size = {200'000, 200'000};
      break;
    case Kind::slow_upload:
      s.body = {200'000, 200'000};
      break;
    case Kind::chunked:
      s.size = s.body = {0, 20'000};
      s.chunk = {1, 5000};
      s.chunked_request = s.chunked_response = true;
      break;
    case Kind::halfopen:
      s.connect_timeout = 30 * kSecond;
      break;
    case Kind::idle:
      s.think_us = {2'000'000, 20'000'000};
      break;
    case Kind::websocket:
    case Kind::tcp_tunnel:
    case Kind::events:
      s.lifetime_ms = {0, 0};
      s.interval_ms = {500, 2000};
      s.message = {1, 500};
      s.tunneled = s.half_close = s.kind == Kind::tcp_tunnel;
      break;
    case Kind::long_upload:
      s.lifetime_ms = {0, 0};
      s.body = {kBytesMax, kBytesMax};
      s.bytes_per_s = 2000;
      s.chunk = {500, 2000};
      s.chunked_request = true;
      break;
    default:
      break;
  }
}

std::unexpected<Error> bad(const std::string& where, const std::string& what) {
  return std::unexpected(Error{Fault::config, "spec: " + where + ": " + what, 0, false});
}

template <class F>
Result<void> read_object(const Json& object, const std::string& where, F&& read) {
  if (!object.is_object()) return bad(where, "expected an object");
  for (const auto& [key, value] : object.items()) {
    const Read result = read(key, value);
    if (result == Read::unknown)
      return bad(std::string(where).append("/").append(key), "unknown key (or not one of this kind)");
    if (result == Read::bad)
      return bad(std::string(where).append("/").append(key), "cannot be " + value.dump());
  }
  return {};
}

Result<StreamSpec> parse_stream(const Json& given, const Json& defaults, const std::string& where) {
  if (!given.is_object()) return bad(where, "expected an object");
  Json stream = defaults;
  const Json params_default = defaults.value("params", Json::object());
  stream.update(given);
  Json params = params_default;
  if (given.contains("params")) {
    if (!given.at("params").is_object()) return bad(where + "/params", "expected an object");
    params.update(given.at("params"));
  }
  StreamSpec s;
  const Json kind_name = stream.value("kind", Json());
  const auto kind =
      kind_name.is_string() ? kind_named(kind_name.get_ref<const std::string&>()) : std::nullopt;
  if (!kind)
    return bad(where + "/kind",
               "expected one of new, keepalive, pipelined, race, slow_download, slow_upload, "
               "chunked, upgrade, halfopen, idle, websocket, tcp_tunnel, events, long_upload");
  s.kind = *kind;
  s.name = name_of(*kind);
  set_kind_defaults(s);
  if (auto r = read_object(stream, where, [&](const auto& k, const auto& v) { return read_key(s, k, v); });
      !r) {
    return std::unexpected(r.error());
  }
  const auto read_one = [&](const auto& k, const auto& v) { return read_param(s, k, v); };
  if (auto r = read_object(params, where + "/params", read_one); !r) return std::unexpected(r.error());
  return s;
}

}  // namespace

Result<TrafficSpec> parse_traffic_spec(std::string_view json) {
  const Json parsed = Json::parse(json, nullptr, false);
  if (!parsed.is_object()) return bad("/", "not a JSON object");
  TrafficSpec spec;
  for (const auto& [key, value] : parsed.items()) {
    if (key == "ramp_ms") {
      Range ramp;
      if (value.is_array() || !range_ms(value, ramp)) return bad("/ramp_ms", "cannot be " + value.dump());
      spec.ramp = ramp.low * kMicro;
    } else if (key != "streams" && key != "defaults") {
      return bad("/" + key, "unknown key");
    }
  }
  const Json defaults = parsed.value("defaults", Json::object());
  if (!defaults.is_object()) return bad("/defaults", "expected an object");
  const Json streams = parsed.value("streams", Json());
  if (!streams.is_array() || streams.empty() || streams.size() > TrafficSpec::kStreamsMax) {
    return bad("/streams", "expected 1 to 64 streams");
  }
  for (std::size_t i = 0; i < streams.size(); ++i) {
    const std::string where = "/streams/" + std::to_string(i);
    auto stream = parse_stream(streams[i], defaults, where);
    if (!stream) return std::unexpected(stream.error());
    const auto same = [&](const StreamSpec& other) { return other.name == stream->name; };
    if (std::ranges::any_of(spec.streams, same))
      return bad(where + "/name", "'" + stream->name + "' is there twice");
    spec.streams.push_back(std::move(*stream));
  }
  return spec;
}

}  // namespace lb::traffic
