// Xoshiro256**: the injected generator of random numbers. One a thread; seeded from `main` or a test, so
// that a seed replays a run. Not for secrets. Source: Blackman and Vigna, "Scrambled linear
// pseudorandom number generators", ACM TOMS 47 (2021); seeding by SplitMix64.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace lb {

/// SplitMix64's finaliser: a bijective mixer, also used to hash integers.
constexpr std::uint64_t mix64(std::uint64_t x) noexcept {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31U);
}

class Random final {
 public:
  using result_type = std::uint64_t;

  explicit Random(std::uint64_t seed) noexcept {
    for (auto& word : state_) {
      word = mix64(seed);
      seed += 0x9e3779b97f4a7c15ULL;
    }
  }

  static constexpr result_type min() noexcept { return 0; }
  static constexpr result_type max() noexcept { return ~result_type{0}; }

  std::uint64_t operator()() noexcept {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17U;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  /// Uniform in [0, bound) without noticeable bias for bounds below 2^32; bound must not be 0.
  std::uint32_t below(std::uint32_t bound) noexcept {
    return static_cast<std::uint32_t>(((operator()() >> 32U) * bound) >> 32U);
  }

 private:
  std::array<std::uint64_t, 4> state_{};
};

}  // namespace lb
