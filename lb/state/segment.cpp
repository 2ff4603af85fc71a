#include "lb/state/segment.hpp"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "lb/base/hash.hpp"

namespace lb::state {
namespace {

constexpr std::size_t kCounters = 0
#define X(name, help) +1
    LB_COUNTERS(X)
#undef X
    ;
static_assert(kCounters <= kCountersMax && sizeof(Word) == 8);

constexpr std::uint64_t bit_of(std::uint32_t slot) noexcept {
  return std::uint64_t{1} << slot;
}

struct IdentityHash {
  std::size_t operator()(const Identity& identity) const noexcept { return identity.key; }
};

Field field(std::string_view name, std::size_t offset, std::size_t bytes, std::size_t stride = 0,
            std::size_t count = 1) {
  Field made{};
  LB_ASSERT(name.size() < sizeof made.name);
  std::memcpy(made.name, name.data(), name.size());
  made.offset = offset;
  made.stride = static_cast<std::uint32_t>(stride);
  made.count = static_cast<std::uint32_t>(count);
  made.bytes = static_cast<std::uint32_t>(bytes);
  return made;
}

/// live.* means something only to the processes that share it, block.* is each generation's own: neither is
/// carried over.
bool carried(std::string_view name) noexcept {
  return !name.starts_with("live.") && !name.starts_with("block.");
}

std::string_view name_of(const Field& field) noexcept {
  return {field.name, ::strnlen(field.name, sizeof field.name)};
}

std::vector<Field> catalogue() {
#define LB_IN_HEADER(name, member) field(name, offsetof(Header, member), sizeof(Header::member))
#define LB_IN_ENTRY(name, member)                                                                      \
  field("entry." name, kEntriesOffset + offsetof(Entry, member), sizeof(Entry::member), sizeof(Entry), \
        kEntriesMax)
#define LB_IN_STATE(name, member)                                                       \
  field(name, kEntriesOffset + offsetof(Entry, state) + offsetof(BackendState, member), \
        sizeof(BackendState::member), sizeof(Entry), kEntriesMax)
  std::vector<Field> fields{
      LB_IN_ENTRY("key", key),
      LB_IN_ENTRY("check", check),
      LB_IN_STATE("entry.aside_until_ns", aside_until_ns),
      LB_IN_STATE("entry.ejected_until_ns", ejected_until_ns),
      LB_IN_STATE("entry.up_since_ns", up_since_ns),
      LB_IN_STATE("entry.failures_in_row", failures_in_row),
      LB_IN_STATE("entry.down", down),
      LB_IN_ENTRY("check_rules", check_rules),
      LB_IN_ENTRY("down_since_ns", down_since_ns),
      LB_IN_ENTRY("ejection_ns", ejection_ns),
      LB_IN_ENTRY("down_reason", down_reason),
      LB_IN_ENTRY("ejection_reason", ejection_reason),
      LB_IN_ENTRY("totals", totals),
      field("rate_limit.buckets", kBucketsOffset, sizeof(BucketSet), sizeof(BucketSet), kBucketSets),
      LB_IN_HEADER("rate_limit.seed", bucket_seed),
      LB_IN_HEADER("rate_limit.depth", bucket_depth),
      LB_IN_HEADER("turns.primary", balance.primary_turns),
      LB_IN_HEADER("turns.backup", balance.backup_turns),
      LB_IN_HEADER("served", served),
      LB_IN_HEADER("live.entries_used", entries_used),
      LB_IN_HEADER("live.checker", checker),
      LB_IN_HEADER("live.lanes_used", balance.lanes_used),
      LB_IN_HEADER("live.health_changes", balance.health_changes),
      field("live.slots", offsetof(Header, slots), sizeof(Slot), sizeof(Slot), kSlots),
      field("live.entry.users", kEntriesOffset + offsetof(Entry, users), sizeof(Word), sizeof(Entry),
            kEntriesMax),
      LB_IN_STATE("live.entry.lanes", lanes),
      field("block.counters", block_offset(0), sizeof(Counters), sizeof(Counters), kWorkersMax),
      field("block.rows", block_offset(0) + kBlockCountersBytes, sizeof(BackendCounts), sizeof(BackendCounts),
            kEntriesMax),
      field("block.slots", block_offset(0), 0, 0, kSlots),
  };
#undef LB_IN_HEADER
#undef LB_IN_ENTRY
#undef LB_IN_STATE
  std::size_t at = offsetof(Header, counters);
#define X(name, help)                                          \
  fields.push_back(field("counter." #name, at, sizeof(Word))); \
  at += sizeof(Word);
  LB_COUNTERS(X)
#undef X
  LB_ASSERT(fields.size() <= kFieldsMax);
  return fields;
}

std::uint64_t layout_of(std::span<const Field> fields) noexcept {
  return hash_bytes({reinterpret_cast<const char*>(fields.data()), fields.size_bytes()});
}

/// Of what was written once; the sum itself counts as 0.
std::uint64_t sum_of(const Header& header) noexcept {
  const std::uint64_t about[] = {header.magic, header.layout, header.fields};
  const std::span fields{header.catalogue.data(), header.fields};
  return hash_bytes({reinterpret_cast<const char*>(about), sizeof about}, layout_of(fields));
}

/// `memory` begins with a header whose unchanging part is whole, and every field lies within.
std::optional<Error> fault_of(std::span<const std::byte> memory) {
  const auto fault = [](const char* what) {
    return Error{.fault = Fault::self, .message = std::string{"the shared state is damaged: "} + what};
  };
  if (memory.size() < offsetof(Header, entries_used)) return fault("it is cut short");
  const auto& header = *reinterpret_cast<const Header*>(memory.data());
  if (header.magic != kMagic) return fault("it does not begin like one");
  if (header.fields > kFieldsMax) return fault("its catalogue is too long");
  if (header.sum != sum_of(header)) return fault("the sum of its header does not match");
  for (const Field& field : std::span{header.catalogue.data(), header.fields}) {
    if (!carried(name_of(field))) continue;
    const std::uint64_t last = field.count == 0 ? 0 : std::uint64_t{field.stride} * (field.count - 1);
    if (field.offset > memory.size() || last + field.bytes > memory.size() - field.offset)
      return fault("a field lies outside of it");
  }
  return std::nullopt;
}

const Field* find(std::span<const Field> fields, std::string_view name) noexcept {
  const auto found = std::ranges::find(fields, name, name_of);
  return found == fields.end() ? nullptr : &*found;
}

}  // namespace

bool is_gauge(std::string_view help) noexcept {
  return help.ends_with("(gauge)");
}

void seal_catalogue(Header& header) noexcept {
  LB_ASSERT(header.fields <= kFieldsMax);
  header.layout = layout_of({header.catalogue.data(), header.fields});
  header.magic = kMagic;
  header.sum = sum_of(header);
}

Identity identity_of(std::string_view name, std::string_view endpoint) noexcept {
  constexpr std::uint64_t kCheckSeed = 0x636865636bULL;
  std::string text{name};
  text += '\0';
  text += endpoint;
  return {std::max<std::uint64_t>(hash_bytes(text), 1), hash_bytes(text, kCheckSeed)};
}

Segment Segment::format(std::span<std::byte> memory, std::uint64_t seed) {
  LB_ASSERT(memory.size() >= kMainBytes);
  Segment segment{memory.data()};
  Header& header = segment.header();
  const std::vector<Field> fields = catalogue();
  std::ranges::copy(fields, header.catalogue.begin());
  header.fields = fields.size();
  header.bucket_seed.store(seed, std::memory_order_relaxed);
  seal_catalogue(header);
  return segment;
}

Result<Segment> Segment::attach(std::span<std::byte> memory) {
  if (auto fault = fault_of(memory)) return std::unexpected(std::move(*fault));
  Segment segment{memory.data()};
  if (segment.header().layout != layout_of(catalogue()) || memory.size() < kMainBytes) {
    return std::unexpected(
        Error{.fault = Fault::self, .message = "the shared state is that of another version"});
  }
  return segment;
}

std::uint32_t Segment::entries_used() const noexcept {
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(header().entries_used.load(std::memory_order_acquire), kEntriesMax));
}

Result<std::vector<std::string>> Segment::carry_over(std::span<const std::byte> old) const {
  if (auto fault = fault_of(old)) return std::unexpected(std::move(*fault));
  const auto& from = *reinterpret_cast<const Header*>(old.data());
  const std::span known{from.catalogue.data(), from.fields};
  std::vector<std::string> afresh;
  std::uint32_t entries = 0;
  std::uint64_t entries_known = kEntriesMax;  // no more than were used are looked at
  if (const Field* used = find(known, "live.entries_used");
      used != nullptr && used->bytes == sizeof entries_known &&
      used->offset <= old.size() - sizeof entries_known) {
    std::memcpy(&entries_known, old.data() + used->offset, sizeof entries_known);
  }
  for (const Field& to : std::span{header().catalogue.data(), header().fields}) {
    const std::string_view name = name_of(to);
    if (!carried(name)) continue;
    const Field* same = find(known, name);
    const bool of_entries = name.starts_with("entry.");
    if (same == nullptr || same->bytes != to.bytes || (!of_entries && same->count != to.count)) {
      afresh.emplace_back(name);
      continue;
    }
    std::uint32_t count = std::min(same->count, to.count);
    if (of_entries) count = static_cast<std::uint32_t>(std::min<std::uint64_t>(count, entries_known));
    if (of_entries) entries = std::max(entries, count);
    for (std::uint32_t i = 0; i < count; ++i) {
      std::memcpy(memory_ + to.offset + std::uint64_t{i} * to.stride,
                  old.data() + same->offset + std::uint64_t{i} * same->stride, to.bytes);
    }
  }
  // A backend that is known by half of its identity is not known.
  const bool whole = std::ranges::find(afresh, "entry.key") == afresh.end() &&
                     std::ranges::find(afresh, "entry.check") == afresh.end();
  std::uint32_t used = 0;
  for (std::uint32_t i = 0; i < entries; ++i) {
    if (!whole) entry(i).key.store(0, std::memory_order_relaxed);
    if (entry(i).key.load(std::memory_order_relaxed) != 0) used = i + 1;
  }
  header().entries_used.store(used, std::memory_order_release);
  return afresh;
}

std::optional<std::uint32_t> Segment::admit(std::int64_t number) const noexcept {
  std::uint64_t lanes = 0;
  std::optional<std::uint32_t> admitted;
  std::uint32_t live = 1;
  for (std::uint32_t i = 0; i < kSlots; ++i) {
    const Slot& slot = header().slots[i];
    if (slot.state.load(std::memory_order_acquire) == Slot::free) {
      if (!admitted) admitted = i;
      continue;
    }
    ++live;
    lanes |= bit_of(static_cast<std::uint32_t>(slot.lane.load(std::memory_order_relaxed)));
  }
  if (!admitted) return std::nullopt;
  std::uint32_t lane = 0;
  while (lane < kLoadLanes - 1 && (lanes & bit_of(lane)) != 0) ++lane;
  Slot& slot = header().slots[*admitted];
  slot.number.store(static_cast<std::uint64_t>(number), std::memory_order_relaxed);
  slot.workers.store(0, std::memory_order_relaxed);
  slot.lane.store(lane, std::memory_order_relaxed);
  slot.folded.store(0, std::memory_order_relaxed);
  header().balance.lanes_used.store(live, std::memory_order_relaxed);
  slot.state.store(Slot::live, std::memory_order_release);
  return admitted;
}

/// Items are the counters, then kTotalsPerEntry of each entry. nullptr behind the last.
Word* Segment::total(std::uint64_t item) const noexcept {
  if (item < kCounters) return &header().counters[item];
  const std::uint64_t index = (item - kCounters) / kTotalsPerEntry;
  if (index >= kEntriesMax) return nullptr;
  return &entry(static_cast<std::uint32_t>(index)).totals[(item - kCounters) % kTotalsPerEntry];
}

/// Before an item's total changes, its new value and its number are noted: whoever goes on after us stores
/// that value (again) and begins with the next item. Two cells take turns, so that noting the next one never
/// spoils the one that counts.
void Segment::fold(std::uint32_t slot_number, const Block& block) const noexcept {
  Slot& slot = header().slots[slot_number];
  slot.state.store(Slot::folding, std::memory_order_release);
  std::uint64_t noted = slot.folded.load(std::memory_order_acquire);  // (item + 1) * 2 + cell
  std::uint64_t begin = noted >> 1U;
  if (begin > 0) {
    if (Word* last = total(begin - 1)) {
      last->store(slot.folded_value[noted & 1U].load(std::memory_order_relaxed), std::memory_order_release);
    }
  }
  const auto add = [&](std::uint64_t item, std::uint64_t amount) {
    if (item < begin || amount == 0) return;
    const std::uint64_t value = total(item)->load(std::memory_order_relaxed) + amount;
    const std::uint64_t cell = (noted & 1U) ^ 1U;
    slot.folded_value[cell].store(value, std::memory_order_release);
    noted = (item + 1) << 1U | cell;
    slot.folded.store(noted, std::memory_order_release);
    total(item)->store(value, std::memory_order_release);
  };
  const auto workers = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(slot.workers.load(std::memory_order_acquire), kWorkersMax));
  CounterTotals sum;
  for (std::uint32_t i = 0; i < workers; ++i) sum.add(block.counters(i));
  std::uint64_t item = 0;
  sum.for_each([&](std::string_view, std::string_view help, std::uint64_t value) {
    add(item++, is_gauge(help) ? 0 : value);
  });
  const std::uint32_t used = entries_used();
  for (std::uint32_t i = 0; i < used; ++i) {
    if ((entry(i).users.load(std::memory_order_acquire) & bit_of(slot_number)) == 0) continue;
    BackendTotals backend;
    for (std::uint32_t worker = 0; worker < workers; ++worker) backend.add(block.rows(worker)[i]);
    item = kCounters + std::uint64_t{i} * kTotalsPerEntry;
    for (const std::uint64_t value :
         {backend.requests, backend.failures, backend.gateway_failures, backend.latency_sum_us}) {
      add(item++, value);
    }
    for (const std::uint64_t value : backend.latency) add(item++, value);
  }
}

void Segment::release(std::uint32_t slot_number) const noexcept {
  Slot& slot = header().slots[slot_number];
  const auto lane = static_cast<std::uint32_t>(slot.lane.load(std::memory_order_relaxed) % kLoadLanes);
  std::uint32_t live = 0;
  bool lane_shared = false;
  for (std::uint32_t i = 0; i < kSlots; ++i) {
    const Slot& other = header().slots[i];
    if (i == slot_number || other.state.load(std::memory_order_acquire) == Slot::free) continue;
    ++live;
    lane_shared = lane_shared || other.lane.load(std::memory_order_relaxed) == lane;
  }
  std::uint32_t last_used = 0;
  const std::uint32_t used = entries_used();
  for (std::uint32_t i = 0; i < used; ++i) {
    Entry& of = entry(i);
    if (!lane_shared) of.state.lanes[lane].store(0, std::memory_order_relaxed);
    const std::uint64_t users =
        of.users.fetch_and(~bit_of(slot_number), std::memory_order_acq_rel) & ~bit_of(slot_number);
    // When nobody is left at all the service may go on with what it knows: a crash is no reason to forget.
    if (users == 0 && live > 0) of.key.store(0, std::memory_order_release);
    if (of.key.load(std::memory_order_relaxed) != 0) last_used = i + 1;
  }
  header().entries_used.store(last_used, std::memory_order_release);
  header().balance.lanes_used.store(std::max(live, 1U), std::memory_order_relaxed);
  slot.workers.store(0, std::memory_order_relaxed);
  slot.folded.store(0, std::memory_order_relaxed);
  slot.state.store(Slot::free, std::memory_order_release);
}

std::vector<Segment::Claim> Segment::claim(std::span<const Identity> identities, std::uint32_t slot) const {
  std::unordered_map<Identity, std::uint32_t, IdentityHash> known;
  std::vector<std::uint32_t> free;
  std::uint32_t used = entries_used();
  for (std::uint32_t i = 0; i < used; ++i) {
    const std::uint64_t key = entry(i).key.load(std::memory_order_acquire);
    if (key == 0) {
      free.push_back(i);
    } else {
      known.emplace(Identity{key, entry(i).check.load(std::memory_order_relaxed)}, i);
    }
  }
  std::ranges::reverse(free);
  std::vector<Claim> claims;
  claims.reserve(identities.size());
  for (const Identity& identity : identities) {
    if (const auto found = known.find(identity); found != known.end()) {
      entry(found->second).users.fetch_or(bit_of(slot), std::memory_order_acq_rel);
      claims.push_back({found->second, false});
      continue;
    }
    if (free.empty() && used == kEntriesMax) {
      claims.push_back({});
      continue;
    }
    const std::uint32_t i = free.empty() ? used : free.back();
    Entry& of = entry(i);
    std::memset(static_cast<void*>(&of), 0, sizeof of);
    of.users.store(bit_of(slot), std::memory_order_relaxed);
    of.check.store(identity.check, std::memory_order_relaxed);
    of.key.store(identity.key, std::memory_order_release);  // from here on it is one
    if (free.empty()) {
      header().entries_used.store(++used, std::memory_order_release);
    } else {
      free.pop_back();
    }
    known.emplace(identity, i);
    claims.push_back({i, true});
  }
  return claims;
}

BackendTotals Segment::totals(std::uint32_t index) const noexcept {
  const auto& words = entry(index).totals;
  const auto at = [&](std::size_t i) { return words[i].load(std::memory_order_relaxed); };
  BackendTotals totals{
      .requests = at(0), .failures = at(1), .gateway_failures = at(2), .latency_sum_us = at(3)};
  for (std::size_t i = 0; i < kLatencyBuckets; ++i) totals.latency[i] = at(4 + i);
  return totals;
}

}  // namespace lb::state
