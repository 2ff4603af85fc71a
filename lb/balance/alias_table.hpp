// AliasTable: draws a backend in proportion to its weight, with one random number and one cache line.
// Immutable. Source: Vose, "A linear algorithm for generating random numbers with a given distribution"
// (1991).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lb/balance/backend_state.hpp"

namespace lb {

class AliasTable final {
 public:
  AliasTable() = default;  // empty
  /// `backends` are positions in `traits`, each with a weight above 0. Probabilities are exact to 2^-32.
  AliasTable(std::span<const std::uint32_t> backends, std::span<const BackendTraits> traits);

  [[nodiscard]] bool empty() const noexcept { return columns_.empty(); }
  /// `random` is uniform over 64 bits; the table must not be empty.
  [[nodiscard]] std::uint32_t draw(std::uint64_t random) const noexcept {
    const Column& column = columns_[((random >> 32U) * columns_.size()) >> 32U];
    return static_cast<std::uint32_t>(random) < column.share ? column.own : column.other;
  }

 private:
  struct Column {
    std::uint32_t own = 0;
    std::uint32_t other = 0;
    std::uint32_t share = 0;  // of `own`, in 2^-32
  };
  std::vector<Column> columns_;
};

}  // namespace lb
