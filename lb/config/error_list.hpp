// Collects the faults of a file: keeps the first kConfigErrorsMax in the order of the file, counts the rest,
// so that a file of a million faults costs no more to report than one of a hundred. One thread.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "lb/config/config.hpp"

namespace lb {

class ErrorList final {
 public:
  void add(ConfigError error);
  void add_uncounted(std::uint64_t more) { total_ += more; }
  [[nodiscard]] std::uint64_t total() const { return total_; }
  /// Call once; at least one fault must have been added.
  [[nodiscard]] ConfigErrors take();

 private:
  void keep_first();
  std::vector<ConfigError> kept_;
  std::uint64_t total_ = 0;
};

}  // namespace lb
