// Any bytes: an answer without a crash. What is accepted is valid by config_validate too and prints as a file
// that reads back as an equal Config; what is refused is explained, with a position, in our own words.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "lb/config/config.hpp"

namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

/// Neither empty nor the JSON library's.
bool in_our_words(std::string_view message) {
  return message.starts_with("found ") || message.starts_with("missing key") ||
         message.starts_with("unknown key") || message.starts_with("duplicate ");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  const lb::ConfigResult result = lb::config_parse(text);
  if (result) {
    require(lb::config_validate(*result->config).empty(), "accepted, so valid");
    const lb::ConfigResult again = lb::config_parse(lb::config_print(*result->config));
    require(again.has_value(), "printed, so readable");
    require(*again->config == *result->config, "read back, so equal");
    return 0;
  }
  require(!result.error().errors.empty(), "refused, so explained");
  for (const lb::ConfigError& error : result.error().errors) {
    require(error.line > 0 && error.column > 0, "an error has a position");
    require(in_our_words(error.message), "the words are ours");
    require(error.message != "found a text that cannot be read", "every fault can be explained");
  }
  // One line an error: what the file holds cannot forge another.
  const std::string shown = result.error().text("f");
  std::size_t lines = 1;
  for (const char c : shown) lines += c == '\n' ? 1 : 0;
  require(lines == result.error().errors.size() + (result.error().suppressed > 0 ? 1 : 0),
          "one line an error");
  return 0;
}
