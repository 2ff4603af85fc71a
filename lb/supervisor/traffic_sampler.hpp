// TrafficSampler: makes the RollbackPolicy's samples out of the generations' status messages: what each
// backend answered before the switch, and since then in the new generation and in the ones that drain. Pure;
// one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lb/reload/machine.hpp"
#include "lb/reload/rollback.hpp"
#include "lb/supervisor/messages.hpp"

namespace lb {

class TrafficSampler final {
 public:
  /// How far back "before" reaches.
  static constexpr auto kBeforeMax = std::chrono::seconds{30};
  /// Of what is observed more often (each `lb status` does) only the newest is kept.
  static constexpr auto kEvery = std::chrono::seconds{1};

  /// A status came from generation `id`; `token` is its request's.
  void observe(Instant now, GenerationId id, const StatusMessage& status);
  /// `to` serves from now on. Statuses whose token is at most `token` were asked for before the switch.
  /// `good`: what served until now had proved good; else it says nothing about how things should be, and the
  /// "before" of its own beginning stays: one bad configuration after the other must not look like an
  /// improvement.
  void switched(GenerationId to, std::uint64_t token, bool good);
  void forget(GenerationId id);

  /// Of the generation that serves, since the switch; empty until it was observed.
  [[nodiscard]] std::vector<BackendSample> sample() const;
  [[nodiscard]] std::size_t kept() const noexcept { return history_.size(); }

 private:
  struct Count {
    std::string endpoint;
    RequestCount count;
  };
  using Counts = std::map<std::string, Count>;
  struct Snapshot {
    Instant at{};
    Counts counts;
  };
  [[nodiscard]] static Counts counts_of(const StatusMessage& status);
  [[nodiscard]] Counts recent() const;

  std::optional<GenerationId> serving_;
  std::deque<Snapshot> history_;             // of the serving one, oldest first
  Counts before_;                            // of the last one, within kBeforeMax before the switch
  std::map<GenerationId, Counts> draining_;  // since the switch
  std::uint64_t switch_token_ = 0;
};

}  // namespace lb
