#include "lb/config/error_list.hpp"

#include <algorithm>
#include <tuple>

#include "lb/base/result.hpp"
#include "lb/config/wording.hpp"

namespace lb {
namespace {

constexpr std::size_t kShownPathMax = 200;

}  // namespace

void ErrorList::add(ConfigError error) {
  ++total_;
  kept_.push_back(std::move(error));
  // Faults come nearly, not quite, in the order of the file: a missing key is noticed at an object's end.
  if (kept_.size() == std::size_t{4} * kConfigErrorsMax) keep_first();
}

void ErrorList::keep_first() {
  std::ranges::sort(kept_, {},
                    [](const ConfigError& e) { return std::tie(e.line, e.column, e.path, e.message); });
  if (kept_.size() > kConfigErrorsMax) kept_.resize(kConfigErrorsMax);
}

ConfigErrors ErrorList::take() {
  LB_ASSERT(!kept_.empty());
  keep_first();
  const std::uint64_t suppressed = total_ - kept_.size();
  return {.kind = ConfigErrors::Kind::invalid, .errors = std::move(kept_), .suppressed = suppressed};
}

std::string ConfigErrors::text(std::string_view file) const {
  std::string out;
  const auto begin_line = [&] {
    if (!out.empty()) out += '\n';
    out += file;
    out += ':';
  };
  for (const ConfigError& error : errors) {
    if (kind != Kind::unreadable) {
      if (!out.empty()) out += '\n';
      out += config_error_line(file, error);
      continue;
    }
    begin_line();
    out += ' ' + error.message;
  }
  if (suppressed > 0) {
    begin_line();
    out += " and " + grouped(suppressed) + (suppressed == 1 ? " more error" : " more errors");
  }
  return out;
}

std::string config_error_line(std::string_view file, const ConfigError& error) {
  std::string out{file};
  out += ':';
  if (error.line > 0) out += std::to_string(error.line) + ":" + std::to_string(error.column) + ":";
  out += ' ';
  out += error.path.empty() ? "/" : printable(error.path, kShownPathMax);
  return out + ": " + error.message;
}

}  // namespace lb
