// GenerationState: one generation's part of the shared state: what its workers count, and the entries of its
// backends. Where nothing is shared (a test, a service whose memory file could not be had) it is the same in
// memory of its own. Owned by the Proxy's creator; the claims by one thread, what they lead to by any.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lb/balance/backend_states.hpp"
#include "lb/base/result.hpp"
#include "lb/state/segment.hpp"
#include "lb/state/shared_memory.hpp"

namespace lb::state {

class GenerationState final {
 public:
  /// Shared with nobody.
  static Result<std::shared_ptr<GenerationState>> alone(std::uint32_t workers, std::uint64_t seed);
  /// With others, in `slot`. `fd` is the memory file. Fails when it is not of this version, say.
  static Result<std::shared_ptr<GenerationState>> join(Fd fd, std::uint32_t slot, std::int64_t number,
                                                       std::uint32_t workers);
  /// Like `alone`, with what is known there by name; `afresh` names what is not.
  static Result<std::shared_ptr<GenerationState>> leave(Fd fd, std::uint32_t workers, std::uint64_t seed,
                                                        std::vector<std::string>& afresh);

  [[nodiscard]] bool shared() const noexcept { return memory_ != nullptr; }
  [[nodiscard]] int fd() const noexcept { return memory_ == nullptr ? -1 : memory_->fd(); }
  [[nodiscard]] const Segment& segment() const noexcept { return segment_; }
  [[nodiscard]] std::uint32_t workers() const noexcept { return workers_; }
  [[nodiscard]] Counters& counters(std::uint32_t worker) const noexcept { return block_.counters(worker); }

  /// The backends of a configuration, by position.
  struct Backends {
    StatesInUse states{};
    std::vector<Entry*> entries{};
    std::vector<std::vector<BackendCounts*>> counts{};  // by worker
    std::vector<bool> fresh{};             // nobody knew it, though the service has served before
    std::vector<std::uint32_t> numbers{};  // in the segment; kNoEntry: in memory of our own
    bool first = false;                    // of this generation: nothing is counted yet
    std::size_t unshared = 0;              // so many have no place there
  };
  /// Lives as long as this. `identities` are different.
  Backends claim(std::span<const Identity> identities);

  /// From now on the health checks of this generation count, and those of others do not.
  void take_over_checks() const noexcept;
  [[nodiscard]] bool checks_count() const noexcept;

 private:
  GenerationState(std::unique_ptr<SharedMemory> memory, Mapping main, Segment segment, Mapping block,
                  std::uint32_t slot, std::int64_t number, std::uint32_t workers);

  std::unique_ptr<SharedMemory> memory_;  // null: it is ours alone
  Mapping main_;                          // then
  Mapping block_memory_;
  Segment segment_;
  Block block_;
  std::uint32_t slot_;
  std::uint64_t number_;
  std::uint32_t workers_;
  bool claimed_ = false;
  // Backends for which the segment has no room.
  std::deque<Entry> own_entries_;
  std::deque<std::vector<BackendCounts>> own_counts_;
};

}  // namespace lb::state
