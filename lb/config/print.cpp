// config_print: the effective configuration as a file.
#include "lb/config/config.hpp"
#include "lb/config/keys.hpp"
#include "lb/config/wording.hpp"

namespace lb {
namespace {

void append_value(std::string& out, const KeySpec& key, void* owner);

/// One line: {"host": "127.0.0.1", "port": 9001}
void append_object(std::string& out, const Section& section, void* owner) {
  out += '{';
  bool first = true;
  for (const KeySpec& key : section.keys) {
    if (key.printed != nullptr && !key.printed(owner)) continue;
    if (!first) out += ", ";
    first = false;
    append_json_string(out, key.name);
    out += ": ";
    append_value(out, key, owner);
  }
  out += '}';
}

void append_value(std::string& out, const KeySpec& key, void* owner) {
  if (key.section == nullptr) {
    out += value_json(key, key.slot(owner));
    return;
  }
  const std::size_t count = key.children.size(owner);
  if (key.type != KeyType::objects) {
    if (count == 0) {
      out += "null";
    } else {
      append_object(out, *key.section, key.children.at(owner, 0));
    }
    return;
  }
  out += '[';
  for (std::size_t i = 0; i < count; ++i) {
    out += i == 0 ? "\n    " : ",\n    ";
    append_object(out, *key.section, key.children.at(owner, i));
  }
  out += count == 0 ? "]" : "\n  ]";
}

}  // namespace

std::string config_print(const Config& config) {
  auto* owner = const_cast<Config*>(&config);  // slots point to mutable members; they are only read here
  std::string out = "{";
  for (const KeySpec& key : config_section().keys) {
    if (key.printed != nullptr && !key.printed(owner)) continue;
    out += out.size() == 1 ? "\n  " : ",\n  ";
    append_json_string(out, key.name);
    out += ": ";
    append_value(out, key, owner);
  }
  return out + "\n}\n";
}

}  // namespace lb
