// config_validate: the key table's ranges and the rules between values, for a Config however made.
#include "lb/config/config.hpp"
#include "lb/config/keys.hpp"
#include "lb/config/rules.hpp"
#include "lb/config/tree.hpp"

namespace lb {
namespace {

void check_ranges(const Section& section, void* owner, const Place& place, std::vector<ConfigError>& errors) {
  for (const KeySpec& key : section.keys) {
    const Place here = place.member(key.name);
    if (key.section != nullptr) {
      const bool array = key.type == KeyType::objects || key.type == KeyType::listen;
      for (std::size_t i = 0; i < key.children.size(owner); ++i) {
        check_ranges(*key.section, key.children.at(owner, i), array ? here.element(i) : here, errors);
      }
      continue;
    }
    if (key.slot == nullptr || (key.printed != nullptr && !key.printed(owner))) continue;
    auto fault = value_fault(key, key.slot(owner));
    if (!fault.empty()) errors.push_back({.path = here.pointer(), .message = std::move(fault)});
  }
}

}  // namespace

std::vector<ConfigError> config_validate(const Config& config) {
  std::vector<ConfigError> errors;
  // Slots point to mutable members; they are only read here.
  check_ranges(config_section(), const_cast<Config*>(&config), Place{}, errors);
  check_rules(config, {}, [&](std::string pointer, std::string message) {
    errors.push_back({.path = std::move(pointer), .message = std::move(message)});
  });
  return errors;
}

}  // namespace lb
