// ReloadLedger: the report of each reload: what was asked, how long each step took, what became of the
// connections of the generation that it replaced, what the kernel lost meanwhile. The last kKept are
// remembered. A record is whole when the generation that was replaced has ended (or ended its drain) and the
// listeners were tried; until then it says what is known. Pure; one thread: the supervisor's.
#pragma once

#include <cstdint>
#include <deque>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lb/base/time.hpp"
#include "lb/config/diff.hpp"
#include "lb/observe/kernel_counters.hpp"
#include "lb/supervisor/messages.hpp"

namespace lb {

/// Who asked for a reload.
enum class ReloadCause : std::uint8_t { signal, control, watch, rollback };
const char* cause_name(ReloadCause cause) noexcept;

/// When a reload came to its steps. Empty: it did not, or not yet.
struct ReloadTimes {
  Instant asked{};
  std::optional<Instant> spawned{};   // its process was started
  std::optional<Instant> loaded{};    // its configuration is valid
  std::optional<Instant> ready{};     // it accepts
  std::optional<Instant> switched{};  // the old one accepts no more
  std::optional<Instant> probed{};    // the listeners were tried
  std::optional<Instant> drained{};   // the old one has no connection left
  std::optional<Instant> gone{};      // its process has ended
};

struct ReloadRecord {
  std::int64_t number = 0;  // counts the reloads of this supervisor, from 1; given by add()
  ReloadCause cause = ReloadCause::signal;
  std::int64_t from = 0;  // generations; 0: none
  std::int64_t to = 0;
  bool applied = false;
  bool rollback = false;
  std::string config{};  // hash
  std::string reason{};
  std::uint64_t duration_us = 0;        // from the start of the process to the answer
  std::vector<PhaseDuration> phases{};  // as the new generation measured them
  std::vector<std::string> warnings{};
  std::vector<ConfigChange> changes{};  // only when applied
  std::uint64_t changes_total = 0;
  std::int64_t unix_time_s = 0;

  ReloadTimes times{};
  std::optional<std::vector<ListenerProbe>> probes{};
  std::optional<DrainingMessage> at_switch{};  // what the old generation had then
  std::optional<DrainedMessage> drained{};
  std::string ended{};  // how the old generation's process did; "" while it lives
  KernelCounters kernel_before{};
  KernelCounters kernel_after{};

  /// Nothing will be added any more.
  [[nodiscard]] bool whole() const noexcept {
    return !applied || from == 0 || drained.has_value() || !ended.empty();
  }
};

class ReloadLedger final {
 public:
  static constexpr std::size_t kKept = 32;

  ReloadRecord& add(ReloadRecord record);

  // What happens after the answer. Each finds the reload that it belongs to; one that is not remembered (any
  // more) is passed over.
  void drained(std::int64_t generation, Instant now, const DrainedMessage& report,
               const KernelCounters& kernel);
  void ended(std::int64_t generation, Instant now, const std::string& how, const KernelCounters& kernel);
  void probed(std::int64_t generation, Instant now, std::vector<ListenerProbe> probes);

  /// Takes over what a former supervisor remembered, json() of its ledger. What is no such text, or no
  /// record, is left out. Numbers go on from there; nothing is added to these any more.
  void restore(std::string_view json);

  /// All, those restored too, the newest first; or the one of that number, if it is remembered.
  [[nodiscard]] nlohmann::ordered_json json(std::int64_t number = 0) const;
  /// The newest first, without those restored.
  [[nodiscard]] const std::deque<ReloadRecord>& records() const noexcept { return records_; }
  /// nullptr when it is not remembered.
  [[nodiscard]] const ReloadRecord* find(std::int64_t number) const noexcept;

 private:
  /// The last applied reload that replaced `generation`.
  [[nodiscard]] ReloadRecord* that_replaced(std::int64_t generation) noexcept;

  struct Restored {
    std::int64_t number = 0;
    std::string json{};
  };

  std::deque<ReloadRecord> records_;
  std::vector<Restored> restored_;  // the newest first
  std::int64_t last_number_ = 0;
};

/// The keys are documented in lb/README.md, "The ledger of a reload".
nlohmann::ordered_json reload_json(const ReloadRecord& record);
/// Without what only the ledger tells: for the history in `lb status`.
nlohmann::ordered_json reload_summary_json(const ReloadRecord& record);

}  // namespace lb
