// ConnectionCounter: how many connections each client has open, shared by all workers of a generation. Taken
// once when a connection is accepted and once when it ends; never for a request. Any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>

namespace lb {

class ConnectionCounter final {
 public:
  /// `per_client_max`: at least 1.
  explicit ConnectionCounter(std::uint32_t per_client_max) noexcept : per_client_max_(per_client_max) {}

  /// Counts one more for `client`, unless it has the maximum already: then false, and nothing is counted.
  bool try_add(std::uint64_t client);
  /// Counts one more whatever the maximum: a connection that another generation had accepted.
  void add(std::uint64_t client);
  /// One that was counted has ended.
  void remove(std::uint64_t client) noexcept;

  /// Clients with a connection open.
  [[nodiscard]] std::size_t clients() const;

 private:
  struct alignas(64) Shard {
    mutable std::mutex mutex;
    std::unordered_map<std::uint64_t, std::uint32_t> open;  // no entry is 0
  };
  static constexpr std::size_t kShards = 64;
  [[nodiscard]] Shard& shard_of(std::uint64_t client) noexcept { return shards_[client % kShards]; }

  const std::uint32_t per_client_max_;
  std::array<Shard, kShards> shards_;
};

}  // namespace lb
