// The comparison of both sides' ledgers: what really became of each request. Owns the mapped files and
// everything that reports are made from. One thread; not for live use.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "harness/traffic/marks.hpp"
#include "harness/traffic/outcome.hpp"
#include "harness/traffic/records.hpp"
#include "lb/base/result.hpp"

namespace lb::traffic {

struct JudgeOptions {
  std::vector<std::string> traffic;
  std::vector<std::string> backends;
  std::vector<Mark> marks;
  bool removed_counts_connection = false;  // --removed connection
  bool excuse_faults = false;              // --excuse-faults
};

/// One request of the traffic side, with tables unified over all files.
struct Item {
  const TrafficRecord* record = nullptr;
  std::uint32_t connection = 0;  // unique over all files
  std::uint16_t stream = 0;
  std::uint16_t backend = kNone16;
  std::uint16_t label = kNone16;
  Outcome outcome = Outcome::ok;
  Detail detail = Detail::none;
  bool inside = false;
};

/// One record of the backends' side; sorted by nonce.
struct Sighting {
  std::uint64_t nonce = 0;
  const BackendRecord* record = nullptr;
  std::uint16_t backend = 0;
};

struct StreamName {
  std::string name;
  Kind kind = Kind::keepalive;
};

struct Comparison {
  std::uint64_t answered = 0, backend_records = 0, answered_not_seen = 0, seen_not_answered = 0,
                seen_not_sent = 0;
  std::uint64_t seen_twice = 0, retried = 0, duplicated = 0, request_body_wrong = 0;
  std::uint64_t backend_disagrees = 0, status_disagrees = 0;
};

struct RemovedUse {
  std::uint64_t requests = 0;
  std::uint64_t on_new_connections = 0;
  std::map<std::string, std::uint64_t> by_backend;
};

enum class Verdict : std::uint8_t { zero_drops, drops, cannot_judge };

class Case final {
 public:
  /// Fails when a file is missing or damaged.
  static Result<std::unique_ptr<Case>> open(JudgeOptions options);

  /// Fills in everything below.
  void compare();

  /// The sightings of one nonce, in order of time.
  [[nodiscard]] std::vector<const Sighting*> sightings_of(std::uint64_t nonce) const;
  [[nodiscard]] Verdict verdict() const;
  [[nodiscard]] std::vector<std::string> doubts() const;
  [[nodiscard]] std::uint64_t count(Outcome outcome) const noexcept {
    return outcomes[static_cast<std::size_t>(outcome)];
  }
  [[nodiscard]] std::uint64_t drops() const noexcept;
  /// Requests; all but local errors.
  [[nodiscard]] std::uint64_t attempts() const noexcept {
    return items.size() - count(Outcome::local_error) - count(Outcome::closed_idle);
  }

  JudgeOptions options;
  std::vector<Item> items;
  std::vector<Sighting> sightings;
  std::vector<StreamName> streams;
  std::vector<std::string> backends;
  std::vector<std::string> labels;
  std::vector<std::uint64_t> backend_seen, backend_completed, backend_answered;
  std::array<std::uint64_t, kOutcomes> outcomes = {};
  Comparison comparison;
  RemovedUse removed;
  std::uint32_t connections = 0;  // highest connection number
  Nanos t_begin = 0;
  Nanos t_end = 0;
  std::uint64_t seed = 0;
  std::string target;
  std::string reason;
  bool backend_ledger_full = false;

 private:
  Case() = default;
  Result<void> load_traffic(const std::string& path);
  Result<void> load_backends(const std::string& path);
  void compare_one(Item& item, const Sighting* first, const Sighting* last);
  [[nodiscard]] static bool is_excusable(const Item& item, const Sighting* first,
                                         const Sighting* last) noexcept;
  void excuse_pipelined();
  void check_removed(Item& item, const Sighting* first, const Sighting* last, const Removals& removals);

  std::vector<std::unique_ptr<LedgerFile<TrafficRecord>>> traffic_files_;
  std::vector<std::unique_ptr<LedgerFile<BackendRecord>>> backend_files_;
};

}  // namespace lb::traffic
