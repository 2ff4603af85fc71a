#include "harness/traffic/backend_script.hpp"

#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

namespace lb::traffic {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kSizeMax = std::uint64_t{1} << 34U;
constexpr std::uint64_t kDelayMsMax = 3'600'000;

constexpr std::array<std::string_view, 10> kModes = {"normal", "refuse",   "reset", "hang",      "garbage",
                                                     "status", "truncate", "wrong", "duplicate", "close"};
constexpr std::array<std::string_view, 4> kResetAts = {"accept", "request", "head", "mid"};

template <class E, std::size_t N>
std::optional<E> named(const std::array<std::string_view, N>& names, std::string_view name) noexcept {
  for (std::size_t i = 0; i < N; ++i) {
    if (names[i] == name) return static_cast<E>(i);
  }
  return std::nullopt;
}

/// One key of a script; false when the value is not what the key takes.
class ScriptReader {
 public:
  explicit ScriptReader(Script& script) : s_(script) {}

  bool read(const std::string& key, const Json& value) {
    Reply& r = s_.reply;
    if (key == "mode") return choice(value, kModes, r.mode);
    if (key == "at") return choice(value, kResetAts, r.at);
    if (key == "every") return number(value, s_.every, 1, 1'000'000'000);
    if (key == "status") return status_given_ = number(value, r.status, 200, 599);
    if (key == "delay_ms") return milliseconds(value, r.delay);
    if (key == "size") return number(value, r.size, 0, kSizeMax);
    if (key == "chunk") return number(value, r.chunk, 1, kSizeMax);
    if (key == "rate") return number(value, r.rate, 0, kSizeMax);
    if (key == "chunked") return flag(value, r.chunked);
    if (key == "close") return flag(value, r.close);
    if (key == "close_after") return number(value, s_.close_after, 0, 1'000'000'000);
    if (key == "drop_idle_after") return number(value, s_.drop_idle_after, 0, 1'000'000'000);
    if (key == "idle_close_ms") return milliseconds(value, s_.idle_close);
    if (key == "early_response") return flag(value, s_.early_response);
    if (key == "read_rate") return number(value, s_.read_rate, 0, kSizeMax);
    if (key == "slice") return number(value, s_.slice, 0, kSizeMax);
    if (key == "close_delay_ms") return milliseconds(value, s_.close_delay);
    if (key == "health_status") return number(value, s_.health_status, 200, 599);
    if (key == "headers") return headers(value);
    known_ = false;
    return false;
  }
  [[nodiscard]] bool known() const noexcept { return known_; }
  void finish() {
    if (s_.reply.mode == Mode::status && !status_given_) s_.reply.status = 503;
  }

 private:
  template <class T>
  static bool number(const Json& value, T& to, std::uint64_t low, std::uint64_t high) {
    if (!value.is_number_unsigned()) return false;
    const auto n = value.get<std::uint64_t>();
    if (n < low || n > high) return false;
    to = static_cast<T>(n);
    return true;
  }
  static bool milliseconds(const Json& value, Nanos& to) {
    if (!value.is_number() || value.get<double>() < 0 || value.get<double>() > kDelayMsMax) return false;
    to = static_cast<Nanos>(value.get<double>() * static_cast<double>(kMilli));
    return true;
  }
  static bool flag(const Json& value, bool& to) {
    if (value.is_boolean()) {
      to = value.get<bool>();
      return true;
    }
    std::uint8_t n = 0;
    if (!number(value, n, 0, 1)) return false;
    to = n == 1;
    return true;
  }
  template <class E, std::size_t N>
  static bool choice(const Json& value, const std::array<std::string_view, N>& names, E& to) {
    if (!value.is_string()) return false;
    const auto found = named<E>(names, value.get_ref<const std::string&>());
    if (found) to = *found;
    return found.has_value();
  }
  bool headers(const Json& value) {
    if (!value.is_object()) return false;
    for (const auto& [name, text] : value.items()) {
      if (!text.is_string() || name.find_first_of("\r\n:") != std::string::npos) return false;
      if (text.get_ref<const std::string&>().find_first_of("\r\n") != std::string::npos) return false;
      s_.headers += name + ": " + text.get<std::string>() + "\r\n";
    }
    return true;
  }

  Script& s_;
  bool known_ = true;
  bool status_given_ = false;
};

std::unexpected<Error> bad_script(std::string message) {
  return std::unexpected(Error{Fault::config, "script: " + std::move(message), 0, false});
}

/// "5" or "5-50".
void read_span(std::string_view value, Span& to) noexcept {
  Span read;
  const char* const end = value.data() + value.size();
  auto [at, error] = std::from_chars(value.data(), end, read.low);
  if (error != std::errc{}) return;
  read.high = read.low;
  if (at != end && *at == '-' && std::from_chars(at + 1, end, read.high).ec != std::errc{}) return;
  if (read.low <= read.high && read.high <= kDelayMsMax) to = read;
}

void apply_pair(Reply& reply, std::string_view key, std::string_view value) noexcept {
  std::uint64_t n = 0;
  const bool number = std::from_chars(value.data(), value.data() + value.size(), n).ec == std::errc{};
  const bool on = number && n != 0;
  if (key == "size" && number && n <= kSizeMax) reply.size = n;
  if (key == "delay_ms" && number && n <= kDelayMsMax) reply.delay = n * kMilli;
  if (key == "status" && number && n >= 200 && n <= 599) reply.status = static_cast<std::uint16_t>(n);
  if (key == "chunked" && number) reply.chunked = on;
  if (key == "chunk" && number && n > 0 && n <= kSizeMax) reply.chunk = n;
  if (key == "rate" && number && n <= kSizeMax) reply.rate = n;
  if (key == "close" && number) reply.close = on;
  if (key == "trailer") reply.trailer = on;
  if (key == "interim") reply.interim = on;
  if (key == "events") reply.events = on;
  if (key == "flow_ms") read_span(value, reply.flow_ms);
  if (key == "flow_bytes") read_span(value, reply.flow_bytes);
  if (key == "life_ms") read_span(value, reply.life_ms);
  if (key == "echo")
    reply.echo = value == "headers" ? Echo::headers : value == "body" ? Echo::body : Echo::none;
  if (key == "truncate" && on) reply.mode = Mode::truncate;
  if (key == "wrong" && on) reply.mode = Mode::wrong;
  if (key == "duplicate" && on) reply.mode = Mode::duplicate;
  if (key == "garbage" && on) reply.mode = Mode::garbage;
  if (key == "hang" && on) reply.mode = Mode::hang;
  if (key == "reset") {
    if (const auto at = named<ResetAt>(kResetAts, value)) {
      reply.mode = Mode::reset;
      reply.at = *at == ResetAt::accept ? ResetAt::request : *at;
    }
  }
}

}  // namespace

Result<Script> parse_script(std::string_view json) {
  const Json parsed = Json::parse(json, nullptr, false);
  if (!parsed.is_object()) return bad_script("expected an object");
  Script script;
  ScriptReader reader(script);
  for (const auto& [key, value] : parsed.items()) {
    if (reader.read(key, value)) continue;
    if (!reader.known()) return bad_script("unknown key '" + key + "'");
    return bad_script("'" + key + "' cannot be " + value.dump());
  }
  reader.finish();
  return script;
}

void apply_query(Reply& reply, std::string_view target) noexcept {
  const std::size_t mark = target.find('?');
  if (mark == std::string_view::npos) return;
  std::string_view rest = target.substr(mark + 1);
  while (!rest.empty()) {
    const std::size_t amp = rest.find('&');
    const std::string_view pair = rest.substr(0, amp);
    if (const std::size_t equals = pair.find('='); equals != std::string_view::npos) {
      apply_pair(reply, pair.substr(0, equals), pair.substr(equals + 1));
    }
    if (amp == std::string_view::npos) break;
    rest.remove_prefix(amp + 1);
  }
}

}  // namespace lb::traffic
