// Scripted conversations with the rollback policy that ships: each test is a list of events and the decisions
// expected. What the contract says in full is proven by the checks of exercise 10.3, against an independent
// model.
#include "lb/reload/rollback.hpp"

#include <gtest/gtest.h>

namespace lb {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Action = RollbackDecision::Action;

constexpr ConfigHash kA = 0xa;
constexpr ConfigHash kB = 0xb;
constexpr ConfigHash kC = 0xc;

class RollbackPolicyTest : public testing::Test {
 protected:
  /// Feeds `event`; the decision as text: "", "prove a", "back to a".
  std::string step(const RollbackEvent& event) {
    last_ = policy_->on_event(event);
    std::string text;
    if (last_.action == Action::prove) text = "prove ";
    if (last_.action == Action::roll_back) text = "back to ";
    if (last_.action != Action::none) text += static_cast<char>('a' + static_cast<int>(last_.config - kA));
    return text;
  }
  std::string serves(ConfigHash config) { return step(ConfigServing{now_, config}); }
  std::string dies(ConfigHash config) { return step(ServingDied{now_, config, "killed by SIGSEGV"}); }
  std::string rejected(ConfigHash config) { return step(ConfigRejected{now_, config, "not valid"}); }
  std::string ended(bool applied) { return step(RollbackEnded{now_, applied}); }
  std::string tick_after(Duration d) {
    now_ += d;
    return step(ProbationTick{now_});
  }
  std::string sample(ConfigHash config, RequestCount before, RequestCount old, RequestCount after) {
    return step(TrafficSample{
        now_, config, {{.name = "b1", .before = before, .meanwhile_old = old, .after = after}}});
  }
  std::string bad_sample(ConfigHash config) { return sample(config, {100, 1}, {7, 3}, {100, 40}); }
  /// A has proved good; B is on probation.
  void prove_a_and_serve_b() {
    serves(kA);
    ASSERT_EQ(tick_after(seconds{10}), "prove a");
    serves(kB);
  }

  Instant now_{seconds{1000}};
  RollbackLimits limits_{};
  std::unique_ptr<RollbackPolicy> policy_ = make_rollback_policy(limits_);
  RollbackDecision last_{};
};

TEST_F(RollbackPolicyTest, ProvesAtTheEndOfTheProbation) {
  EXPECT_EQ(policy_->next_deadline(), kNever);
  EXPECT_EQ(serves(kA), "");
  EXPECT_EQ(policy_->next_deadline(), now_ + seconds{10});
  EXPECT_EQ(tick_after(milliseconds{9999}), "");
  EXPECT_EQ(policy_->proven(), std::nullopt);
  EXPECT_EQ(tick_after(milliseconds{1}), "prove a");
  EXPECT_EQ(policy_->proven(), kA);
  EXPECT_EQ(policy_->next_deadline(), kNever);
  EXPECT_EQ(serves(kA), "") << "no probation again";
  EXPECT_EQ(policy_->next_deadline(), kNever);
}

TEST_F(RollbackPolicyTest, GoesBackAfterADeath) {
  prove_a_and_serve_b();
  EXPECT_EQ(dies(kB), "back to a");
  EXPECT_NE(last_.reason.find("killed by SIGSEGV"), std::string::npos) << last_.reason;
  EXPECT_EQ(dies(kB), "");
  EXPECT_FALSE(policy_->may_try(kB));
  EXPECT_EQ(serves(kC), "");
  EXPECT_EQ(bad_sample(kC), "back to a") << "after a death no roll back is under way";
}

TEST_F(RollbackPolicyTest, NothingToGoBackTo) {
  serves(kA);
  EXPECT_EQ(bad_sample(kA), "");
  EXPECT_EQ(dies(kA), "");
  EXPECT_FALSE(policy_->may_try(kA));
  serves(kA);
  EXPECT_EQ(tick_after(seconds{10}), "prove a");
  EXPECT_TRUE(policy_->may_try(kA));
}

TEST_F(RollbackPolicyTest, JudgesABackend) {
  const auto judged = [this](RequestCount before, RequestCount old, RequestCount after) {
    policy_ = make_rollback_policy(limits_);
    prove_a_and_serve_b();
    return sample(kB, before, old, after);
  };
  EXPECT_EQ(judged({100, 70}, {}, {100, 80}), "")
      << "exactly at the limit, whatever binary makes of 0.7 + 0.1";
  EXPECT_EQ(judged({100, 70}, {}, {100, 81}), "back to a");
  EXPECT_EQ(judged({}, {}, {49, 49}), "");
  EXPECT_EQ(judged({}, {}, {50, 50}), "back to a");
  EXPECT_EQ(judged({49, 49}, {}, {50, 50}), "back to a") << "too few before say nothing";
  EXPECT_EQ(judged({100, 0}, {50, 45}, {100, 95}), "") << "an outage hits both";
  EXPECT_EQ(judged({100, 0}, {49, 49}, {100, 95}), "back to a");
  limits_.requests_min = 0;
  EXPECT_EQ(judged({}, {}, {}), "");
}

TEST_F(RollbackPolicyTest, TheReasonHasBackendAndFigures) {
  prove_a_and_serve_b();
  bad_sample(kB);
  EXPECT_EQ(last_.reason,
            "backend b1: 40 of 100 (40.0 %) requests failed; before 1 of 100 (1.0 %), meanwhile on old "
            "connections 3 of 7 (too few to count); more than 10.0 % above these is a reason to go back");
}

TEST_F(RollbackPolicyTest, OneRollBackAtATime) {
  prove_a_and_serve_b();
  EXPECT_EQ(bad_sample(kB), "back to a");
  EXPECT_EQ(policy_->next_deadline(), kNever);
  EXPECT_EQ(serves(kC), "");
  EXPECT_EQ(bad_sample(kC), "");
  EXPECT_EQ(tick_after(seconds{11}), "");
  EXPECT_EQ(policy_->next_deadline(), kNever);
  EXPECT_EQ(ended(false), "");
  EXPECT_EQ(policy_->next_deadline(), now_ - seconds{1}) << "due at once";
  EXPECT_EQ(tick_after(seconds{0}), "prove c");
}

TEST_F(RollbackPolicyTest, WhatWasNotAppliedIsNotDecidedAgain) {
  prove_a_and_serve_b();
  EXPECT_EQ(bad_sample(kB), "back to a");
  EXPECT_EQ(ended(false), "");
  EXPECT_EQ(bad_sample(kB), "");
  EXPECT_EQ(tick_after(seconds{20}), "");
  serves(kB);
  EXPECT_EQ(bad_sample(kB), "back to a") << "it serves anew";
}

TEST_F(RollbackPolicyTest, SupersededIsNeitherGoodNorFailed) {
  prove_a_and_serve_b();
  now_ += seconds{5};
  serves(kC);
  EXPECT_EQ(bad_sample(kB), "");
  EXPECT_EQ(dies(kB), "");
  EXPECT_EQ(tick_after(seconds{5}), "");
  EXPECT_TRUE(policy_->may_try(kB));
  EXPECT_EQ(tick_after(seconds{5}), "prove c");
}

TEST_F(RollbackPolicyTest, RemembersALimitedNumberOfFailures) {
  prove_a_and_serve_b();
  for (ConfigHash config = 100; config < 100 + limits_.failed_max; ++config) rejected(config);
  rejected(100);
  rejected(kA);
  EXPECT_TRUE(policy_->may_try(kA)) << "nothing is held against the proven one";
  rejected(kB);
  EXPECT_TRUE(policy_->may_try(101));
  EXPECT_FALSE(policy_->may_try(100)) << "it failed again";
  EXPECT_EQ(tick_after(seconds{10}), "prove b") << "a rejection does not touch the probation";
  EXPECT_TRUE(policy_->may_try(kB));
}

}  // namespace
}  // namespace lb
