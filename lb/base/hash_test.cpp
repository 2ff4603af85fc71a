#include "lb/base/hash.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace lb {
namespace {

TEST(Hash, IsXxh3SoThatItIsTheSameInEveryVersionAndOnEveryMachine) {
  EXPECT_EQ(hash_text(hash_bytes("")), "2d06800538d394c2");
  EXPECT_EQ(hash_bytes("lb"), hash_bytes(std::string{"lb"}));
  EXPECT_NE(hash_bytes("lb"), hash_bytes("lb", 1));
}

TEST(Hash, EveryByteAndItsPlaceCount) {
  std::set<std::uint64_t> hashes;
  for (std::size_t size = 0; size < 300; ++size) {
    std::string bytes(size, '\0');
    hashes.insert(hash_bytes(bytes));
    for (std::size_t i = 0; i < size; i += 13) {
      bytes[i] = 1;
      hashes.insert(hash_bytes(bytes));
      bytes[i] = 0;
    }
  }
  EXPECT_GT(hashes.size(), 3000U);
}

TEST(Hash, TextIsSixteenLowerCaseDigits) {
  EXPECT_EQ(hash_text(0), "0000000000000000");
  EXPECT_EQ(hash_text(0x0123456789abcdefULL), "0123456789abcdef");
  EXPECT_EQ(hash_text(~0ULL), "ffffffffffffffff");
}

}  // namespace
}  // namespace lb
