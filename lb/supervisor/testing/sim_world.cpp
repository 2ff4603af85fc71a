// The supervisor of the simulated world: what comes in, what the machine decides, what happens without being
// asked; and the operators.
#include "lb/supervisor/testing/sim_world.hpp"

#include <algorithm>
#include <ranges>
#include <utility>

#include "lb/base/guard.hpp"
#include "lb/reload/command_text.hpp"

namespace lb::simulator {
namespace {

/// Of a build whose seam is still an exercise: what serves long enough has proved good.
class PatientPolicy final : public RollbackPolicy {
 public:
  explicit PatientPolicy(RollbackLimits limits) : limits_(limits) {}
  RollbackDecision on_event(const RollbackEvent& event) override {
    if (const auto* e = std::get_if<ConfigServing>(&event)) {
      serving_ = e->config;
      end_ = proven_ == e->config ? kNever : e->now + limits_.probation;
    } else if (std::holds_alternative<ServingDied>(event)) {
      end_ = kNever;
    } else if (const auto* tick = std::get_if<ProbationTick>(&event); tick && tick->now >= end_) {
      end_ = kNever;
      proven_ = serving_;
      return {RollbackDecision::Action::prove, serving_, {}};
    }
    return {};
  }
  [[nodiscard]] Instant next_deadline() const override { return end_; }
  [[nodiscard]] std::optional<ConfigHash> proven() const override { return proven_; }
  [[nodiscard]] bool may_try(ConfigHash) const override { return true; }

 private:
  RollbackLimits limits_;
  ConfigHash serving_ = 0;
  Instant end_ = kNever;
  std::optional<ConfigHash> proven_;
};

std::unique_ptr<RollbackPolicy> make_policy(RollbackLimits limits) {
  auto made = guarded("make_rollback_policy", [&] { return make_rollback_policy(limits); });
  if (made && *made != nullptr) return std::move(*made);
  return std::make_unique<PatientPolicy>(limits);
}

}  // namespace

World::World(const Options& options) : options_(options) {
  Random random{options.seed};
  chaos_ = random.below(100);  // some worlds are calm, some are not
  limits_.draining_max = random.below(4) == 0 ? 3 : 64;
  limits_.probe_timeout = seconds{5};
  auto log = EventLog::open({.path = "/dev/null"});
  LB_ASSERT(log);
  log_ = std::move(*log);
}

Report World::run() {
  Random random{mix64(options_.seed ^ 1U)};
  if (odd(Odd::fallback, 0, 30, random)) kept_ = new_config(true).hash;
  file_ = &new_config(chance(random, 60));
  if (odd(Odd::adopted, 0, 15, random)) {  // left by a former supervisor
    const GenerationId count = chance(random, 30) ? 2 : 1;
    for (GenerationId i = 0; i < count; ++i) {
      Process process{.number = ++last_number_, .config = &new_config(true)};
      draw_plan(process, true);
      process.ready = process.proceeded = process.accepting = process.orphan = true;
      process.uses = process.config->hash;
      for (const int endpoint : process.config->endpoints) process.shards.emplace(endpoint, 0);
      processes_.emplace(process.number, std::move(process));
    }
  }
  begin_supervisor(true);
  plan_operators();
  for (std::uint64_t turns = 0; violation_.empty() && !exited_ && report_.steps < kStepsMax; ++turns) {
    if (turns > 2 * kStepsMax) fail("time goes by and nothing happens");
    turn();
  }
  if (violation_.empty()) check_end();
  report_.violation = violation_;
  return std::move(report_);
}

bool World::odd(Odd kind, std::uint64_t thing, std::uint32_t percent, Random& random) {
  if (random.below(100) >= percent) return false;
  const Oddity oddity = thing * 64 + static_cast<std::uint64_t>(kind);
  if (options_.left_out.contains(oddity)) return false;
  report_.oddities.push_back(oddity);
  return true;
}

Duration World::between(Random& random, Duration low, Duration high) {
  const auto span_us = std::chrono::duration_cast<std::chrono::microseconds>(high - low).count();
  return low + std::chrono::microseconds{random.below(static_cast<std::uint32_t>(span_us) + 1)};
}

void World::write_line(const std::string& line) {
  std::string at = std::to_string(to_ms(now_.time_since_epoch() - seconds{1000}));
  at.insert(0, at.size() < 7 ? 7 - at.size() : 0, ' ');
  report_.story += at + " ms  " + line + "\n";
}

Process* World::current() {
  if (!supervisor_alive_ || !machine_.current()) return nullptr;
  return &process(number(*machine_.current()));
}

void World::turn() {
  Instant deadline = kNever;
  if (supervisor_alive_) deadline = std::min(machine_.next_deadline(), unasked_deadline());
  if (agenda_.empty() && deadline == kNever) return fail("nothing will ever happen again");
  if (!agenda_.empty() && agenda_.top().at <= deadline) {
    auto next = agenda_.top();
    agenda_.pop();
    now_ = std::max(now_, next.at);
    next.act();
  } else {
    now_ = std::max(now_, deadline);
    if (machine_.next_deadline() <= now_) feed(Tick{});
    if (supervisor_alive_) unasked();
  }
  if (supervisor_alive_ && judged_ && machine_.current() == judged_ && !keeper_->on_probation() &&
      !machine_.going_back()) {
    const GenerationId id = *std::exchange(judged_, std::nullopt);
    feed(ProbationEnded{id, keeper_->serving_is_proven()}, "nothing is judged any more");
  }
  if (violation_.empty()) check();
}

// ---- the supervisor's life ----

void World::begin_supervisor(bool first) {
  ++report_.supervisors;
  ++life_;
  supervisor_alive_ = true;
  machine_ = ReloadMachine{limits_};
  keeper_ = std::make_unique<ConfigKeeper>(*log_, std::string{}, make_policy);
  sampler_ = TrafficSampler{};
  sample_at_ = kNever;
  judged_.reset();
  held_.clear();
  rollback_open_ = false;
  booted_ = false;
  adopted_base_ = fresh_base_ = last_number_;
  std::vector<GenerationId> orphans;
  for (auto& [number, p] : processes_) {
    if (p.alive && p.orphan && !p.hung) orphans.push_back(number);
  }
  if (!orphans.empty()) adopted_base_ = orphans.back();
  feed(Boot{.fallback = kept_ != 0}, first ? "the first start" : "started again");
  for (const auto orphan : std::views::reverse(orphans)) {
    Process& p = process(orphan);
    p.orphan = false;
    if (orphan == adopted_base_) held_ = p.shards;
    feed(Adopted{id_of(orphan), kDrainTimeout}, "left by a former supervisor");
  }
}

void World::kill_supervisor() {
  if (!supervisor_alive_) return;
  tell("the supervisor is killed");
  supervisor_alive_ = false;
  ++life_;
  held_.clear();
  events_.clear();
  unserved_since_.reset();
  unreleased_since_.reset();
  for (auto& [caller, c] : callers_) {
    if (c.answers == 0) c.left = true;  // its connection was closed
  }
  for (auto& [number, p] : processes_) {
    if (p.alive) deliver(number, [this](Process& one) { lose_supervisor(one); });
  }
  Random random{mix64(options_.seed ^ (0x5000U + life_))};
  plan(between(random, milliseconds{100}, seconds{5}), [this] { begin_supervisor(false); });
}

void World::exit_program(int code) {
  const bool orphans = std::any_of(processes_.begin(), processes_.end(), [](const auto& entry) {
    return entry.second.alive && entry.second.ready && !entry.second.draining && !entry.second.killed;
  });
  if (code == 0 || !orphans || stop_asked_) {
    exited_ = true;
    return;
  }
  file_ = &new_config(true);  // somebody mends it
  tell("the start failed; what served before serves on");
  // What the dying supervisor still says has been said: its end is the end of the channels.
  plan(Duration{0}, [this] { kill_supervisor(); });
}

void World::feed(ReloadEvent event, const char* why) {
  events_.emplace_back(std::move(event), why);
  if (std::exchange(feeding_, true)) return;
  while (!events_.empty() && violation_.empty()) {
    const auto next = std::move(events_.front());
    events_.pop_front();
    step(next.first, next.second);
  }
  feeding_ = false;
}

void World::step(const ReloadEvent& event, const char* why) {
  ++report_.steps;
  if (options_.story)
    tell("supervisor: ", event_text(event), *why == 0 ? "" : "  (", why, *why == 0 ? "" : ")");
  for (const auto& command : machine_.step(now_, event)) {
    if (options_.story) tell("    -> ", command_text(command));
    if (exited_) fail("a command after the last one");
    carry_out(command);
  }
}

// ---- commands ----

void World::carry_out(const ReloadCommand& command) {
  const auto to = [this](GenerationId id) { return number(id); };
  if (const auto* c = std::get_if<Spawn>(&command)) return spawn(*c);
  if (const auto* c = std::get_if<Proceed>(&command)) {
    if (process(to(c->id)).proceeded) return fail("told to proceed twice");
    return deliver(to(c->id), [this, held = held_](Process& p) { proceed(p, held); });
  }
  if (const auto* c = std::get_if<Promote>(&command)) return promote(to(c->id));
  if (const auto* c = std::get_if<HandOver>(&command)) return hand_over(*c);
  if (const auto* c = std::get_if<Resume>(&command)) {
    return deliver(to(c->id), [this, held = held_](Process& p) { on_resume(p, held); });
  }
  if (const auto* c = std::get_if<Release>(&command)) {
    const bool needed = keeper_->on_probation() && machine_.mode() == ReloadMachine::Mode::running;
    if (needed && current() != nullptr) fail("the parked generation is let go while it is needed");
    if (options_.sabotage == Sabotage::keep_parked) return;
    return deliver(to(c->id), [this](Process& p) { on_release(p); });
  }
  if (const auto* c = std::get_if<Probe>(&command)) {
    return deliver(to(c->id), [this](Process& p) { on_probe(p); });
  }
  if (const auto* c = std::get_if<DrainForExit>(&command)) {
    return deliver(to(c->id), [this](Process& p) { on_drain(p); });
  }
  if (const auto* c = std::get_if<NudgeDrain>(&command)) return signal_drain(to(c->id));
  if (const auto* c = std::get_if<Quit>(&command)) return quit(to(c->id));
  if (const auto* c = std::get_if<Kill>(&command)) return kill(to(c->id));
  if (const auto* c = std::get_if<Answer>(&command)) return answer(*c);
  if (const auto* c = std::get_if<Note>(&command)) return note(*c);
  if (std::holds_alternative<ReleaseListeners>(command)) return release_listeners();
  if (std::holds_alternative<CloseListeners>(command)) held_.clear();
  if (const auto* c = std::get_if<ExitProgram>(&command)) exit_program(c->code);
}

void World::spawn(const Spawn& command) {
  const GenerationId born = number(command.id);
  const bool from_file = command.source == ConfigSource::file;
  if (processes_.contains(born)) return fail("a generation was spawned twice");
  if (options_.sabotage == Sabotage::lose_restart && !from_file) return;
  last_number_ = std::max(last_number_, born);
  Process process{.number = born, .config = file_};
  if (!from_file) {
    const KeptConfig* good = keeper_->last_good();
    process.config = &configs_.at(good != nullptr ? good->hash : kept_);
  }
  process.born_step = report_.steps;
  draw_plan(process, from_file);
  process.from_file = from_file;
  processes_.emplace(born, std::move(process));
  begin_loading(born);
}

void World::promote(GenerationId promoted) {
  Process& p = process(promoted);
  if (!p.ready) fail("promoted before it was ready");
  for (const Shard& shard : p.shards) held_.insert(shard);
  booted_ = true;
  if (!p.from_file) ++report_.restarts;
  p.serving_since = now_;
  const bool good = keeper_->current() && keeper_->current()->hash == keeper_->last_good()->hash;
  sampler_.switched(id_of(promoted), status_token_, good);
  const ReloadRules rules{
      .probation_ms = p.config->probation_ms, .requests_min = 20, .failure_increase_ppm = 100'000};
  sample_at_ = rules.probation_ms > 0 ? now_ + seconds{1} : kNever;
  judged_ = id_of(promoted);
  go_back(keeper_->serving(now_, {.hash = p.config->hash}, rules));
}

void World::hand_over(const HandOver& command) {
  const Process& successor = process(number(command.successor));
  const bool running = machine_.mode() == ReloadMachine::Mode::running;
  if (running && !successor.ready) fail("handed over to a generation that is not ready");
  const GenerationId to = number(command.old);
  const GenerationId taker = number(command.successor);
  const bool back = taker < to;
  if (options_.sabotage == Sabotage::resume_unanswered && back) {
    return feed(DrainAcknowledged{command.old, command.successor}, "nobody was asked");
  }
  deliver(to, [this, taker, uses = successor.config->hash, park = command.park](Process& p) {
    on_successor(p, taker, uses, park);
  });
  if (options_.sabotage == Sabotage::missing_acknowledge) {
    feed(DrainAcknowledged{command.old, command.successor}, "as if it had answered");
  }
  if (options_.sabotage == Sabotage::release_needed && command.park) {
    carry_out(Release{command.old});
  }
}

void World::release_listeners() {
  if (options_.sabotage == Sabotage::release_too_early) return held_.clear();
  std::set<int> endpoints;
  const auto keep = [&](std::optional<GenerationId> id) {
    if (!id) return;
    const auto& of = process(number(*id)).config->endpoints;
    endpoints.insert(of.begin(), of.end());
  };
  if (!machine_.current()) return;
  keep(machine_.current());
  if (options_.sabotage != Sabotage::close_parked_sockets) keep(machine_.parked());
  std::erase_if(held_, [&](const Shard& shard) { return !endpoints.contains(shard.first); });
}

void World::note(const Note& command) {
  if (command.kind == NoteKind::resumed) ++report_.resumed;
  if (command.kind == NoteKind::resuming && machine_.current()) {
    std::ignore = keeper_->condemn(now_, command.text);
  }
  if (command.kind == NoteKind::died) {
    const auto parked = machine_.parked();
    could_resume_ = parked && process(number(*parked)).alive && !process(number(*parked)).hung;
    std::ignore = keeper_->died(now_, command.text);
  }
}

void World::answer(const Answer& command) {
  if (command.boot && !command.applied) return;  // the shell is told, and the program exits
  check_answer(command);
  (command.applied ? report_.reloads_applied : report_.reloads_rejected) += 1;
  if (command.applied && command.rollback && command.to) {
    ++report_.undone;
    if (*command.to <= command.from.value_or(0)) ++report_.resumed;
  }
  if (!command.applied && command.to && processes_.contains(number(*command.to))) {
    const Process& p = process(number(*command.to));
    if (p.ready && machine_.current() && !command.rollback && machine_.current() != command.to)
      ++report_.undone;
    go_back(keeper_->rejected(now_, p.config->hash, command.reason));
  }
  if (options_.sabotage != Sabotage::lose_answer || command.callers.empty()) {
    for (const CallerId caller : command.callers) {
      Caller& c = callers_.at(caller);
      c.answers += options_.sabotage == Sabotage::answer_twice ? 2 : 1;
      if (c.answers > 1) fail("caller " + std::to_string(caller) + " was answered twice");
      if (c.left) fail("caller " + std::to_string(caller) + " had left and was answered");
    }
  }
  if (command.rollback) go_back(keeper_->rollback_ended(now_, command.applied));
}

// ---- what happens without being asked ----

void World::go_back(const ConfigKeeper::Reason& reason) {
  if (!reason) return;
  tell("supervisor: judged: ", *reason);
  ask_for_rollback();
}

void World::ask_for_rollback() {
  if (!rollback_open_) rollback_of_ = machine_.current();
  rollback_open_ = true;
  if (options_.sabotage == Sabotage::refuse_rollback) {
    return answer(Answer{.rollback = true, .from = machine_.current(), .reason = "no"});
  }
  feed(RollbackRequested{}, "worse than before");
}

Instant World::unasked_deadline() const {
  return std::min(sample_at_, keeper_->next_deadline());
}

void World::unasked() {
  if (now_ >= sample_at_) sample();
  if (now_ >= keeper_->next_deadline()) go_back(keeper_->tick(now_));
}

void World::sample() {
  ++report_.steps;  // it goes on for ever, also where nothing else does
  sample_at_ = now_ + (keeper_->on_probation() ? seconds{1} : seconds{5});
  ++status_token_;
  for (auto& [number, p] : processes_) {
    if (!p.alive || !p.ready || p.hung || !phase_of(number)) continue;
    count_traffic(p);
    StatusMessage status{.token = status_token_};
    status.backends.push_back(
        {.name = "b", .endpoint = "one", .requests = p.requests, .failures = p.failures});
    sampler_.observe(now_, id_of(number), status);
    if (machine_.current() == id_of(number) && keeper_->on_probation()) {
      go_back(keeper_->sampled(now_, sampler_.sample()));
    }
  }
}

// ---- operators and accidents ----

const SimConfig& World::new_config(bool good) {
  const std::uint64_t hash = configs_.size() + 1;
  Random random{mix64(options_.seed ^ (0xc000U + hash))};
  SimConfig config{.hash = hash, .workers = 1 + static_cast<int>(random.below(3))};
  for (int endpoint = 1; endpoint <= kEndpoints; ++endpoint) {
    if (random.below(100) < 60) config.endpoints.insert(endpoint);
  }
  const std::uint64_t lengths[] = {0, 1000, 3000, 3000, 10'000};
  config.probation_ms = lengths[random.below(5)];
  const std::uint32_t bad = good ? 0 : 20 + chaos_ / 4;
  config.invalid = odd(Odd::config_invalid, hash, bad / 2, random);
  config.failing = odd(Odd::config_failing, hash, bad, random);
  config.deaf = odd(Odd::config_deaf, hash, bad / 2, random);
  config.fatal = odd(Odd::config_fatal, hash, bad, random);
  return configs_[hash] = config;
}

void World::plan_operators() {
  Random random{mix64(options_.seed ^ 2U)};
  const std::uint32_t actions = 1 + random.below(40);
  Duration at{0};
  for (std::uint32_t i = 0; i < actions; ++i) {
    at += chance(random, 40)
              ? Duration{0}
              : between(random, milliseconds{1}, milliseconds{chance(random, 20) ? 20'000 : 1500});
    Random own{random()};
    if (odd(Odd::action, i, 100, random)) plan(at, [this, i, own] { act(i, own); });
  }
  const Duration end = at + between(random, milliseconds{1}, seconds{60});
  const bool term = chance(random, 80);
  const bool twice = odd(Odd::second_term, 0, 30, random);
  const Duration second = between(random, milliseconds{1}, seconds{10});
  plan(end, [this, term, twice, second] {
    // A supervisor that is gone just now is started again first.
    if (!supervisor_alive_) {
      for (auto& [number, p] : processes_) {
        if (p.alive) kill(number);
      }
      exited_ = true;
      return;
    }
    stop_asked_ = true;
    stop_asked_at_ = now_;
    if (!term) return feed(QuitRequested{}, "SIGINT");
    feed(StopRequested{}, "SIGTERM");
    if (!twice) return;
    plan(second, [this] {
      if (!exited_ && supervisor_alive_) feed(QuitRequested{}, "second SIGTERM");
    });
  });
}

void World::act(std::uint64_t, Random random) {
  if (exited_ || stop_asked_ || !supervisor_alive_) return;
  if (booted_ && chance(random, 8)) go_back(keeper_->condemn(now_, "its latency"));
  if (exited_ || !violation_.empty()) return;
  const std::uint32_t what = random.below(100);
  if (chance(random, 60)) file_ = &new_config(chance(random, 40));
  if (what < 45) {
    const CallerId caller = next_caller_++;
    ++report_.callers;
    callers_[caller] = {.asked_step = report_.steps + 1, .asked = now_};
    feed(ReloadRequested{caller}, "lb reload");
  } else if (what < 62) {
    const std::uint32_t storm = 1 + random.below(20);
    for (std::uint32_t i = 0; i < storm && violation_.empty(); ++i) feed(ReloadRequested{}, "SIGHUP");
  } else if (what < 66 && !callers_.empty()) {
    auto it = std::next(callers_.begin(), random.below(static_cast<std::uint32_t>(callers_.size())));
    if (it->second.answers == 0) it->second.left = true;
    feed(CallerLeft{it->first});
  } else if (what < 70) {
    if (chance(random, chaos_)) kill_supervisor();
  } else if (chance(random, chaos_)) {
    act_on_process(what, random);
  }
}

void World::act_on_process(std::uint32_t what, Random& random) {
  if (processes_.empty()) return;
  auto it =
      std::prev(processes_.end(),
                1 + random.below(std::min<std::uint32_t>(4, static_cast<std::uint32_t>(processes_.size()))));
  if (what < 92) return crash(it->first, "killed by signal 11");
  if (it->second.alive && it->second.ready) signal_drain(it->first);  // somebody sent it SIGTERM
}

}  // namespace lb::simulator
