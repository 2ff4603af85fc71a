#include "lb/config/alpn.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lb {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(AlpnNames, AreBetweenCommasWithoutBlanks) {
  EXPECT_THAT(alpn_names(""), IsEmpty());
  EXPECT_THAT(alpn_names("h2"), ElementsAre("h2"));
  EXPECT_THAT(alpn_names("h2,http/1.1"), ElementsAre("h2", "http/1.1"));
  EXPECT_THAT(alpn_names(" h2 ,  http/1.1 "), ElementsAre("h2", "http/1.1"));
  EXPECT_THAT(alpn_names("a b"), ElementsAre("a b"));
}

TEST(AlpnNames, AnEmptyOneIsKeptForWhoReportsIt) {
  EXPECT_THAT(alpn_names(","), ElementsAre("", ""));
  EXPECT_THAT(alpn_names("h2,"), ElementsAre("h2", ""));
  EXPECT_THAT(alpn_names(",h2"), ElementsAre("", "h2"));
  EXPECT_THAT(alpn_names(" "), ElementsAre(""));
}

}  // namespace
}  // namespace lb
