// ConfigKeeper: knows the configuration to go back to: holds the texts of the one that serves and of the last
// one that proved good, asks the RollbackPolicy which is which, and keeps the good one on disk. Owned by the
// supervisor; one thread. It starts nothing: what it wants done is its return value.
//
// Without a policy (lb/reload/rollback.hpp: a build may have none), or with reload.probation 0, a
// configuration counts as good as soon as it serves.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/observe/event_log.hpp"
#include "lb/reload/rollback.hpp"
#include "lb/supervisor/messages.hpp"

namespace lb {

struct KeptConfig {
  std::uint64_t hash = 0;
  std::uint8_t format = 0;           // ConfigFormat
  std::shared_ptr<const Fd> file{};  // its exact text
};

class ConfigKeeper final {
 public:
  using MakePolicy = std::function<std::unique_ptr<RollbackPolicy>(RollbackLimits)>;

  /// `path`: where the last good configuration is kept over restarts of the supervisor; empty: nowhere.
  ConfigKeeper(EventLog& log, std::string path, MakePolicy make_policy = make_rollback_policy)
      : log_(log), path_(std::move(path)), make_policy_(std::move(make_policy)) {}

  /// Takes the configuration kept at `path`, in `format`, as the one to start when the file is bad. False:
  /// there is none, and the log says why.
  bool restore(std::uint8_t format);

  // What happened. Each returns why to go back to last_good() now, or nothing.
  using Reason = std::optional<std::string>;
  Reason serving(Instant now, KeptConfig config, const ReloadRules& rules);
  Reason sampled(Instant now, std::vector<BackendSample> backends);
  /// The serving generation died; what starts next is last_good() anyway: a reason is for the log only.
  Reason died(Instant now, const std::string& how);
  Reason rejected(Instant now, std::uint64_t hash, const std::string& why);
  Reason rollback_ended(Instant now, bool applied);
  /// What serves was found bad by other means than the policy's (the self-probe, its latency): it has failed,
  /// as the policy is told, and is neither judged nor proven any more until it serves anew.
  Reason condemn(Instant now, const std::string& why);
  Reason tick(Instant now);

  /// Whether a configuration that begins to serve has yet to prove good.
  [[nodiscard]] bool needs_probation(std::uint64_t hash, const ReloadRules& rules) const {
    return rules.probation_ms > 0 && !(proven_ && proven_->hash == hash);
  }
  [[nodiscard]] bool serving_is_proven() const {
    return serving_ && proven_ && serving_->hash == proven_->hash;
  }
  [[nodiscard]] Instant next_deadline() const;
  /// Samples are of use.
  [[nodiscard]] bool on_probation() const { return next_deadline() != kNever; }
  /// What a restart or a rollback loads; null before anything served or was restored.
  [[nodiscard]] const KeptConfig* last_good() const;
  /// Of what serves now.
  [[nodiscard]] const std::optional<KeptConfig>& current() const { return serving_; }
  [[nodiscard]] bool may_try(std::uint64_t hash) const;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  void use_rules(Instant now, const ReloadRules& rules);
  Reason feed(const RollbackEvent& event);
  void prove(const KeptConfig& config);
  void remember_failed(std::uint64_t hash);

  EventLog& log_;
  std::string path_;
  MakePolicy make_policy_;
  std::optional<KeptConfig> serving_;
  std::optional<KeptConfig> proven_;
  std::optional<ReloadRules> rules_;
  std::unique_ptr<RollbackPolicy> policy_;
  /// One for each configuration that serves: whatever the policy says, nobody goes back for ever.
  bool rollback_asked_ = false;
  bool condemned_ = false;
  /// Those that failed, oldest first: a policy made anew is told, and where there is none this decides. Else
  /// a file that was rolled back from could be tried again and again.
  std::deque<std::uint64_t> failed_;
};

}  // namespace lb
