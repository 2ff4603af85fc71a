#include "lb/supervisor/state_keeper.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace lb {
namespace {

constexpr Duration kLockMax = std::chrono::seconds{2};
constexpr std::size_t kAfreshToldMax = 20;

std::uint32_t workers_of(const state::Slot& slot) noexcept {
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(slot.workers.load(std::memory_order_acquire), state::kWorkersMax));
}

}  // namespace

StateKeeper::StateKeeper(EventLog& log, std::uint64_t seed) : log_(log) {
  auto made = state::SharedMemory::create();
  if (!made) {
    log_.error("state.off", "generations share no state: " + made.error().message);
    return;
  }
  memory_.emplace(std::move(*made));
  segment_ = state::Segment::format(memory_->main(), seed);
}

std::int64_t StateKeeper::admit(std::int64_t number) {
  if (!segment_) return -1;
  sweep();
  const auto slot = segment_->admit(number);
  if (!slot) {
    log_.warn("state.full", "too many generations share the state; this one keeps its own",
              {{"generation", number}, {"generations", std::int64_t{state::kSlots}}});
    return -1;
  }
  slots_[number] = *slot;
  return *slot;
}

void StateKeeper::serves(std::int64_t number) {
  if (!segment_ || !shares(number)) return;
  segment_->header().served.fetch_add(1, std::memory_order_relaxed);
}

void StateKeeper::ended(std::int64_t number, std::optional<std::int64_t> serving) {
  const auto known = slots_.find(number);
  if (known == slots_.end()) return;
  const std::uint32_t slot = known->second;
  slots_.erase(known);
  state::Word& checker = segment_->header().checker;
  if (serving && checker.load(std::memory_order_relaxed) == static_cast<std::uint64_t>(number))
    checker.store(static_cast<std::uint64_t>(*serving), std::memory_order_release);
  end_slot(slot);
}

void StateKeeper::end_slot(std::uint32_t slot) {
  const state::Mapping* block = block_of(slot);
  if (block != nullptr) segment_->fold(slot, state::Block{block->bytes()});
  blocks_.erase(slot);
  if (auto cleared = memory_->clear_block(slot); !cleared) {
    // It is not given to anybody again: what it holds would count twice.
    log_.error("state.stuck", cleared.error().message, {{"slot", std::int64_t{slot}}});
    return;
  }
  if (!memory_->lock(kLockMax)) {
    log_.error("state.stuck", "somebody holds the lock of the shared state", {{"slot", std::int64_t{slot}}});
    return;
  }
  segment_->release(slot);
  memory_->unlock();
}

void StateKeeper::sweep() {
  if (!segment_) return;
  for (std::uint32_t slot = 0; slot < state::kSlots; ++slot) {
    const state::Slot& of = segment_->header().slots[slot];
    if (of.state.load(std::memory_order_acquire) == state::Slot::free) continue;
    const bool ours = std::ranges::any_of(slots_, [&](const auto& known) { return known.second == slot; });
    if (!ours && !memory_->held(slot)) end_slot(slot);
  }
}

bool StateKeeper::adopt(Fd fd, std::int64_t number) {
  const auto tell = [&](const std::string& why) {
    log_.warn("state.not_adopted", why, {{"generation", number}});
    return false;
  };
  if (memory_ && memory_->is(fd.get())) return note(number);
  auto memory = state::SharedMemory::open(std::move(fd));
  if (!memory) return tell(memory.error().message);
  auto segment = state::Segment::attach(memory->main());
  if (!segment) {
    if (!segment_) return tell(segment.error().message);
    const auto afresh = segment_->carry_over(memory->main());
    if (!afresh) return tell(afresh.error().message);
    std::string names;
    for (std::size_t i = 0; i < std::min(afresh->size(), kAfreshToldMax); ++i) names += " " + (*afresh)[i];
    return tell("the state is that of another version; carried over but for " +
                std::to_string(afresh->size()) + " parts, which start afresh:" + names);
  }
  memory_.emplace(std::move(*memory));
  segment_ = *segment;
  slots_.clear();
  blocks_.clear();
  const bool noted = note(number);
  sweep();
  return noted;
}

bool StateKeeper::note(std::int64_t number) {
  for (std::uint32_t slot = 0; slot < state::kSlots; ++slot) {
    const state::Slot& of = segment_->header().slots[slot];
    const bool its = of.number.load(std::memory_order_relaxed) == static_cast<std::uint64_t>(number);
    if (its && of.state.load(std::memory_order_acquire) == state::Slot::live) slots_[number] = slot;
  }
  return shares(number);
}

const state::Mapping* StateKeeper::block_of(std::uint32_t slot) {
  const std::uint32_t workers = workers_of(segment_->header().slots[slot]);
  if (workers == 0) return nullptr;
  const auto known = blocks_.find(slot);
  if (known != blocks_.end()) return &known->second;
  auto mapped = memory_->map_block(slot, workers);
  if (!mapped) {
    log_.error("state.unread", mapped.error().message, {{"slot", std::int64_t{slot}}});
    return nullptr;
  }
  return &blocks_.emplace(slot, std::move(*mapped)).first->second;
}

std::map<std::string, std::uint64_t> StateKeeper::counters() {
  std::map<std::string, std::uint64_t> totals;
  if (!segment_) return totals;
  CounterTotals live;
  for (std::uint32_t slot = 0; slot < state::kSlots; ++slot) {
    const state::Slot& of = segment_->header().slots[slot];
    if (of.state.load(std::memory_order_acquire) != state::Slot::live) continue;
    const state::Mapping* block = block_of(slot);
    if (block == nullptr) continue;
    for (std::uint32_t i = 0; i < workers_of(of); ++i) live.add(state::Block{block->bytes()}.counters(i));
  }
  std::size_t i = 0;
  live.for_each([&](std::string_view name, std::string_view, std::uint64_t value) {
    totals[std::string{name}] = value + segment_->header().counters[i++].load(std::memory_order_relaxed);
  });
  return totals;
}

std::uint32_t StateKeeper::entries() const noexcept {
  std::uint32_t count = 0;
  const std::uint32_t used = segment_ ? segment_->entries_used() : 0;
  for (std::uint32_t i = 0; i < used; ++i)
    count += segment_->entry(i).key.load(std::memory_order_relaxed) != 0 ? 1 : 0;
  return count;
}

BackendTotals StateKeeper::backend(std::uint32_t entry) {
  if (!segment_ || entry >= segment_->entries_used()) return {};
  BackendTotals totals = segment_->totals(entry);
  for (std::uint32_t slot = 0; slot < state::kSlots; ++slot) {
    const state::Slot& of = segment_->header().slots[slot];
    if (of.state.load(std::memory_order_acquire) != state::Slot::live) continue;
    const state::Mapping* block = block_of(slot);
    if (block == nullptr) continue;
    for (std::uint32_t i = 0; i < workers_of(of); ++i)
      totals.add(state::Block{block->bytes()}.rows(i)[entry]);
  }
  return totals;
}

}  // namespace lb
