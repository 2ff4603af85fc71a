// RecentTraffic: what each backend answered in the last minutes, over all generations, made out of their
// status messages; for `lb plan`. In steps of kStep, so "the last minute" may reach back one step more. Pure;
// one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "lb/reload/machine.hpp"
#include "lb/supervisor/messages.hpp"

namespace lb {

class RecentTraffic final {
 public:
  static constexpr auto kStep = std::chrono::seconds{5};
  static constexpr std::size_t kSteps = 60;  // five minutes
  static constexpr std::size_t kBackendsMax =
      4096;  // remembered; further ones are not told apart from idle ones

  /// A status of generation `id`. What one that was `adopted` had counted before the first is not of these
  /// minutes.
  void observe(Instant now, GenerationId id, bool adopted, const StatusMessage& status);
  void forget(GenerationId id);

  struct Window {
    std::uint64_t last_minute = 0;
    std::uint64_t last_five_minutes = 0;
  };
  /// Requests brought to an end at the backend of that name and address.
  [[nodiscard]] Window of(Instant now, const std::string& name, const std::string& endpoint) const;
  /// Of all backends, those that are configured no more too.
  [[nodiscard]] Window total(Instant now) const;
  /// For how long it has been observed, at most kStep * kSteps.
  [[nodiscard]] Duration observed(Instant now) const;

 private:
  using Name = std::pair<std::string, std::string>;  // and endpoint
  /// A ring: the step of number n is at n % kSteps, as long as it is not older than kSteps.
  struct Counts {
    std::array<std::uint64_t, kSteps> steps{};
    std::int64_t newest = 0;  // step number
    [[nodiscard]] Window window(std::int64_t now_step) const;
    void add(std::int64_t step, std::uint64_t requests);
  };
  [[nodiscard]] static std::int64_t step_of(Instant now) noexcept { return now.time_since_epoch() / kStep; }
  void make_room(std::int64_t step);

  std::map<Name, Counts> backends_;
  Counts total_;
  std::map<GenerationId, std::map<Name, std::uint64_t>> last_;  // counts of each generation when last seen
  Instant since_ = kNever;
};

}  // namespace lb
