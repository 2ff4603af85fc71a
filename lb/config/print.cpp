// config_print: the effective configuration as a file.
#include "lb/config/config.hpp"
#include "lb/config/keys.hpp"
#include "lb/config/wording.hpp"

namespace lb {
namespace {

/// Lists of objects have a line for each; everything else stands on one.
std::string shown_value(const KeySpec& key, void* owner) {
  if (key.type != KeyType::objects) return key_json(key, owner);
  std::string out = "[";
  const std::size_t count = key.children.size(owner);
  for (std::size_t i = 0; i < count; ++i) {
    out += i == 0 ? "\n    " : ",\n    ";
    out += members_json(*key.section, key.children.at(owner, i));
  }
  return out + (count == 0 ? "]" : "\n  ]");
}

}  // namespace

std::string config_print(const Config& config) {
  auto* owner = const_cast<Config*>(&config);  // slots point to mutable members; they are only read here
  std::string out = "{";
  for (const KeySpec& key : config_section().keys) {
    if (key.printed != nullptr && !key.printed(owner)) continue;
    out += out.size() == 1 ? "\n  " : ",\n  ";
    append_json_string(out, key.name);
    out += ": " + shown_value(key, owner);
  }
  return out + "\n}\n";
}

}  // namespace lb
