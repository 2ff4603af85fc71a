#include "lb/base/result.hpp"

#include <gtest/gtest.h>

#include <cerrno>

namespace lb {
namespace {

TEST(Result, SystemErrorNamesCallDetailAndReason) {
  const Error with = system_error("bind", "127.0.0.1:80", EACCES);
  EXPECT_EQ(with.message, "bind 127.0.0.1:80: Permission denied");
  EXPECT_EQ(with.os_error, EACCES);
  EXPECT_EQ(with.fault, Fault::environment);
  EXPECT_FALSE(with.retryable);
  EXPECT_EQ(system_error("fork", "", EAGAIN).message, "fork: Resource temporarily unavailable");
  EXPECT_FALSE(system_error("x", "", 99'999).message.empty());
}

TEST(Result, CarriesAValueOrAnError) {
  const Result<int> good = 3;
  const Result<int> bad = std::unexpected(system_error("read", "", EIO));
  EXPECT_EQ(good.value(), 3);
  ASSERT_FALSE(bad.has_value());
  EXPECT_EQ(bad.error().os_error, EIO);
}

TEST(ResultDeath, AssertionsStayOnAndSayWhere) {
  LB_ASSERT(1 + 1 == 2);
  EXPECT_DEATH(LB_ASSERT(1 + 1 == 3), "lb: assertion failed: 1 \\+ 1 == 3 \\(.*result_test.cpp:[0-9]+\\)");
}

}  // namespace
}  // namespace lb
