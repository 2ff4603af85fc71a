// What differs between two configurations: by identity (a backend's name, a listener's address, a key's
// path), never by position, on effective values, so that a default written out is no change. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lb/config/config.hpp"

namespace lb {

struct ConfigChange {
  enum class Kind : std::uint8_t { added, removed, changed };
  Kind kind = Kind::changed;
  std::string path{};    // "/backends/b1/weight", "/listen"
  std::string before{};  // JSON; empty when added
  std::string after{};   // JSON; empty when removed
  /// "+ PATH: AFTER", "- PATH: BEFORE", "~ PATH: BEFORE -> AFTER".
  [[nodiscard]] std::string text() const;
  friend bool operator==(const ConfigChange&, const ConfigChange&) = default;
};

/// In the order of the key table; within a list, removals and changes first, then what is new.
std::vector<ConfigChange> config_diff(const Config& before, const Config& after);

}  // namespace lb
