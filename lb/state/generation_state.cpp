#include "lb/state/generation_state.hpp"

#include <utility>

namespace lb::state {
namespace {

constexpr Duration kLockMax = std::chrono::seconds{2};

class ClaimLock final {
 public:
  explicit ClaimLock(const SharedMemory* memory)
      : memory_(memory), had_(memory == nullptr || memory->lock(kLockMax)) {}
  ClaimLock(const ClaimLock&) = delete;
  ClaimLock& operator=(const ClaimLock&) = delete;
  ~ClaimLock() {
    if (memory_ != nullptr && had_) memory_->unlock();
  }
  [[nodiscard]] bool had() const noexcept { return had_; }

 private:
  const SharedMemory* memory_;
  bool had_;
};

}  // namespace

GenerationState::GenerationState(std::unique_ptr<SharedMemory> memory, Mapping main, Segment segment,
                                 Mapping block, std::uint32_t slot, std::int64_t number,
                                 std::uint32_t workers)
    : memory_(std::move(memory)),
      main_(std::move(main)),
      block_memory_(std::move(block)),
      segment_(segment),
      block_(block_memory_.bytes()),
      slot_(slot),
      number_(static_cast<std::uint64_t>(number)),
      workers_(workers) {
  segment_.header().slots[slot_].workers.store(workers, std::memory_order_release);
}

Result<std::shared_ptr<GenerationState>> GenerationState::alone(std::uint32_t workers, std::uint64_t seed) {
  auto main = Mapping::of(-1, 0, kMainBytes);
  if (!main) return std::unexpected(main.error());
  auto block = Mapping::of(-1, 0, block_bytes(workers));
  if (!block) return std::unexpected(block.error());
  const Segment segment = Segment::format(main->bytes(), seed);
  const auto slot = segment.admit(1);
  return std::shared_ptr<GenerationState>{
      new GenerationState{nullptr, std::move(*main), segment, std::move(*block), *slot, 1, workers}};
}

Result<std::shared_ptr<GenerationState>> GenerationState::join(Fd fd, std::uint32_t slot, std::int64_t number,
                                                               std::uint32_t workers) {
  LB_ASSERT(slot < kSlots && workers <= kWorkersMax);
  auto memory = SharedMemory::open(std::move(fd));
  if (!memory) return std::unexpected(memory.error());
  auto segment = Segment::attach(memory->main());
  if (!segment) return std::unexpected(segment.error());
  if (!memory->hold(slot)) {
    return std::unexpected(
        Error{.fault = Fault::self, .message = "another process has our part of the shared state"});
  }
  auto block = memory->map_block(slot, workers);
  if (!block) return std::unexpected(block.error());
  return std::shared_ptr<GenerationState>{
      new GenerationState{std::make_unique<SharedMemory>(std::move(*memory)),
                          {},
                          *segment,
                          std::move(*block),
                          slot,
                          number,
                          workers}};
}

Result<std::shared_ptr<GenerationState>> GenerationState::leave(Fd fd, std::uint32_t workers,
                                                                std::uint64_t seed,
                                                                std::vector<std::string>& afresh) {
  auto made = alone(workers, seed);
  if (!made) return made;
  auto memory = SharedMemory::open(std::move(fd));
  if (!memory) return std::unexpected(memory.error());
  auto carried = (*made)->segment().carry_over(memory->main());
  if (!carried) return std::unexpected(carried.error());
  afresh = std::move(*carried);
  return made;
}

GenerationState::Backends GenerationState::claim(std::span<const Identity> identities) {
  std::vector<Segment::Claim> claims(identities.size());
  if (const ClaimLock lock{memory_.get()}; lock.had()) claims = segment_.claim(identities, slot_);
  const bool known_before = segment_.header().served.load(std::memory_order_relaxed) > 0;
  Backends backends;
  backends.first = !std::exchange(claimed_, true);
  const auto lane = segment_.header().slots[slot_].lane.load(std::memory_order_relaxed);
  backends.states.shared = &segment_.header().balance;
  backends.states.lane = static_cast<unsigned>(lane % kLoadLanes);
  backends.counts.resize(workers_);
  for (auto& counts : backends.counts) counts.reserve(claims.size());
  for (const Segment::Claim& claim : claims) {
    backends.numbers.push_back(claim.entry);
    backends.fresh.push_back(known_before && claim.fresh);
    if (claim.entry != kNoEntry) {
      backends.entries.push_back(&segment_.entry(claim.entry));
      for (std::uint32_t i = 0; i < workers_; ++i) {
        backends.counts[i].push_back(&block_.rows(i)[claim.entry]);
      }
    } else {
      ++backends.unshared;
      backends.entries.push_back(&own_entries_.emplace_back());
      auto& counts = own_counts_.emplace_back(workers_);
      for (std::uint32_t i = 0; i < workers_; ++i) backends.counts[i].push_back(&counts[i]);
    }
    backends.states.at.push_back(&backends.entries.back()->state);
  }
  return backends;
}

void GenerationState::take_over_checks() const noexcept {
  segment_.header().checker.store(number_, std::memory_order_release);
}

bool GenerationState::checks_count() const noexcept {
  return segment_.header().checker.load(std::memory_order_acquire) == number_;
}

}  // namespace lb::state
