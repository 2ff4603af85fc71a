#include "harness/traffic/outcome.hpp"

#include <gtest/gtest.h>

#include <cerrno>

namespace lb::traffic {
namespace {

TEST(Outcome, NamesAndDropsFollowTheReadme) {
  EXPECT_EQ(name_of(Outcome::closed_under_request), "closed_under_request");
  EXPECT_EQ(name_of(Outcome::local_error), "local_error");
  EXPECT_EQ(static_cast<int>(Outcome::unserved), 13);
  EXPECT_EQ(name_of(Kind::new_connection), "new");
  EXPECT_EQ(kind_named("halfopen"), Kind::halfopen);
  EXPECT_EQ(kind_named("nonsense"), std::nullopt);
  EXPECT_EQ(errno_name(ECONNRESET), "ECONNRESET");
  EXPECT_EQ(errno_name(0), "");
  for (const Outcome not_a_drop :
       {Outcome::ok, Outcome::unserved, Outcome::unfinished, Outcome::local_error}) {
    EXPECT_FALSE(is_drop(not_a_drop)) << name_of(not_a_drop);
  }
  for (const Outcome drop : {Outcome::refused, Outcome::wrong_body, Outcome::duplicated, Outcome::lost}) {
    EXPECT_TRUE(is_drop(drop)) << name_of(drop);
  }
}

TEST(Classify, Connect) {
  EXPECT_EQ(classify_connect(ECONNREFUSED).outcome, Outcome::refused);
  EXPECT_EQ(classify_connect(ENOENT).outcome, Outcome::refused);
  EXPECT_EQ(classify_connect(ECONNRESET).outcome, Outcome::reset_before_first_byte);
  EXPECT_EQ(classify_connect(ETIMEDOUT).outcome, Outcome::connect_timeout);
  EXPECT_EQ(classify_connect(EADDRNOTAVAIL).outcome, Outcome::local_error);
  EXPECT_EQ(classify_connect(EMFILE).outcome, Outcome::local_error);
}

TEST(Classify, EndOfAConnection) {
  EXPECT_EQ(classify_end(Phase::wait, 0, false).outcome, Outcome::closed_under_request);
  EXPECT_EQ(classify_end(Phase::wait, ECONNRESET, false).outcome, Outcome::reset_before_first_byte);
  EXPECT_EQ(classify_end(Phase::send, EPIPE, false).outcome, Outcome::reset_before_first_byte);
  EXPECT_EQ(classify_end(Phase::head, 0, false).outcome, Outcome::truncated);
  EXPECT_EQ(classify_end(Phase::body, ECONNRESET, false).outcome, Outcome::truncated);
  EXPECT_EQ(classify_end(Phase::tunnel, 0, false).outcome, Outcome::truncated);
  EXPECT_EQ(classify_end(Phase::wait, 0, true).outcome, Outcome::unserved);
  EXPECT_EQ(classify_end(Phase::wait, ETIMEDOUT, false).outcome, Outcome::timeout);
}

TEST(Classify, Timeouts) {
  EXPECT_EQ(classify_timeout(Phase::connect),
            (Fate{Outcome::connect_timeout, Phase::connect, 0, Detail::timeout_connect}));
  EXPECT_EQ(classify_timeout(Phase::wait), (Fate{Outcome::timeout, Phase::wait, 0, Detail::timeout_wait}));
  EXPECT_EQ(classify_timeout(Phase::body), (Fate{Outcome::timeout, Phase::body, 0, Detail::timeout_body}));
}

TEST(Classify, Answers) {
  EXPECT_EQ(classify_answer({}).outcome, Outcome::ok);
  EXPECT_EQ(classify_answer({.status_expected = false, .nonce_present = false}).outcome,
            Outcome::unexpected_status);
  EXPECT_EQ(classify_answer({.status_expected = false, .nonce_matches = false}).detail,
            Detail::nonce_differs);
  EXPECT_EQ(classify_answer({.nonce_present = false}).detail, Detail::no_nonce);
  EXPECT_EQ(classify_answer({.bytes_match = false}).detail, Detail::byte_differs);
  EXPECT_EQ(classify_answer({.length_matches = false}).detail, Detail::length_differs);
  EXPECT_EQ(classify_answer({.request_body_ok = false}).detail, Detail::request_body_wrong);
}

}  // namespace
}  // namespace lb::traffic
