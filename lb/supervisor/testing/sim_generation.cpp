// The generations of the simulated world: what each does with what it is told, as
// lb/supervisor/generation*.cpp do.
#include <algorithm>

#include "lb/supervisor/testing/sim_world.hpp"

namespace lb::simulator {

void World::draw_plan(Process& process, bool from_file) {
  Random random{mix64(options_.seed ^ (0x9000U + static_cast<std::uint64_t>(process.number)))};
  const auto thing = static_cast<std::uint64_t>(process.number);
  if (odd(Odd::fate, thing, from_file ? chaos_ / 2 : chaos_ / 4, random)) {
    const Fate fates[] = {Fate::crashes_loading, Fate::hangs_loading, Fate::crashes_warming,
                          Fate::hangs_warming, Fate::refuses_listener};
    process.fate = fates[random.below(5)];
  }
  if (process.config->invalid && from_file) process.fate = Fate::refuses_config;
  const bool slow = odd(Odd::slow_load, thing, 5, random);
  process.load_time = between(random, milliseconds{1}, milliseconds{slow ? 31'000 : 500});
  if (process.load_time > limits_.load_timeout) process.fate = Fate::hangs_loading;
  process.warm_time = between(random, milliseconds{1}, seconds{1});
  process.answer_time = between(random, milliseconds{0}, milliseconds{random.below(20) == 0 ? 6000 : 20});
  process.drain_time = between(random, milliseconds{1},
                               random.below(3) == 0 ? Duration{kDrainTimeout} : Duration{milliseconds{50}});
  process.crashes_draining = odd(Odd::crashes_draining, thing, chaos_ / 10, random);
  process.hangs_draining = odd(Odd::hangs_draining, thing, chaos_ / 10, random);
  process.overstays = odd(Odd::overstays, thing, 8, random);
  process.crashes_parked = odd(Odd::crashes_parked, thing, chaos_ / 10, random);
  process.hangs_parked = odd(Odd::hangs_parked, thing, chaos_ / 10, random);
  process.crashes_resuming = odd(Odd::crashes_resuming, thing, chaos_ / 10, random);
  process.random = Random{random()};
}

// ---- what it says, and what reaches it ----

/// An event reaches the supervisor later, after those sent before; an end may overtake them.
void World::say(GenerationId number, Duration in, ReloadEvent event) {
  Process& p = process(number);
  Instant at = now_ + in;
  const bool end = std::holds_alternative<Exited>(event);
  if (!(end && odd(Odd::overtaken, static_cast<std::uint64_t>(number), 5, p.random))) {
    at = std::max(at, p.last_event);
  }
  p.last_event = std::max(p.last_event, at);
  plan(at - now_, [this, life = life_, number, event = std::move(event)] {
    if (supervisor_alive_ && life == life_ && !exited_ && phase_of(number)) feed(event);
  });
}

void World::deliver(GenerationId number, std::function<void(Process&)> handle) {
  Process& to = process(number);
  const Duration in = between(to.random, Duration{0}, milliseconds{3});
  const Instant at = std::max(now_ + in, to.last_message);
  to.last_message = at;
  ++to.unhandled;
  plan(at - now_, [this, number, handle = std::move(handle)] {
    Process& p = process(number);
    --p.unhandled;
    if (p.alive && !p.hung) handle(p);
  });
}

// ---- to READY ----

void World::begin_loading(GenerationId number) {
  Process& p = process(number);
  const GenerationId id = id_of(number);
  if (odd(Odd::spawn_fails, static_cast<std::uint64_t>(number), chaos_ / 12, p.random)) {
    p.alive = false;
    return say(number, Duration{0}, SpawnFailed{id, "fork: out of memory"});
  }
  switch (p.fate) {
    case Fate::refuses_config:
      say(number, p.load_time, Failed{id, StartFailure::invalid_config, "bad configuration"});
      if (!p.overstays) die(number, p.load_time + milliseconds{1}, "exit status 1");
      return;
    case Fate::crashes_loading:
      return die(number, p.load_time, "killed by signal 11");
    case Fate::hangs_loading:
      p.hung = true;
      return;
    default:
      plan(p.load_time, [this, number, id, life = life_] {
        if (process(number).alive && life == life_) say(number, Duration{0}, Loaded{id});
      });
  }
}

void World::proceed(Process& p, const std::set<Shard>& held) {
  p.proceeded = true;
  const GenerationId number = p.number;
  switch (p.fate) {
    case Fate::refuses_listener:
      say(number, p.warm_time, Failed{id_of(number), StartFailure::cannot_listen, "address in use"});
      return die(number, p.warm_time + milliseconds{1}, "exit status 1");
    case Fate::crashes_warming:
      return die(number, p.warm_time, "killed by signal 6");
    case Fate::hangs_warming:
      p.hung = true;
      return;
    default:
      break;
  }
  for (const int endpoint : p.config->endpoints) {
    int found = 0;
    for (const Shard& shard : held) {
      if (shard.first != endpoint) continue;
      p.shards.insert(shard);
      ++found;
    }
    const int wanted = p.from_file ? p.config->workers : 1;
    for (; found < wanted; ++found) p.shards.emplace(endpoint, found);
  }
  plan(p.warm_time, [this, number, life = life_] {
    if (Process& one = process(number); one.alive && life == life_) become_ready(one);
  });
}

void World::become_ready(Process& p) {
  const GenerationId number = p.number;
  p.ready = true;
  p.uses = p.config->hash;
  p.serving_since = now_;
  if (options_.sabotage == Sabotage::early_ready) {
    plan(seconds{3}, [this, number] { process(number).accepting = !process(number).draining; });
  } else {
    p.accepting = true;
  }
  tell("generation ", number, " polls its listeners");
  const bool probation = keeper_->needs_probation(p.config->hash, {.probation_ms = p.config->probation_ms});
  say(number, Duration{0}, Ready{id_of(number), kDrainTimeout, probation});
  if (!p.config->fatal) return;
  plan(between(p.random, milliseconds{1}, seconds{4}), [this, number] {
    if (process(number).accepting) crash(number, "killed by signal 11 (a request it cannot bear)");
  });
}

// ---- draining, parked, resumed ----

void World::on_successor(Process& p, GenerationId successor, std::uint64_t backends, bool park) {
  if (p.hangs_draining) p.hung = true;
  if (p.crashes_draining) return crash(p.number, "killed by signal 11");
  if (p.hung) return;
  const GenerationId number = p.number;
  plan(p.answer_time, [this, number, successor, backends, park] {
    Process& one = process(number);
    if (!one.alive || one.hung) return;
    one.uses = backends;
    one.successor = successor;
    one.parked = park && !one.told_to_end && options_.sabotage != Sabotage::park_drains;
    begin_draining(one);
    tell("generation ", number, one.parked ? " is parked behind " : " drains behind ", successor);
    say(number, milliseconds{1}, DrainAcknowledged{id_of(number), id_of(successor)});
    if (one.parked && one.crashes_parked) {
      plan(between(one.random, milliseconds{1}, seconds{3}), [this, number] {
        if (process(number).parked) crash(number, "killed by signal 9");
      });
    }
    if (one.parked && one.hangs_parked) one.hung = true;
    if (!one.parked && one.drained) drained(one);
  });
  p.last_message = std::max(p.last_message, now_ + p.answer_time);  // one after the other
}

void World::begin_draining(Process& p) {
  count_traffic(p);
  p.accepting = false;
  if (std::exchange(p.draining, true)) return;
  const GenerationId number = p.number;
  const std::uint64_t epoch = ++p.drains_begun;
  if (p.overstays) return;
  plan(p.drain_time, [this, number, epoch] {
    Process& one = process(number);
    if (!one.alive || one.hung || !one.draining || one.drains_begun != epoch) return;
    one.drained = true;
    drained(one);
  });
}

/// Nothing is left: it exits, unless it is parked.
void World::drained(Process& p) {
  if (p.parked) return;
  die(p.number, Duration{0}, "exit status 0");
}

void World::on_resume(Process& p, const std::set<Shard>& held) {
  if (p.crashes_resuming) return crash(p.number, "killed by signal 11");
  if (!p.parked) return tell("generation ", p.number, " is parked no more, and does not resume");
  p.parked = p.draining = p.drained = p.told_to_end = false;
  if (options_.sabotage != Sabotage::resume_lost_backends) p.uses = p.config->hash;
  if (options_.sabotage != Sabotage::resume_old_shards) {
    for (const Shard& shard : held) {
      if (p.config->endpoints.contains(shard.first)) p.shards.insert(shard);
    }
  }
  p.accepting = options_.sabotage != Sabotage::resume_deaf;
  p.serving_since = now_;
  tell("generation ", p.number, " accepts again");
  say(p.number, milliseconds{1}, Resumed{id_of(p.number)});
}

void World::on_release(Process& p) {
  p.told_to_end = true;
  p.parked = false;
  begin_draining(p);
  say(p.number, Duration{0}, DrainAcknowledged{id_of(p.number), std::nullopt});
  if (p.drained) drained(p);
}

void World::on_drain(Process& p) {
  if (p.hangs_draining) p.hung = true;
  if (p.crashes_draining) return crash(p.number, "killed by signal 11");
  if (!p.hung) on_release(p);
}

/// SIGUSR2, of the supervisor's or somebody else's. It may wake up one that hangs.
void World::signal_drain(GenerationId number) {
  Process& p = process(number);
  if (!p.alive || !p.ready) return;
  if (p.hung && chance(p.random, 50)) p.hung = false;
  ++p.unhandled;
  plan(milliseconds{1}, [this, number] {
    Process& one = process(number);
    --one.unhandled;
    if (one.alive && !one.hung) on_release(one);
  });
}

void World::on_probe(Process& p) {
  const bool good = options_.sabotage == Sabotage::ignore_probe || (p.accepting && !p.config->deaf);
  say(p.number, between(p.random, milliseconds{1}, milliseconds{20}),
      Probed{id_of(p.number), good, good ? "" : "listener 1: nobody accepted"});
}

// ---- ends ----

void World::quit(GenerationId number) {
  Process& p = process(number);
  if (!p.hung && !p.overstays) die(number, between(p.random, milliseconds{0}, milliseconds{100}), "quit");
}

void World::kill(GenerationId number) {
  if (options_.sabotage == Sabotage::lose_restart && !processes_.contains(number)) return;
  process(number).killed = true;
  if (options_.sabotage == Sabotage::lose_kill) return;
  die(number, milliseconds{2}, "killed by signal 9");
}

void World::crash(GenerationId number, const char* how) {
  Process& p = process(number);
  if (!p.alive) return;
  p.crashed = true;
  die(number, Duration{0}, how);
}

void World::die(GenerationId number, Duration in, const std::string& how) {
  plan(in, [this, number, how] {
    Process& p = process(number);
    if (!p.alive) return;
    p.alive = p.accepting = p.parked = false;
    tell("generation ", number, " ends: ", how);
    say(number, between(p.random, milliseconds{0}, milliseconds{20}), Exited{id_of(number), how});
  });
}

/// Its channel is closed: what serves serves on, everything else ends.
void World::lose_supervisor(Process& p) {
  if (!p.ready) return die(p.number, Duration{0}, "exit status 1");
  if (!p.draining) {
    p.orphan = true;
    tell("generation ", p.number, " serves on without a supervisor");
    return;
  }
  p.told_to_end = true;
  p.parked = false;
  if (p.drained) drained(p);
}

/// 30 requests a second; half of them fail where the configuration is a bad one.
void World::count_traffic(Process& p) {
  if (!p.accepting) return;
  const auto count = static_cast<std::uint64_t>(to_ms(now_ - p.serving_since) * 30 / 1000);
  p.requests += count;
  if (p.uses != 0 && configs_.at(p.uses).failing) p.failures += count / 2;
  p.serving_since += milliseconds{count * 1000 / 30};
}

}  // namespace lb::simulator
