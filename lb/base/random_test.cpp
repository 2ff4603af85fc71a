#include "lb/base/random.hpp"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace lb {
namespace {

TEST(Mix64, IsSplitMix64) {
  // The first outputs of SplitMix64 seeded with 0 and with the constant's multiples.
  EXPECT_EQ(mix64(0), 0xe220a8397b1dcdafULL);
  EXPECT_EQ(mix64(0x9e3779b97f4a7c15ULL), 0x6e789e6aa1b965f4ULL);
  EXPECT_EQ(mix64(2 * 0x9e3779b97f4a7c15ULL), 0x06c45d188009454fULL);
}

TEST(Random, IsXoshiro256StarStar) {
  // A direct transcription of the published recurrence beside ours.
  std::array<std::uint64_t, 4> s{};
  for (std::uint64_t i = 0; i < 4; ++i) s[i] = mix64(42 + i * 0x9e3779b97f4a7c15ULL);
  const auto rotl = [](std::uint64_t x, unsigned k) { return (x << k) | (x >> (64 - k)); };
  Random random{42};
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t expected = rotl(s[1] * 5, 7) * 9;
    const std::uint64_t t = s[1] << 17U;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    ASSERT_EQ(random(), expected);
  }
}

TEST(Random, ASeedReplaysARunAndAnotherDoesNot) {
  Random a{7};
  Random b{7};
  Random c{8};
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t value = a();
    EXPECT_EQ(value, b());
    differs |= value != c();
  }
  EXPECT_TRUE(differs);
}

TEST(Random, SeedZeroIsAsGoodAsAnyOther) {
  Random random{0};
  std::set<std::uint64_t> values;
  for (int i = 0; i < 1000; ++i) values.insert(random());
  EXPECT_EQ(values.size(), 1000U);
}

TEST(Random, BelowStaysBelowAndIsUniform) {
  Random random{1};
  for (const std::uint32_t bound : {1U, 2U, 3U, 1000U, ~0U}) {
    for (int i = 0; i < 1000; ++i) ASSERT_LT(random.below(bound), bound);
  }
  constexpr std::uint32_t kFaces = 7;
  constexpr int kThrows = 700'000;
  std::array<int, kFaces> counts{};
  for (int i = 0; i < kThrows; ++i) ++counts[random.below(kFaces)];
  double chi_square = 0;
  for (const int count : counts) {
    const double difference = count - kThrows / 7.0;
    chi_square += difference * difference / (kThrows / 7.0);
  }
  EXPECT_LT(chi_square, 22.5) << "6 degrees of freedom: exceeded once in a thousand seeds";
}

}  // namespace
}  // namespace lb
