// StateKeeper: the supervisor's part of the state that outlives generations (lb/state): makes the memory
// file, gives each generation its place in it, adds up what ended ones counted, and takes over the memory of
// a former supervisor. Without it (no memory file can be had) generations share nothing, and the log says so.
// One thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "lb/base/fd.hpp"
#include "lb/observe/event_log.hpp"
#include "lb/state/segment.hpp"
#include "lb/state/shared_memory.hpp"

namespace lb {

class StateKeeper final {
 public:
  /// `seed`: of what clients could otherwise compute: which of them share a bucket of the rate limit.
  StateKeeper(EventLog& log, std::uint64_t seed);

  [[nodiscard]] bool available() const noexcept { return segment_.has_value(); }
  /// To pass on; -1 when there is none.
  [[nodiscard]] int fd() const noexcept { return memory_ ? memory_->fd() : -1; }

  /// A place for generation `number`, before it starts to use the memory; negative: there is none, and it
  /// shares nothing.
  [[nodiscard]] std::int64_t admit(std::int64_t number);
  /// It came to serve.
  void serves(std::int64_t number);
  /// Its process is gone: what it counted is added to the totals, what else it left is cleared. `serving` is
  /// the generation whose health checks count from now on, if they were those of the one that ended.
  void ended(std::int64_t number, std::optional<std::int64_t> serving);
  /// Places of processes that are gone without anybody telling: those of a former supervisor.
  void sweep();

  /// Memory that a generation of a former supervisor brings. Of this version: it is used from now on, with
  /// all totals. Of another: what both know by name is carried over, and the log says what is not. True: the
  /// generation that brought it shares the memory with those to come.
  /// A further generation that brings the same one is only noted.
  bool adopt(Fd fd, std::int64_t number);

  // ---- for the status ----

  /// Whether what generation `number` counts is seen here; if not it has to be asked.
  [[nodiscard]] bool shares(std::int64_t number) const { return slots_.contains(number); }
  /// Of all generations that have shared it, those that serve now included, by name. Gauges are those of now.
  [[nodiscard]] std::map<std::string, std::uint64_t> counters();
  /// The same of one backend.
  [[nodiscard]] BackendTotals backend(std::uint32_t entry);
  /// Backends that are known.
  [[nodiscard]] std::uint32_t entries() const noexcept;

 private:
  bool note(std::int64_t number);
  void end_slot(std::uint32_t slot);
  [[nodiscard]] const state::Mapping* block_of(std::uint32_t slot);

  EventLog& log_;
  std::optional<state::SharedMemory> memory_;
  std::optional<state::Segment> segment_;
  std::map<std::int64_t, std::uint32_t> slots_;     // by generation
  std::map<std::uint32_t, state::Mapping> blocks_;  // by slot, mapped when first looked at
};

}  // namespace lb
