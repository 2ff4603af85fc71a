// Scripted conversations with the machine: each test is a list of events and the commands expected.
#include "lb/reload/machine.hpp"

#include <gtest/gtest.h>

#include "lb/reload/command_text.hpp"

namespace lb {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class ReloadMachineTest : public testing::Test {
 protected:
  /// Feeds `event`, returns the commands as one line of text, separated by "; ".
  std::string step(const ReloadEvent& event) {
    std::string text;
    last_ = machine_.step(now_, event);
    for (const auto& command : last_) text += (text.empty() ? "" : "; ") + command_text(command);
    story_ += "  " + event_text(event) + "  =>  " + text + "\n";
    return text;
  }
  std::string after(Duration d) {
    now_ += d;
    return step(Tick{});
  }
  void expect(const ReloadEvent& event, const std::string& commands) {
    EXPECT_EQ(step(event), commands) << story_;
  }

  void boot() {
    expect(Boot{}, "spawn 1 file");
    expect(Loaded{1}, "proceed 1");
    expect(Ready{1, seconds{30}}, "promote 1; answer boot applied ->1; notify ready; release");
  }
  /// A running balancer that has reloaded once: 2 serves, 1 drains.
  void boot_and_reload() {
    boot();
    expect(ReloadRequested{7}, "notify reloading; note reload_begun 2; spawn 2 file");
    expect(Loaded{2}, "proceed 2");
    expect(Ready{2, seconds{30}}, "promote 2; hand over 1 to 2");
    expect(DrainAcknowledged{1, 2}, "answer [7] applied 1->2; notify ready; release");
  }

  Instant now_{seconds{1000}};
  ReloadMachine machine_;
  std::vector<ReloadCommand> last_;
  std::string story_;
};

TEST_F(ReloadMachineTest, BootsAndReloads) {
  boot_and_reload();
  EXPECT_EQ(machine_.current(), 2);
  EXPECT_EQ(machine_.phase(1), ReloadMachine::Phase::draining);
  expect(Exited{1, "exit status 0"}, "");
  EXPECT_EQ(machine_.generations(), 1U);
  EXPECT_EQ(machine_.next_deadline(), kNever);
}

TEST_F(ReloadMachineTest, BootFailureExitsWithItsCode) {
  const std::pair<StartFailure, int> cases[] = {{StartFailure::invalid_config, 1},
                                                {StartFailure::unreadable_config, 2},
                                                {StartFailure::already_running, 3},
                                                {StartFailure::cannot_listen, 4},
                                                {StartFailure::other, 5}};
  for (const auto& [failure, code] : cases) {
    machine_ = ReloadMachine{};
    expect(Boot{}, "spawn 1 file");
    expect(Failed{1, failure, "because"},
           "answer boot rejected ->1 (because); kill 1; exit " + std::to_string(code));
    EXPECT_EQ(machine_.mode(), ReloadMachine::Mode::exited);
  }
}

TEST_F(ReloadMachineTest, BootThatDiesOrHangsExits) {
  expect(Boot{}, "spawn 1 file");
  expect(
      Exited{1, "killed by signal 11"},
      "answer boot rejected ->1 (the new generation ended before it was ready: killed by signal 11); exit 5");
  machine_ = ReloadMachine{};
  expect(Boot{}, "spawn 1 file");
  EXPECT_EQ(after(seconds{30}),
            "kill 1; answer boot rejected ->1 (the new generation did not load its configuration within 30 "
            "s); exit 5");
}

TEST_F(ReloadMachineTest, BootThatCannotForkExits) {
  expect(Boot{}, "spawn 1 file");
  expect(SpawnFailed{1, "fork: out of memory"}, "answer boot rejected ->1 (fork: out of memory); exit 5");
}

TEST_F(ReloadMachineTest, BadGoodBadGood) {
  boot();
  GenerationId id = 2;
  GenerationId current = 1;
  for (int round = 0; round < 4; ++round) {
    const std::string bad = std::to_string(id);
    expect(ReloadRequested{1}, "notify reloading; note reload_begun " + bad + "; spawn " + bad + " file");
    expect(Failed{id, StartFailure::invalid_config, "f:1:1: /x: no"},
           "answer [1] rejected " + std::to_string(current) + "->" + bad +
               " (f:1:1: /x: no); notify ready; release");
    expect(Exited{id, "exit status 1"}, "");
    ++id;
    const std::string good = std::to_string(id);
    const std::string old = std::to_string(current);
    step(ReloadRequested{2});
    expect(Loaded{id}, "proceed " + good);
    expect(Ready{id, seconds{1}}, "promote " + good + "; hand over " + old + " to " + good);
    expect(DrainAcknowledged{current, id},
           "answer [2] applied " + old + "->" + good + "; notify ready; release");
    expect(Exited{current, "exit status 0"}, "");
    current = id++;
  }
}

TEST_F(ReloadMachineTest, RequestsCoalesceIntoOneFollowingReload) {
  boot();
  step(ReloadRequested{1});
  for (CallerId caller = 2; caller < 100; ++caller) expect(ReloadRequested{caller}, "");
  for (int i = 0; i < 1000; ++i) expect(ReloadRequested{}, "");
  expect(CallerLeft{50}, "");
  step(Loaded{2});
  step(Ready{2, seconds{1}});
  const std::string answered = step(DrainAcknowledged{1, 2});
  EXPECT_EQ(
      answered,
      "answer [1] applied 1->2; notify ready; release; notify reloading; note reload_begun 3; spawn 3 file");
  step(Exited{1, "exit status 0"});
  step(Loaded{3});
  step(Ready{3, seconds{1}});
  step(DrainAcknowledged{2, 3});
  const auto& answer = std::get<Answer>(last_.at(0));
  EXPECT_EQ(answer.callers.size(), 97U);
  EXPECT_FALSE(machine_.reload_in_flight());
}

TEST_F(ReloadMachineTest, RequestDuringBootIsServedAfterIt) {
  expect(Boot{}, "spawn 1 file");
  expect(ReloadRequested{}, "");
  step(Loaded{1});
  expect(Ready{1, seconds{1}},
         "promote 1; answer boot applied ->1; notify ready; release; notify reloading; note reload_begun 2; "
         "spawn 2 file");
}

TEST_F(ReloadMachineTest, CallersMax) {
  ReloadLimits limits;
  limits.callers_max = 2;
  machine_ = ReloadMachine{limits};
  boot();
  step(ReloadRequested{1});
  expect(ReloadRequested{2}, "");
  expect(ReloadRequested{3}, "");
  expect(ReloadRequested{4}, "answer [4] rejected  (too many reload requests are waiting)");
  expect(ReloadRequested{}, "");
}

TEST_F(ReloadMachineTest, DrainingMaxRejectsAndRecovers) {
  ReloadLimits limits;
  limits.draining_max = 1;
  machine_ = ReloadMachine{limits};
  boot_and_reload();
  expect(ReloadRequested{9},
         "answer [9] rejected 2 (1 older generations are still draining; try again when one has ended)");
  step(Exited{1, "exit status 0"});
  expect(ReloadRequested{9}, "notify reloading; note reload_begun 3; spawn 3 file");
}

TEST_F(ReloadMachineTest, ReadyDeadline) {
  boot();
  step(ReloadRequested{1});
  now_ += seconds{5};
  step(Loaded{2});
  EXPECT_EQ(after(seconds{29}), "");
  EXPECT_EQ(after(seconds{1}),
            "kill 2; answer [1] rejected 1->2 (the new generation was not ready within 30 s); notify ready; "
            "release");
  expect(Ready{2, seconds{1}}, "");  // too late
  expect(Exited{2, "killed by signal 9"}, "");
  EXPECT_EQ(machine_.current(), 1);
}

TEST_F(ReloadMachineTest, FailedButStayingIsKilled) {
  boot();
  step(ReloadRequested{1});
  step(Failed{2, StartFailure::cannot_listen, "in use"});
  EXPECT_EQ(after(seconds{1}), "note killed_overdue 2 quitting; kill 2");
}

TEST_F(ReloadMachineTest, HungOldGenerationDelaysTheAnswerOnlyToItsDeadline) {
  boot();
  step(ReloadRequested{1});
  step(Loaded{2});
  step(Ready{2, seconds{1}});
  EXPECT_EQ(after(seconds{5}),
            "note handover_overdue 1 5 s; nudge 1; answer [1] applied 1->2 (1 older generation did not "
            "acknowledge the hand-over within 5 s); notify ready; release");
  EXPECT_EQ(after(seconds{34}), "");
  EXPECT_EQ(after(seconds{1}), "note killed_overdue 1 draining; kill 1");
  expect(Exited{1, "killed by signal 9"}, "");
}

TEST_F(ReloadMachineTest, GenerationsThatDrainAreToldEachSuccessor) {
  boot_and_reload();
  step(ReloadRequested{8});
  step(Loaded{3});
  expect(Ready{3, seconds{1}}, "promote 3; hand over 2 to 3; hand over 1 to 3");
  expect(DrainAcknowledged{2, 3}, "");
  expect(DrainAcknowledged{1, 2}, "");  // late, and about the reload before
  expect(DrainAcknowledged{1, 3}, "answer [8] applied 2->3; notify ready; release");
  step(ReloadRequested{9});
  step(Loaded{4});
  expect(Ready{4, seconds{1}}, "promote 4; hand over 3 to 4; hand over 2 to 4; hand over 1 to 4");
  expect(Exited{1, "exit status 0"}, "");
  expect(DrainAcknowledged{3, 4}, "");
  EXPECT_EQ(after(seconds{5}),
            "answer [9] applied 3->4 (1 older generation did not acknowledge the hand-over within 5 s); "
            "notify ready; release");
}

TEST_F(ReloadMachineTest, OldGenerationDyingWhileHandingOverStillApplies) {
  boot();
  step(ReloadRequested{1});
  step(Loaded{2});
  step(Ready{2, seconds{1}});
  expect(Exited{1, "killed by signal 9"},
         "answer [1] applied 1->2 (the old generation ended while handing over: killed by signal 9); notify "
         "ready; release");
}

TEST_F(ReloadMachineTest, NewGenerationDyingWhileTakingOverIsRestarted) {
  boot();
  step(ReloadRequested{1});
  step(Loaded{2});
  step(Ready{2, seconds{1}});
  EXPECT_EQ(step(Exited{2, "killed by signal 6"}),
            "note died 2 killed by signal 6; note restart_scheduled 0 100 ms; answer [1] rejected 1->2 (the "
            "new generation "
            "took over and then ended: killed by signal 6; it is being restarted from the same "
            "configuration); notify ready");
  EXPECT_EQ(after(milliseconds{100}), "spawn 3 last_good");
  expect(DrainAcknowledged{1}, "");
  step(Loaded{3});
  expect(Ready{3, seconds{1}}, "promote 3; note restarted 3; release");
}

TEST_F(ReloadMachineTest, RestartsBackOffAndForget) {
  boot();
  GenerationId id = 1;
  for (const int delay : {100, 200, 400, 800, 1600, 3200, 5000, 5000}) {
    const std::string number = std::to_string(id);
    expect(Exited{id, "x"},
           "note died " + number + " x; note restart_scheduled 0 " + std::to_string(delay) + " ms");
    EXPECT_EQ(machine_.next_deadline(), now_ + milliseconds{delay});
    ++id;
    EXPECT_EQ(after(milliseconds{delay}), "spawn " + std::to_string(id) + " last_good") << story_;
    step(Loaded{id});
    step(Ready{id, seconds{1}});
  }
  now_ += seconds{10};
  expect(Exited{id, "x"}, "note died 9 x; note restart_scheduled 0 100 ms");
}

TEST_F(ReloadMachineTest, FailingRestartIsTriedForEver) {
  boot();
  step(Exited{1, "x"});
  EXPECT_EQ(after(milliseconds{100}), "spawn 2 last_good");
  expect(SpawnFailed{2, "fork: no"}, "note restart_failed 2 fork: no; note restart_scheduled 0 200 ms");
  EXPECT_EQ(after(milliseconds{200}), "spawn 3 last_good");
  expect(Exited{3, "y"},
         "note restart_failed 3 the new generation ended before it was ready: y; note restart_scheduled 0 "
         "400 ms");
}

TEST_F(ReloadMachineTest, ReloadOvertakesRestart) {
  boot();
  step(Exited{1, "x"});
  EXPECT_EQ(after(milliseconds{100}), "spawn 2 last_good");
  expect(ReloadRequested{5}, "notify reloading; note reload_begun 3; spawn 3 file");
  step(Loaded{2});
  step(Loaded{3});
  expect(Ready{3, seconds{1}}, "promote 3; kill 2; answer [5] applied ->3; notify ready; release");
  expect(Ready{2, seconds{1}}, "");
  expect(Exited{2, "killed by signal 9"}, "");
}

TEST_F(ReloadMachineTest, RestartOvertakesReload) {
  boot();
  step(ReloadRequested{5});
  step(Loaded{2});
  step(Exited{1, "x"});
  EXPECT_EQ(after(milliseconds{100}), "spawn 3 last_good");
  step(Loaded{3});
  expect(Ready{3, seconds{1}}, "promote 3; note restarted 3");  // 2 still counts on the sockets held
  expect(Ready{2, seconds{1}}, "promote 2; hand over 3 to 2");
  expect(DrainAcknowledged{3, 2}, "answer [5] applied 3->2; notify ready; release");
}

TEST_F(ReloadMachineTest, SignalledCurrentIsReplaced) {
  boot();
  expect(DrainAcknowledged{1}, "note died 1 was told by a signal to drain; note restart_scheduled 0 100 ms");
  EXPECT_EQ(machine_.phase(1), ReloadMachine::Phase::draining);
}

TEST_F(ReloadMachineTest, StopDrainsThenExits) {
  boot_and_reload();
  expect(StopRequested{}, "notify stopping; drain 2");
  expect(ReloadRequested{3}, "answer [3] rejected  (the balancer is shutting down)");
  expect(DrainAcknowledged{2}, "close listeners");
  expect(Exited{1, "exit status 0"}, "");
  expect(Exited{2, "exit status 0"}, "exit 0");
}

TEST_F(ReloadMachineTest, StopWithNobodyExitsAtOnce) {
  boot();
  step(Exited{1, "x"});
  expect(StopRequested{}, "notify stopping; close listeners; exit 0");
}

TEST_F(ReloadMachineTest, StopKillsWhatDoesNotDrainInTime) {
  boot();
  step(StopRequested{});
  EXPECT_EQ(after(seconds{5}), "note handover_overdue 1 5 s; nudge 1; close listeners");
  EXPECT_EQ(after(seconds{35}), "note killed_overdue 1 draining; kill 1");
  expect(Exited{1, "killed by signal 9"}, "exit 0");
}

TEST_F(ReloadMachineTest, StopDuringReloadAnswersItsCallers) {
  boot();
  step(ReloadRequested{1});
  step(ReloadRequested{2});
  step(Loaded{2});
  expect(StopRequested{},
         "notify stopping; answer [2] rejected 1 (the balancer is shutting down); kill 2; answer [1] "
         "rejected 1->2 (the "
         "balancer is shutting down); drain 1");
}

TEST_F(ReloadMachineTest, QuitAtOnce) {
  boot_and_reload();
  expect(QuitRequested{}, "notify stopping; drain 2; quit 1; quit 2; close listeners");
  EXPECT_EQ(after(seconds{1}),
            "note killed_overdue 1 quitting; kill 1; note killed_overdue 2 quitting; kill 2");
  step(Exited{1, ""});
  expect(Exited{2, ""}, "exit 0");
}

TEST_F(ReloadMachineTest, QuitAfterStop) {
  boot();
  step(StopRequested{});
  expect(QuitRequested{}, "quit 1; close listeners");
  expect(QuitRequested{}, "");
  expect(Exited{1, ""}, "exit 0");
}

TEST_F(ReloadMachineTest, AdoptsTheGenerationsOfAFormerSupervisor) {
  expect(Boot{}, "spawn 1 file");
  expect(Adopted{0, seconds{30}}, "");
  expect(Adopted{-1, seconds{30}}, "hand over -1 to 0");
  expect(Loaded{1}, "proceed 1");
  expect(DrainAcknowledged{-1, 0}, "");
  expect(Ready{1, seconds{1}}, "promote 1; hand over 0 to 1; hand over -1 to 1");
  expect(DrainAcknowledged{-1, 1}, "");
  expect(DrainAcknowledged{0, 1}, "answer boot applied 0->1; notify ready; release");
}

TEST_F(ReloadMachineTest, FailedBootLeavesTheAdoptedOneAlone) {
  step(Boot{});
  step(Adopted{0, seconds{30}});
  step(Loaded{1});
  expect(Failed{1, StartFailure::invalid_config, "no"}, "answer boot rejected 0->1 (no); kill 1; exit 1");
}

TEST_F(ReloadMachineTest, AdoptedOneDyingBeforeTheBootIsReady) {
  step(Boot{});
  step(Adopted{0, seconds{30}});
  step(Loaded{1});
  expect(Exited{0, "channel closed"}, "note died 0 channel closed");
  expect(Ready{1, seconds{1}}, "promote 1; answer boot applied 0->1; notify ready; release");
}

TEST_F(ReloadMachineTest, RollsBackToTheLastGoodConfiguration) {
  boot_and_reload();
  expect(RollbackRequested{}, "notify reloading; note reload_begun 3; spawn 3 last_good");
  expect(RollbackRequested{}, "");  // one is under way
  expect(Loaded{3}, "proceed 3");
  expect(Ready{3, seconds{30}}, "promote 3; hand over 2 to 3; hand over 1 to 3");
  expect(DrainAcknowledged{2, 3}, "");
  expect(DrainAcknowledged{1, 3}, "answer rollback applied 2->3; notify ready; release");
  EXPECT_EQ(machine_.current(), 3);
}

TEST_F(ReloadMachineTest, ARollbackWaitsForTheReloadInFlight) {
  boot_and_reload();
  expect(ReloadRequested{8}, "notify reloading; note reload_begun 3; spawn 3 file");
  expect(RollbackRequested{}, "");
  expect(
      Failed{3, StartFailure::invalid_config, "no"},
      "answer [8] rejected 2->3 (no); notify ready; release; notify reloading; note reload_begun 4; spawn 4 "
      "last_good");
  expect(Exited{3, "exit status 1"}, "");
  expect(ReloadRequested{9}, "");  // follows the rollback
  expect(Loaded{4}, "proceed 4");
  expect(Failed{4, StartFailure::cannot_listen, "taken"},
         "answer rollback rejected 2->4 (taken); notify ready; release; notify reloading; note reload_begun "
         "5; spawn 5 "
         "file");
}

TEST_F(ReloadMachineTest, ARollbackIsDroppedWhenAnotherConfigurationServes) {
  boot_and_reload();
  expect(ReloadRequested{8}, "notify reloading; note reload_begun 3; spawn 3 file");
  expect(RollbackRequested{}, "");
  expect(Loaded{3}, "proceed 3");
  expect(Ready{3, seconds{30}}, "promote 3; hand over 2 to 3; hand over 1 to 3");
  expect(Exited{1, "exit status 0"}, "");
  expect(DrainAcknowledged{2, 3},
         "answer [8] applied 2->3; answer rollback rejected 3 (another configuration serves by now); notify "
         "ready; "
         "release");
}

/// It serves since Ready, and may be judged before the last of its predecessors has acknowledged.
TEST_F(ReloadMachineTest, ARollbackOfTheOneThatHandsOverFollows) {
  boot_and_reload();
  expect(ReloadRequested{8}, "notify reloading; note reload_begun 3; spawn 3 file");
  expect(Loaded{3}, "proceed 3");
  expect(Ready{3, seconds{30}}, "promote 3; hand over 2 to 3; hand over 1 to 3");
  expect(RollbackRequested{}, "");
  expect(DrainAcknowledged{1, 3}, "");
  expect(DrainAcknowledged{2, 3},
         "answer [8] applied 2->3; notify ready; release; notify reloading; note reload_begun 4; spawn 4 "
         "last_good");
}

TEST_F(ReloadMachineTest, AWaitingRollbackEndsWithTheDeathOfWhatItUndoes) {
  boot_and_reload();
  expect(ReloadRequested{8}, "notify reloading; note reload_begun 3; spawn 3 file");
  expect(RollbackRequested{}, "");
  expect(Exited{2, "killed"},
         "note died 2 killed; answer rollback rejected  (the generation to be undone is gone already); note "
         "restart_scheduled 0 100 ms");
}

TEST_F(ReloadMachineTest, ARollbackOfADeadGenerationIsItsRestart) {
  boot_and_reload();
  step(Exited{2, "killed by signal 11"});
  expect(RollbackRequested{}, "answer rollback rejected  (the generation to be undone is gone already)");
  expect(StopRequested{}, "notify stopping; close listeners");
  expect(RollbackRequested{}, "answer rollback rejected  (the balancer is shutting down)");
}

TEST_F(ReloadMachineTest, ABadFileAtBootFallsBackOnce) {
  expect(Boot{.fallback = true}, "spawn 1 file");
  expect(Failed{1, StartFailure::invalid_config, "f:1:1: /x: no"},
         "note fallback 2 f:1:1: /x: no; spawn 2 last_good");
  expect(Exited{1, "exit status 1"}, "");
  expect(Loaded{2}, "proceed 2");
  expect(Ready{2, seconds{30}},
         "promote 2; answer boot applied ->2 (the last good configuration serves, because the file is bad: "
         "f:1:1: "
         "/x: no); notify ready; release");

  machine_ = ReloadMachine{};
  expect(Boot{.fallback = true}, "spawn 1 file");
  step(Failed{1, StartFailure::unreadable_config, "no such file"});
  expect(Failed{2, StartFailure::invalid_config, "no"},
         "answer boot rejected ->2 (no such file; and the last good configuration does not start: no); kill "
         "1; kill 2; exit 1");

  machine_ = ReloadMachine{};
  expect(Boot{.fallback = true}, "spawn 1 file");
  expect(Failed{1, StartFailure::cannot_listen, "taken"}, "answer boot rejected ->1 (taken); kill 1; exit 4");
}

}  // namespace
}  // namespace lb
