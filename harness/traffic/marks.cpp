#include "harness/traffic/marks.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace lb::traffic {
namespace {

using Json = nlohmann::json;

constexpr Nanos kWindowDefault = kSecond;
constexpr Nanos kForever = ~Nanos{0};

std::unexpected<Error> bad(std::size_t index, const std::string& what) {
  return std::unexpected(Error{Fault::config, "marks[" + std::to_string(index) + "]: " + what, 0, false});
}

bool names(const Json& value, std::vector<std::string>& to) {
  if (!value.is_array()) return false;
  for (const Json& item : value) {
    if (!item.is_string()) return false;
    to.push_back(item.get<std::string>());
  }
  return true;
}

bool time(const Json& value, Nanos& to) {
  if (!value.is_number_unsigned()) return false;
  to = value.get<Nanos>();
  return true;
}

bool read_key(Mark& mark, const std::string& key, const Json& value) {
  if (key == "t_request_ns") return time(value, mark.t_request);
  if (key == "t_answer_ns") return time(value, mark.t_answer);
  if (key == "window_end_ns") return value.is_null() || time(value, mark.window_end);
  if (key == "removed") return names(value, mark.removed);
  if (key == "added") return names(value, mark.added);
  if (key == "ok") {
    if (value.is_boolean()) mark.ok = value.get<bool>();
    return value.is_boolean();
  }
  if (key == "name") {
    mark.name = value.is_string() ? value.get<std::string>() : value.dump();
    return true;
  }
  if (key == "label") {
    if (!value.is_null()) mark.label = value.is_string() ? value.get<std::string>() : value.dump();
    return true;
  }
  return true;  // the driver may note more for itself
}

}  // namespace

Result<std::vector<Mark>> parse_marks(std::string_view json) {
  const Json parsed = Json::parse(json, nullptr, false);
  if (!parsed.is_array())
    return std::unexpected(Error{Fault::config, "marks: expected a JSON list", 0, false});
  std::vector<Mark> marks;
  for (std::size_t i = 0; i < parsed.size(); ++i) {
    if (!parsed[i].is_object()) return bad(i, "expected an object");
    Mark mark;
    mark.name = "reload " + std::to_string(i + 1);
    for (const auto& [key, value] : parsed[i].items()) {
      if (!read_key(mark, key, value)) return bad(i, "\"" + key + "\" cannot be " + value.dump());
    }
    if (mark.t_request == 0 || mark.t_answer < mark.t_request) {
      return bad(i, "needs t_request_ns, and a t_answer_ns that is not before it");
    }
    if (mark.window_end == 0) mark.window_end = mark.t_answer + kWindowDefault;
    if (mark.window_end < mark.t_answer) return bad(i, "window_end_ns is before t_answer_ns");
    marks.push_back(std::move(mark));
  }
  std::ranges::sort(marks, {}, [](const Mark& mark) { return std::pair(mark.t_request, mark.t_answer); });
  return marks;
}

Windows::Windows(const std::vector<Mark>& marks) {
  for (const Mark& mark : marks) {
    if (!spans_.empty() && mark.t_request <= spans_.back().to) {
      spans_.back().to = std::max(spans_.back().to, mark.window_end);
    } else {
      spans_.push_back({mark.t_request, mark.window_end});
    }
  }
}

bool Windows::touches(Nanos from, Nanos to) const noexcept {
  const auto found = std::ranges::lower_bound(spans_, from, {}, &Span::to);
  return found != spans_.end() && found->from <= to;
}

Removals::Removals(const std::vector<Mark>& marks) {
  for (const Mark& mark : marks) {
    if (!mark.ok) continue;
    for (const std::string& name : mark.added) {
      const auto found = spans_.find(name);
      if (found != spans_.end() && found->second.back().to == kForever)
        found->second.back().to = mark.t_request;
    }
    for (const std::string& name : mark.removed) {
      auto& spans = spans_[name];
      if (spans.empty() || spans.back().to != kForever) spans.push_back({mark.t_answer, kForever});
    }
  }
}

std::optional<Nanos> Removals::forbidden_since(std::string_view backend, Nanos sent,
                                               Nanos reached) const noexcept {
  const auto found = spans_.find(backend);
  if (found == spans_.end()) return std::nullopt;
  for (const Span& span : found->second) {
    if (sent > span.from && reached < span.to) return span.from;
  }
  return std::nullopt;
}

int nearest_mark(const std::vector<Mark>& marks, Nanos at) noexcept {
  if (marks.empty()) return -1;
  const auto after = std::ranges::upper_bound(marks, at, {}, &Mark::t_request);
  return after == marks.begin() ? 0 : static_cast<int>(after - marks.begin()) - 1;
}

}  // namespace lb::traffic
