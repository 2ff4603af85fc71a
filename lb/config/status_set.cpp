#include "lb/config/status_set.hpp"

#include <charconv>

namespace lb {
namespace {

std::string_view without_blanks(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

std::optional<std::uint16_t> status_of(std::string_view text) {
  text = without_blanks(text);
  std::uint16_t status = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), status);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  if (!whole || status < StatusSet::kFirst || status > StatusSet::kLast) return std::nullopt;
  return status;
}

}  // namespace

std::optional<StatusSet> StatusSet::parse(std::string_view text) {
  StatusSet set;
  for (bool more = true; more;) {
    const std::size_t comma = text.find(',');
    more = comma != std::string_view::npos;
    const std::string_view part = text.substr(0, comma);
    const std::size_t dash = part.find('-');
    const auto first = status_of(part.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : status_of(part.substr(dash + 1));
    if (!first || !last || *first > *last) return std::nullopt;
    for (std::uint16_t status = *first; status <= *last; ++status) set.members_.set(status - kFirst);
    if (more) text.remove_prefix(comma + 1);
  }
  return set;
}

}  // namespace lb
