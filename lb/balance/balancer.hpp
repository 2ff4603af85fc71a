// Choosing a backend. One Balancer a set of backends, shared by all workers of a generation: every method
// is thread-safe and lock-free or nearly so. Knows weights, load and who is put aside; knows no sockets.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lb/base/time.hpp"

namespace lb {

inline constexpr std::uint32_t kNoBackend = ~0U;
inline constexpr std::size_t kBackendsMax = 100'000;
inline constexpr Duration kAsideMin = std::chrono::seconds{1};
inline constexpr Duration kAsideMax = std::chrono::seconds{30};

/// Load and standing of one backend, written by the proxy, read by the algorithms. One cache line each, so
/// that workers do not disturb each other.
struct alignas(64) BackendState {
  std::atomic<std::uint32_t> in_flight{0};        // requests and tunnels now, over all workers
  std::atomic<std::int64_t> aside_until_ns{0};    // Instant as ns: not picked before, unless all are aside
  std::atomic<std::uint32_t> failures_in_row{0};  // since the last success; a burst counts once
};

struct BackendTraits {
  std::uint32_t weight = 1;           // 0: never picked
  std::uint32_t max_connections = 0;  // 0: no limit
  std::uint64_t identity = 0;         // hash of the name: hashing algorithms go by this, never by position
};

struct PickContext {
  Instant now;
  std::uint64_t client_hash = 0;              // of the client's address, for ip_hash
  std::uint64_t random = 0;                   // a fresh number, for random and least_connections
  std::span<const std::uint32_t> tried = {};  // backends that failed this request already
};

enum class PickResult : std::uint8_t {
  picked,
  busy,  // every backend that could serve is at max_connections: 503
  none,  // all were tried, or none has weight: 502/503
};

struct Pick {
  PickResult result = PickResult::none;
  std::uint32_t backend = kNoBackend;
};

enum class BalanceAlgorithm : std::uint8_t {
  round_robin,
  weighted_round_robin,
  least_connections,
  ip_hash,
  random
};

class Balancer {
 public:
  virtual ~Balancer() = default;

  /// At most kBackendsMax backends. `states[i]` belongs to `traits[i]` and outlives the balancer.
  ///
  /// round_robin           in turn; a weight other than 0 makes no difference.
  /// weighted_round_robin  smooth (nginx's order: 3,2 gives a b a b a; 5,1,1 gives a a b a c a a) and exact
  ///                       over all workers. See smooth_schedule.hpp for weights without a small common sum.
  /// least_connections     the least in_flight/weight, ties by rotation; above kFullScanMax backends the
  ///                       best of kSamples drawn by weight.
  /// ip_hash               by client_hash and identity, weighted; the order of the list does not matter and
  ///                       a backend that leaves moves only its own clients. See slot_owners.hpp.
  /// random                by weight.
  ///
  /// A pick costs O(1) (least_connections and ip_hash: O(n) for small n, bounded) while most of the weight
  /// can serve. Otherwise, when 64 candidates in a row cannot, one pass over all backends decides.
  static std::unique_ptr<Balancer> create(BalanceAlgorithm algorithm, std::vector<BackendTraits> traits,
                                          std::span<BackendState> states);

  /// Chooses and, when picked, has incremented in_flight already (so that two workers cannot pass
  /// max_connections together); the caller calls release(). A backend set aside is chosen only when every
  /// untried one is aside (then the one whose time ends first); as long as another one is merely full the
  /// answer is `busy`.
  virtual Pick pick(const PickContext& context) noexcept = 0;

  void release(std::uint32_t backend) noexcept {
    states_[backend].in_flight.fetch_sub(1, std::memory_order_relaxed);
  }

  /// Connecting failed: aside for kAsideMin, doubled for each further failure in a row, at most kAsideMax.
  /// Failures reported while the backend is aside already change nothing: forty requests that are refused in
  /// the same millisecond are one failure.
  void report_failure(std::uint32_t backend, Instant now) noexcept;
  /// Connecting worked: the row of failures ends, and so does the time aside that it caused.
  void report_success(std::uint32_t backend) noexcept;

 protected:
  explicit Balancer(std::span<BackendState> states) noexcept : states_(states) {}
  std::span<BackendState> states_;
};

}  // namespace lb
