// Any bytes as YAML: an answer without a crash, in bounded time. What is refused is explained with a position
// that the text has, in our own words; what is read keeps to the limits, and every position in it is one of
// the text.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "lb/config/config.hpp"
#include "lb/config/yaml_reader.hpp"

namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

struct Check {
  std::uint32_t lines = 1;
  std::size_t values = 0;

  void node(const lb::Node& node, std::uint32_t depth) {
    using Kind = lb::Node::Kind;
    const bool collection = node.kind == Kind::array || node.kind == Kind::object;
    require(depth + (collection ? 1 : 0) <= lb::kConfigNestingMax, "nesting is limited");
    require(++values <= lb::kConfigValuesMax, "values are limited");
    require(node.at.line >= 1 && node.at.line <= lines && node.at.column >= 1, "a position in the text");
    require(collection || node.children.empty(), "only a collection has children");
    require(collection || node.kind == Kind::text || !node.text.empty(), "a scalar has a spelling");
    for (const lb::Node& child : node.children) {
      require(child.key_at.line <= lines, "a key's position in the text");
      Check::node(child, depth + 1);
    }
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  const auto lines = static_cast<std::uint32_t>(1 + std::count(text.begin(), text.end(), '\n'));
  const auto tree = lb::read_yaml(text);
  if (tree) {
    Check{.lines = lines}.node(*tree, 0);
  } else {
    const lb::ConfigError& error = tree.error();
    require(error.line >= 1 && error.line <= lines && error.column >= 1, "an error has a position");
    require(error.message.starts_with("found "), "the words are ours");
  }
  const lb::ConfigResult config = lb::config_parse(text, lb::ConfigFormat::yaml);
  if (config) {
    const lb::ConfigResult again =
        lb::config_parse(lb::config_print(*config->config), lb::ConfigFormat::yaml);
    require(again && *again->config == *config->config, "printed as JSON and read as YAML, so equal");
  }
  return 0;
}
