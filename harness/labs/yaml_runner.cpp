// The runner of exercise 10.4. {"do": "read", "text": YAML} returns {"tree": ...} or {"error": {line, column,
// path, message}}; bytes that are no UTF-8 come as {"hex": "..."} in place of "text". {"do": "read",
// "repeat": [[TEXT, N],
// ...]} builds a big text here, so that it need not go over the wire; "brief": true answers {"tree": null}.
// {"do": "config", "text": TEXT, "format": "yaml"} returns {"errors": TEXT} or {"config": the effective
// configuration}.
#include "harness/labs/wire.hpp"
#include "lb/config/config.hpp"
#include "lb/config/yaml_reader.hpp"

namespace {

using Json = nlohmann::json;

Json tree_of(const lb::Node& node) {
  static constexpr const char* kKinds[] = {"null", "boolean", "integer", "real", "text", "array", "object"};
  const auto kind = static_cast<std::size_t>(node.kind);
  Json children = Json::array();
  for (const lb::Node& child : node.children) children.push_back(tree_of(child));
  return {{"kind", kind < 7 ? kKinds[kind] : "?"},
          {"text", node.text},
          {"key", node.key},
          {"line", node.at.line},
          {"column", node.at.column},
          {"key_line", node.key_at.line},
          {"key_column", node.key_at.column},
          {"children", std::move(children)}};
}

std::string text_of(const Json& request) {
  std::string text;
  if (request.contains("hex")) {
    const std::string hex = request.at("hex").get<std::string>();
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
      text += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    }
  } else if (request.contains("repeat")) {
    for (const Json& piece : request.at("repeat")) {
      const std::string part = piece.at(0).get<std::string>();
      for (std::size_t i = piece.at(1).get<std::size_t>(); i > 0; --i) text += part;
    }
  } else {
    text = request.at("text").get<std::string>();
  }
  return text;
}

Json read(const Json& request) {
  const auto tree = lb::read_yaml(text_of(request));
  if (tree) return {{"tree", request.value("brief", false) ? Json{} : tree_of(*tree)}};
  const lb::ConfigError& error = tree.error();
  return {
      {"error",
       {{"line", error.line}, {"column", error.column}, {"path", error.path}, {"message", error.message}}}};
}

Json config(const Json& request) {
  const bool yaml = request.value("format", "yaml") == "yaml";
  const auto loaded =
      lb::config_parse(text_of(request), yaml ? lb::ConfigFormat::yaml : lb::ConfigFormat::json);
  if (loaded) return {{"config", lb::config_print(*loaded->config)}};
  return {{"errors", loaded.error().text(yaml ? "lb.yaml" : "lb.json")}};
}

}  // namespace

int main(int argc, char** argv) {
  return lb::labs::Wire{argc, argv}.serve(
      [](const Json& request) { return request.at("do") == "read" ? read(request) : config(request); });
}
