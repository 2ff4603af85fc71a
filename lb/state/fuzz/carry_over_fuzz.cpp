// Memory of another version, or of nobody: whatever it holds, taking over from it reads nothing outside of it
// and leaves a state that works.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "lb/state/segment.hpp"
#include "lb/state/shared_memory.hpp"

namespace {

constexpr std::size_t kBytesMax = 256U << 10U;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lb::state;
  static const auto kMemory = Mapping::of(-1, 0, kMainBytes);
  static const auto kSegment = Segment::format(kMemory->bytes(), 1);
  static const auto kSlot = kSegment.admit(1);
  if (size < 1 || size > kBytesMax) return 0;
  // As much as there is, and a page boundary nowhere near: the sanitizer sees each byte too far.
  std::vector<std::max_align_t> storage(size / sizeof(std::max_align_t) + 9);
  auto* begin = reinterpret_cast<std::byte*>(storage.data());
  begin += (64 - reinterpret_cast<std::uintptr_t>(begin) % 64) % 64;
  std::memcpy(begin, data + 1, size - 1);
  const std::span<std::byte> old{begin, size - 1};
  // Hardly any input has the right sum by itself.
  auto& header = *reinterpret_cast<Header*>(begin);
  if ((data[0] & 1U) != 0 && old.size() >= offsetof(Header, entries_used)) {
    header.fields %= kFieldsMax + 1;
    seal_catalogue(header);
  }
  if (Segment::attach(old)) std::abort();  // it is far too small
  const auto afresh = kSegment.carry_over(old);
  if (!afresh) return 0;
  const Identity identity = identity_of("a", "b");
  const auto claims = kSegment.claim(std::vector{identity, identity}, *kSlot);
  if (claims[0].entry != claims[1].entry && claims[0].entry != kNoEntry) std::abort();
  return 0;
}
