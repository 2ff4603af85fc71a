// Slab<T>: connections and exchanges of one worker. Objects have stable addresses and are named by a
// Handle {index, generation}; a Handle of a retired object resolves to nullptr, so a stale event is
// recognised. Retired objects are destroyed by reap(), at the end of the loop's turn, so that code up the
// stack may still touch them. One thread. Memory is kept for reuse and never returned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "lb/base/result.hpp"

namespace lb {

struct Handle {
  static constexpr std::uint32_t kGenerationMask =
      (1U << 28U) - 1;  // leaves room for a kind in an epoll token
  std::uint32_t index = ~0U;
  std::uint32_t generation = 0;
  friend bool operator==(const Handle&, const Handle&) = default;
  [[nodiscard]] explicit operator bool() const noexcept { return index != ~0U; }
};

template <class T>
class Slab final {
 public:
  /// `capacity_max` objects at most, living and retired together.
  explicit Slab(std::uint32_t capacity_max) : capacity_max_(capacity_max) {}
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab() {
    // Destructors may retire others, so this ends when nobody is left rather than after one pass.
    while (live_count_ > 0 || !retired_.empty()) {
      for_each([this](T&, Handle handle) { retire(handle); });
      reap();
    }
  }

  /// The new object and its handle, or nullptr when capacity_max is reached. Its constructor may emplace
  /// others; should it throw, its place is lost.
  template <class... Args>
  std::pair<T*, Handle> emplace(Args&&... args) {
    if (free_ == kNone && !grow()) return {nullptr, Handle{}};
    const std::uint32_t index = free_;
    Slot& s = slot(index);
    free_ = s.next_free;
    T* made = ::new (static_cast<void*>(s.storage)) T(std::forward<Args>(args)...);
    s.live = true;
    ++live_count_;
    return {made, Handle{index, s.generation}};
  }

  /// nullptr when the object was retired since.
  [[nodiscard]] T* get(Handle handle) noexcept {
    if (handle.index >= slot_count()) return nullptr;
    Slot& s = slot(handle.index);
    return s.live && s.generation == handle.generation ? object(s) : nullptr;
  }

  /// From now on `handle` resolves to nullptr; the object lives until reap().
  void retire(Handle handle) {
    LB_ASSERT(get(handle) != nullptr);
    Slot& s = slot(handle.index);
    s.live = false;
    s.generation = (s.generation + 1) & Handle::kGenerationMask;
    --live_count_;
    retired_.push_back(handle.index);
  }

  /// Destroys what was retired. Objects retired by a destructor wait for the next call.
  void reap() {
    if (retired_.empty()) return;
    reaping_.swap(retired_);
    for (const std::uint32_t index : reaping_) {
      Slot& s = slot(index);
      object(s)->~T();
      s.next_free = free_;
      free_ = index;
    }
    reaping_.clear();
  }

  [[nodiscard]] std::uint32_t size() const noexcept { return live_count_; }

  /// Calls f(T&, Handle) for each living object; f may retire, not emplace.
  template <class F>
  void for_each(F&& f) {
    for (std::uint32_t i = 0; i < slot_count(); ++i) {
      Slot& s = slot(i);
      if (s.live) f(*object(s), Handle{i, s.generation});
    }
  }

 private:
  static constexpr std::uint32_t kNone = ~0U;
  static constexpr std::uint32_t kBlockShift = 8;
  static constexpr std::uint32_t kBlockSize = 1U << kBlockShift;

  struct Slot {
    alignas(T) std::byte storage[sizeof(T)];
    std::uint32_t generation = 1;
    std::uint32_t next_free = kNone;
    bool live = false;
  };

  static T* object(Slot& s) noexcept { return std::launder(reinterpret_cast<T*>(s.storage)); }
  Slot& slot(std::uint32_t i) noexcept { return blocks_[i >> kBlockShift][i & (kBlockSize - 1)]; }
  [[nodiscard]] std::uint32_t slot_count() const noexcept {
    return static_cast<std::uint32_t>(blocks_.size()) << kBlockShift;
  }

  bool grow() {
    const std::uint32_t first = slot_count();
    if (first >= capacity_max_) return false;
    blocks_.push_back(std::make_unique<Slot[]>(kBlockSize));
    const std::uint32_t end = capacity_max_ - first < kBlockSize ? capacity_max_ : first + kBlockSize;
    for (std::uint32_t i = end; i > first; --i) {
      slot(i - 1).next_free = free_;
      free_ = i - 1;
    }
    return true;
  }

  std::uint32_t capacity_max_;
  std::uint32_t live_count_ = 0;
  std::uint32_t free_ = kNone;
  std::vector<std::unique_ptr<Slot[]>> blocks_;
  std::vector<std::uint32_t> retired_;
  std::vector<std::uint32_t> reaping_;
};

}  // namespace lb
