#include "lb/supervisor/config_keeper.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "lb/base/file.hpp"
#include "lb/base/hash.hpp"

namespace lb {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

class ConfigKeeperTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "lb-keep-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    auto log = EventLog::open({.format = LogFormat::json, .path = folder_ / "log", .role = "supervisor"});
    ASSERT_TRUE(log);
    log_ = std::move(*log);
    keeper_.emplace(*log_, folder_ / "kept");
  }
  void TearDown() override {
    keeper_.reset();
    log_.reset();
    fs::remove_all(folder_);
  }
  static KeptConfig config(const std::string& text) {
    auto file = memory_file("lb-test", text);
    EXPECT_TRUE(file);
    return {.hash = hash_bytes(text), .file = std::make_shared<const Fd>(std::move(*file))};
  }
  std::string kept() const {
    std::stringstream text;
    text << std::ifstream{folder_ / "kept"}.rdbuf();
    return text.str();
  }
  /// `requests` at one backend, of which `failures` failed, none before.
  ConfigKeeper::Reason sampled(std::uint64_t requests, std::uint64_t failures) {
    now_ += seconds{1};
    return keeper_->sampled(now_, {{.name = "b1",
                                    .before = {1000, 0},
                                    .meanwhile_old = {},
                                    .after = {.requests = requests, .failures = failures}}});
  }

  static constexpr ReloadRules kRules{
      .probation_ms = 10'000, .requests_min = 50, .failure_increase_ppm = 100'000};
  static constexpr ReloadRules kNoProbation{};
  fs::path folder_;
  std::unique_ptr<EventLog> log_;
  std::optional<ConfigKeeper> keeper_;
  Instant now_{seconds{1000}};
};

TEST_F(ConfigKeeperTest, WithoutProbationWhatServesIsGood) {
  EXPECT_EQ(keeper_->last_good(), nullptr);
  EXPECT_FALSE(keeper_->serving(now_, config("one"), kNoProbation));
  EXPECT_EQ(keeper_->last_good()->hash, hash_bytes("one"));
  EXPECT_EQ(keeper_->next_deadline(), kNever);
  EXPECT_EQ(kept(), "one");
  struct stat info{};
  ASSERT_EQ(::stat((folder_ / "kept").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
}

TEST_F(ConfigKeeperTest, ProbationProves) {
  keeper_->serving(now_, config("one"), kNoProbation);
  EXPECT_FALSE(keeper_->serving(now_, config("two"), kRules));
  EXPECT_EQ(keeper_->last_good()->hash, hash_bytes("one")) << "not yet";
  ASSERT_EQ(keeper_->next_deadline(), now_ + seconds{10});
  EXPECT_FALSE(keeper_->tick(now_ + seconds{10}));
  EXPECT_EQ(keeper_->last_good()->hash, hash_bytes("two"));
  EXPECT_EQ(kept(), "two");
}

TEST_F(ConfigKeeperTest, AWorseOneGoesBackAndIsNotTriedAgainUnasked) {
  keeper_->serving(now_, config("one"), kRules);
  keeper_->tick(now_ + seconds{10});
  now_ += seconds{10};
  keeper_->serving(now_, config("two"), kRules);
  EXPECT_FALSE(sampled(49, 49)) << "too few";
  const auto reason = sampled(60, 60);
  ASSERT_TRUE(reason);
  EXPECT_NE(reason->find("b1"), std::string::npos) << *reason;
  EXPECT_FALSE(keeper_->may_try(hash_bytes("two")));
  // What serves next has other rules, and so another policy, or none: the failure is remembered.
  keeper_->serving(now_, config("one"), {.probation_ms = 5000, .requests_min = 1});
  EXPECT_FALSE(keeper_->rollback_ended(now_, true));
  EXPECT_FALSE(keeper_->may_try(hash_bytes("two")));
  keeper_->serving(now_, config("one"), kNoProbation);
  EXPECT_FALSE(keeper_->may_try(hash_bytes("two")));
  EXPECT_TRUE(keeper_->may_try(hash_bytes("three")));
  keeper_->serving(now_, config("two"), kNoProbation);
  EXPECT_TRUE(keeper_->may_try(hash_bytes("two"))) << "good after all";
}

TEST_F(ConfigKeeperTest, ADeathOnProbationSaysWhy) {
  keeper_->serving(now_, config("one"), kNoProbation);
  keeper_->serving(now_, config("two"), kRules);
  const auto reason = keeper_->died(now_, "killed by signal 11");
  ASSERT_TRUE(reason);
  EXPECT_NE(reason->find("signal 11"), std::string::npos) << *reason;
  EXPECT_EQ(keeper_->last_good()->hash, hash_bytes("one"));
}

TEST_F(ConfigKeeperTest, TheFirstOneHasNothingToGoBackTo) {
  keeper_->serving(now_, config("one"), kRules);
  EXPECT_EQ(keeper_->last_good()->hash, hash_bytes("one")) << "nothing else there is";
  EXPECT_FALSE(sampled(100, 100));
  EXPECT_FALSE(keeper_->died(now_, "killed by signal 11"));
}

TEST_F(ConfigKeeperTest, RestoresWhatWasKept) {
  std::ofstream{folder_ / "kept"} << "from before";
  ASSERT_TRUE(keeper_->restore(1));
  EXPECT_EQ(keeper_->last_good()->hash, hash_bytes("from before"));
  EXPECT_EQ(keeper_->last_good()->format, 1);
  fs::remove(folder_ / "kept");
  ConfigKeeper other{*log_, folder_ / "kept"};
  EXPECT_FALSE(other.restore(0));
  EXPECT_EQ(other.last_good(), nullptr);
}

TEST_F(ConfigKeeperTest, AFullDiskCostsTheCopyOnly) {
  ConfigKeeper keeper{*log_, folder_ / "missing" / "kept"};
  EXPECT_FALSE(keeper.serving(now_, config("one"), kNoProbation));
  EXPECT_EQ(keeper.last_good()->hash, hash_bytes("one"));
}

/// Says that everything has failed, whatever happens, and that a tick was due long ago.
class Hysteric final : public RollbackPolicy {
 public:
  RollbackDecision on_event(const RollbackEvent&) override {
    return {RollbackDecision::Action::roll_back, 1, "I do not like it"};
  }
  [[nodiscard]] Instant next_deadline() const override { return {}; }
  [[nodiscard]] std::optional<ConfigHash> proven() const override { return {}; }
  [[nodiscard]] bool may_try(ConfigHash) const override { return true; }
};

TEST_F(ConfigKeeperTest, NobodyGoesBackForEver) {
  ConfigKeeper keeper{*log_, "", [](RollbackLimits) { return std::make_unique<Hysteric>(); }};
  keeper.serving(now_, config("one"), kNoProbation);
  EXPECT_TRUE(keeper.serving(now_, config("two"), kRules));
  EXPECT_FALSE(keeper.sampled(now_, {}));
  EXPECT_FALSE(keeper.rejected(now_, hash_bytes("three"), "no"));
  EXPECT_FALSE(keeper.rollback_ended(now_, false)) << "once for each configuration that serves";
  EXPECT_FALSE(keeper.tick(now_));
  EXPECT_FALSE(keeper.serving(now_, config("one"), kRules)) << "there is nothing to go back to";
  EXPECT_FALSE(keeper.may_try(hash_bytes("two"))) << "the watch does not bring it back";
  EXPECT_TRUE(keeper.may_try(hash_bytes("one"))) << "it proved good";
}

}  // namespace
}  // namespace lb
