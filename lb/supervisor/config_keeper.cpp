#include "lb/supervisor/config_keeper.hpp"

#include <algorithm>
#include <cerrno>
#include <tuple>
#include <utility>

#include "lb/base/file.hpp"
#include "lb/base/guard.hpp"
#include "lb/base/hash.hpp"
#include "lb/config/config.hpp"

namespace lb {
namespace {

constexpr unsigned kLastGoodMode = 0600;  // like the configuration, it may hold secrets

RollbackLimits limits_of(const ReloadRules& rules) {
  return {.probation = Milliseconds{rules.probation_ms},
          .requests_min = rules.requests_min,
          .failure_increase = static_cast<double>(rules.failure_increase_ppm) / 1e6};
}

bool same_judgement(const ReloadRules& a, const ReloadRules& b) {
  return a.probation_ms == b.probation_ms && a.requests_min == b.requests_min &&
         a.failure_increase_ppm == b.failure_increase_ppm;
}

}  // namespace

bool ConfigKeeper::restore(std::uint8_t format) {
  auto text = read_file(path_, kConfigBytesMax);
  if (!text) {
    if (text.error().os_error != ENOENT) log_.warn("last_good.unreadable", text.error().message);
    return false;
  }
  auto file = memory_file("lb-last-good", *text);
  if (!file) {
    log_.warn("last_good.unreadable", file.error().message);
    return false;
  }
  proven_ = KeptConfig{hash_bytes(*text), format, std::make_shared<const Fd>(std::move(*file))};
  return true;
}

const KeptConfig* ConfigKeeper::last_good() const {
  if (proven_) return &*proven_;
  return serving_ ? &*serving_ : nullptr;
}

/// A changed rule makes a new policy, which learns what has proved good so far and what has failed.
void ConfigKeeper::use_rules(Instant now, const ReloadRules& rules) {
  if (rules_ && same_judgement(*rules_, rules)) return;
  rules_ = rules;
  policy_.reset();
  if (rules.probation_ms == 0) return;
  auto made = guarded("make_rollback_policy", [&] { return make_policy_(limits_of(rules)); });
  if (!made || *made == nullptr) {
    log_.warn("probation.off", made ? "there is no rollback policy" : made.error().message);
    return;
  }
  policy_ = std::move(*made);
  for (const std::uint64_t hash : failed_) feed(ConfigRejected{now, hash, "failed before"});
  if (!proven_) return;
  feed(ConfigServing{now - Milliseconds{rules.probation_ms}, proven_->hash});
  feed(ProbationTick{now});
}

ConfigKeeper::Reason ConfigKeeper::serving(Instant now, KeptConfig config, const ReloadRules& rules) {
  use_rules(now, rules);
  serving_ = std::move(config);
  rollback_asked_ = condemned_ = false;
  if (policy_) return feed(ConfigServing{now, serving_->hash});
  prove(*serving_);
  return std::nullopt;
}

ConfigKeeper::Reason ConfigKeeper::sampled(Instant now, std::vector<BackendSample> backends) {
  if (!serving_ || condemned_) return std::nullopt;
  return feed(TrafficSample{now, serving_->hash, std::move(backends)});
}

ConfigKeeper::Reason ConfigKeeper::died(Instant now, const std::string& how) {
  if (!serving_) return std::nullopt;
  return feed(ServingDied{now, serving_->hash, how});
}

ConfigKeeper::Reason ConfigKeeper::rejected(Instant now, std::uint64_t hash, const std::string& why) {
  if (!proven_ || proven_->hash != hash) remember_failed(hash);
  return feed(ConfigRejected{now, hash, why});
}

ConfigKeeper::Reason ConfigKeeper::rollback_ended(Instant now, bool applied) {
  return feed(RollbackEnded{now, applied});
}

ConfigKeeper::Reason ConfigKeeper::condemn(Instant now, const std::string& why) {
  if (!serving_ || (proven_ && proven_->hash == serving_->hash)) return std::nullopt;
  condemned_ = true;
  remember_failed(serving_->hash);
  std::ignore = feed(ConfigRejected{now, serving_->hash, why});
  const bool asked = std::exchange(rollback_asked_, true);
  return proven_ && !asked ? Reason{why} : std::nullopt;
}

ConfigKeeper::Reason ConfigKeeper::tick(Instant now) {
  if (condemned_) return std::nullopt;
  return feed(ProbationTick{now});
}

Instant ConfigKeeper::next_deadline() const {
  if (!policy_ || condemned_) return kNever;
  return guarded("RollbackPolicy::next_deadline", [&] { return policy_->next_deadline(); }).value_or(kNever);
}

bool ConfigKeeper::may_try(std::uint64_t hash) const {
  if (std::ranges::find(failed_, hash) != failed_.end()) return false;
  if (!policy_) return true;
  return guarded("RollbackPolicy::may_try", [&] { return policy_->may_try(hash); }).value_or(true);
}

ConfigKeeper::Reason ConfigKeeper::feed(const RollbackEvent& event) {
  using Action = RollbackDecision::Action;
  if (!policy_) return std::nullopt;
  const auto decision = guarded("RollbackPolicy::on_event", [&] { return policy_->on_event(event); });
  if (!decision) {
    // A policy that breaks is as good as none: what serves now has to do.
    log_.error("probation.off", decision.error().message);
    policy_.reset();
    if (serving_) prove(*serving_);
    return std::nullopt;
  }
  if (decision->action == Action::roll_back) {
    if (serving_ && (!proven_ || proven_->hash != serving_->hash)) remember_failed(serving_->hash);
    const bool asked = std::exchange(rollback_asked_, true);
    const bool possible = proven_ && serving_ && proven_->hash != serving_->hash;
    if (possible && !asked)
      return decision->reason.empty() ? "the rollback policy says so" : decision->reason;
    if (!asked) {
      log_.error("probation.no_way_back",
                 "the rollback policy wants to go back, but nothing else proved good");
    }
    // It waits for the end of what does not even begin.
    if (const auto* sample = std::get_if<TrafficSample>(&event))
      return feed(RollbackEnded{sample->now, false});
  }
  if (decision->action == Action::prove && serving_ && serving_->hash == decision->config) prove(*serving_);
  return std::nullopt;
}

void ConfigKeeper::remember_failed(std::uint64_t hash) {
  std::erase(failed_, hash);
  failed_.push_back(hash);
  if (failed_.size() > RollbackLimits{}.failed_max) failed_.pop_front();
}

void ConfigKeeper::prove(const KeptConfig& config) {
  const bool news = !proven_ || proven_->hash != config.hash;
  proven_ = config;
  std::erase(failed_, config.hash);
  if (!news) return;
  log_.info("config.good", "this configuration counts as good from now on",
            {{"config", hash_text(config.hash)}});
  if (path_.empty()) return;
  const auto text = read_fd(config.file->get(), "the last good configuration", kConfigBytesMax);
  const auto written =
      text ? write_file_atomic(path_, *text, kLastGoodMode) : Result<void>{std::unexpected(text.error())};
  if (!written) log_.error("last_good.not_kept", written.error().message, {{"path", path_}});
}

}  // namespace lb
