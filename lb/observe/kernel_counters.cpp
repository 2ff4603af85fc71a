#include "lb/observe/kernel_counters.hpp"

#include <algorithm>
#include <charconv>

#include "lb/base/file.hpp"

namespace lb {
namespace {

constexpr std::size_t kFileBytesMax = 256 * 1024;

/// Takes the text before the first `separator` off `text`, and the separator.
std::string_view take(std::string_view& text, char separator) {
  const auto end = text.find(separator);
  const std::string_view taken = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  return taken;
}

std::string_view take_word(std::string_view& line) {
  std::string_view word;
  while (word.empty() && !line.empty()) word = take(line, ' ');
  return word;
}

std::optional<std::uint64_t> number(std::string_view word) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc{} || end != word.data() + word.size()) return std::nullopt;
  return value;
}

void set(KernelCounters& counters, std::string_view group, std::string_view kernel_name,
         std::optional<std::uint64_t> value) {
#define X(name, its_group, its_name) \
  if (group == (its_group) && kernel_name == (its_name)) counters.name = value;
  LB_KERNEL_COUNTERS(X)
#undef X
}

}  // namespace

KernelCounters KernelCounters::since(const KernelCounters& before) const {
  KernelCounters grown;
#define X(name, group, kernel_name) \
  if (name && before.name) grown.name = *name - std::min(*name, *before.name);
  LB_KERNEL_COUNTERS(X)
#undef X
  return grown;
}

void parse_kernel_counters(std::string_view text, KernelCounters& counters) {
  while (!text.empty()) {
    std::string_view names = take(text, '\n');
    std::string_view after = text;
    std::string_view values = take(after, '\n');
    const std::string_view group = take(names, ':');
    if (names.empty() || take(values, ':') != group) continue;  // the next line may be the names
    text = after;
    for (;;) {
      const std::string_view name = take_word(names);
      const std::string_view value = take_word(values);
      if (name.empty() || value.empty()) break;
      if (const auto parsed = number(value)) set(counters, group, name, parsed);
    }
  }
}

KernelCounters read_kernel_counters(const std::string& folder) {
  KernelCounters counters;
  for (const char* file : {"/snmp", "/netstat"}) {
    if (const auto text = read_file(folder + file, kFileBytesMax)) parse_kernel_counters(*text, counters);
  }
  return counters;
}

}  // namespace lb
