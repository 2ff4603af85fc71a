// Probation, scripted: who is parked, resumed and let go.
#include <gtest/gtest.h>

#include "lb/reload/command_text.hpp"
#include "lb/reload/machine.hpp"

namespace lb {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Phase = ReloadMachine::Phase;

class ParkingTest : public testing::Test {
 protected:
  ParkingTest() : machine_(with_probe(Duration{})) {}
  static ReloadLimits with_probe(Duration timeout) {
    ReloadLimits limits;
    limits.probe_timeout = timeout;
    return limits;
  }
  /// A reload up to where generation 2 has taken over, and 1 not yet acknowledged it; probes have 5 s.
  void take_over_with_probe(bool probation) {
    machine_ = ReloadMachine{with_probe(seconds{5})};
    boot();
    step(ReloadRequested{7});
    step(Loaded{2});
    step(Ready{2, seconds{30}, probation});
  }
  std::string step(const ReloadEvent& event) {
    std::string text;
    for (const auto& command : machine_.step(now_, event)) {
      text += (text.empty() ? "" : "; ") + command_text(command);
    }
    story_ += "  " + event_text(event) + "  =>  " + text + "\n";
    return text;
  }
  void expect(const ReloadEvent& event, const std::string& commands) {
    EXPECT_EQ(step(event), commands) << story_;
  }
  std::string after(Duration d) {
    now_ += d;
    return step(Tick{});
  }
  /// 1 serves, and has proved good.
  void boot() {
    step(Boot{});
    step(Loaded{1});
    step(Ready{1, seconds{30}, true});
    expect(ProbationEnded{1, true}, "");
  }
  /// 2 serves on probation, 1 is parked.
  void reload_on_probation() {
    boot();
    step(ReloadRequested{7});
    step(Loaded{2});
    expect(Ready{2, seconds{30}, true}, "promote 2; park 1 to 2");
    expect(DrainAcknowledged{1, 2}, "answer [7] applied 1->2; notify ready; release");
    EXPECT_EQ(machine_.phase(1), Phase::parked);
    EXPECT_EQ(machine_.next_deadline(), kNever) << "nothing ends what is parked but the end of the probation";
  }

  Instant now_{seconds{1000}};
  ReloadMachine machine_;
  std::string story_;
};

TEST_F(ParkingTest, TheEndOfTheProbationReleases) {
  reload_on_probation();
  expect(ProbationEnded{1, true}, "");  // late, of what serves no more
  expect(ProbationEnded{2, true}, "let go 1; release");
  expect(DrainAcknowledged{1, std::nullopt}, "");
  EXPECT_EQ(machine_.phase(1), Phase::draining);
  expect(Exited{1, "exit status 0"}, "");
  EXPECT_EQ(machine_.parked(), std::nullopt);
}

TEST_F(ParkingTest, WhatCountsAsGoodAtOnceParksNobody) {
  boot();
  step(ReloadRequested{7});
  step(Loaded{2});
  expect(Ready{2, seconds{30}, false}, "promote 2; hand over 1 to 2");
}

TEST_F(ParkingTest, AnUnprovenOneIsNotParked) {
  step(Boot{});
  step(Loaded{1});
  step(Ready{1, seconds{30}, true});
  step(ReloadRequested{7});
  step(Loaded{2});
  expect(Ready{2, seconds{30}, true}, "promote 2; hand over 1 to 2");
}

TEST_F(ParkingTest, FurtherReloadsOnProbationKeepTheProvenOneParked) {
  reload_on_probation();
  step(ReloadRequested{8});
  step(Loaded{3});
  expect(Ready{3, seconds{30}, true}, "promote 3; hand over 2 to 3; park 1 to 3");
  expect(DrainAcknowledged{2, 3}, "");
  EXPECT_EQ(machine_.phase(1), Phase::parked);
  expect(DrainAcknowledged{1, 3}, "answer [8] applied 2->3; notify ready; release");
  EXPECT_EQ(machine_.phase(2), Phase::draining);
  expect(Exited{3, "killed by signal 11"},
         "note died 3 killed by signal 11; note resuming 1 the generation that "
         "served ended: killed by signal 11; resume 1");
  expect(Resumed{1}, "promote 1; note resumed 1; hand over 2 to 1; release");
  EXPECT_EQ(machine_.current(), 1);
}

TEST_F(ParkingTest, AReloadThatIsGoodAtOnceReleasesByHandingOver) {
  reload_on_probation();
  step(ReloadRequested{8});
  step(Loaded{3});
  expect(Ready{3, seconds{30}, false}, "promote 3; hand over 2 to 3; hand over 1 to 3");
  expect(DrainAcknowledged{1, 3}, "");
  EXPECT_EQ(machine_.phase(1), Phase::draining);
}

TEST_F(ParkingTest, ARollbackResumesAndTheFailingOneDrains) {
  reload_on_probation();
  expect(RollbackRequested{}, "notify reloading; note resuming 1 rollback; resume 1");
  expect(ReloadRequested{9}, "");  // follows
  expect(ProbationEnded{2, true}, "");
  expect(Resumed{1}, "promote 1; hand over 2 to 1");
  expect(
      DrainAcknowledged{2, 1},
      "answer rollback applied 2->1; notify ready; release; notify reloading; note reload_begun 3; spawn 3 "
      "file");
  step(Loaded{3});
  expect(Ready{3, seconds{30}, true}, "promote 3; hand over 2 to 3; park 1 to 3");
}

TEST_F(ParkingTest, ResumedWhileStillHandingOver) {
  boot();
  step(ReloadRequested{7});
  step(Loaded{2});
  step(Ready{2, seconds{30}, true});
  expect(Exited{2, "killed by signal 6"},
         "note died 2 killed by signal 6; note resuming 1 the new generation took over and then ended: "
         "killed by "
         "signal 6; resume 1");
  expect(DrainAcknowledged{1, 2}, "");  // on its way since before
  expect(
      Resumed{1},
      "promote 1; answer [7] rejected 1->2 (the new generation took over and then ended: killed by signal 6; "
      "the generation before serves again); notify ready; release");
  expect(DrainAcknowledged{1, 2}, "");  // however late
  EXPECT_EQ(machine_.phase(1), Phase::serving);
}

TEST_F(ParkingTest, AParkedOneThatDiesIsNoHarm) {
  reload_on_probation();
  expect(Exited{1, "killed by signal 9"}, "note parked_lost 1 killed by signal 9; release");
  expect(RollbackRequested{}, "notify reloading; note reload_begun 3; spawn 3 last_good");
}

TEST_F(ParkingTest, AParkedOneThatDiesResumingIsStartedAnew) {
  reload_on_probation();
  step(RollbackRequested{});
  expect(Exited{1, "killed by signal 9"},
         "note resume_failed 1 it ended: killed by signal 9; note reload_begun 3; spawn 3 last_good");
  step(Loaded{3});
  expect(Ready{3, seconds{30}, false}, "promote 3; hand over 2 to 3");
  expect(DrainAcknowledged{2, 3}, "answer rollback applied 2->3; notify ready; release");
}

TEST_F(ParkingTest, AParkedOneThatDoesNotAnswerIsKilled) {
  reload_on_probation();
  step(Exited{2, "x"});
  EXPECT_EQ(after(seconds{5}),
            "kill 1; note resume_failed 1 it did not resume within 5 s; note restart_scheduled 0 100 ms");
  EXPECT_EQ(after(milliseconds{100}), "spawn 3 last_good");
  expect(Resumed{1}, "");
}

TEST_F(ParkingTest, WhoeverHangsWhileHandingOverIsNotCountedOn) {
  boot();
  step(ReloadRequested{7});
  step(Loaded{2});
  step(Ready{2, seconds{30}, true});
  EXPECT_EQ(
      after(seconds{5}),
      "note handover_overdue 1 5 s; nudge 1; answer [7] applied 1->2 (1 older generation did not acknowledge "
      "the hand-over within 5 s); notify ready; release");
  EXPECT_EQ(machine_.parked(), std::nullopt);
  EXPECT_EQ(machine_.phase(1), Phase::draining);
}

TEST_F(ParkingTest, AParkedOneThatSomebodySignalsGoes) {
  reload_on_probation();
  expect(DrainAcknowledged{1, std::nullopt}, "note parked_lost 1 was told by a signal to drain; release");
  EXPECT_EQ(machine_.parked(), std::nullopt);
}

TEST_F(ParkingTest, AReloadOvertakesResuming) {
  reload_on_probation();
  step(ReloadRequested{8});
  step(Loaded{3});
  step(Exited{2, "x"});
  EXPECT_EQ(machine_.phase(1), Phase::resuming);
  expect(Ready{3, seconds{30}, true}, "promote 3; park 1 to 3");
  expect(Resumed{1}, "");  // before it was told of 3
  expect(DrainAcknowledged{1, 3}, "answer [8] applied 2->3; notify ready; release");
  EXPECT_EQ(machine_.phase(1), Phase::parked);
}

TEST_F(ParkingTest, TheFailingOneDyingMeanwhileChangesNothing) {
  reload_on_probation();
  step(RollbackRequested{});
  expect(Exited{2, "x"}, "note died 2 x");
  expect(Resumed{1}, "promote 1; answer rollback applied 2->1; notify ready; release");
}

TEST_F(ParkingTest, StopReleasesAndDrains) {
  reload_on_probation();
  expect(StopRequested{}, "notify stopping; let go 1; drain 2");
  expect(DrainAcknowledged{1, std::nullopt}, "");
  expect(DrainAcknowledged{2, std::nullopt}, "close listeners");
  step(Exited{1, ""});
  expect(Exited{2, ""}, "exit 0");
}

TEST_F(ParkingTest, StopWhileResuming) {
  reload_on_probation();
  step(RollbackRequested{});
  expect(StopRequested{},
         "notify stopping; let go 1; answer rollback rejected 2->1 (the balancer is shutting down); drain 2");
  expect(Resumed{1}, "");
  expect(DrainAcknowledged{1, std::nullopt}, "");
  expect(DrainAcknowledged{2, std::nullopt}, "close listeners");
}

TEST_F(ParkingTest, QuitEndsTheParkedOneToo) {
  reload_on_probation();
  expect(QuitRequested{}, "notify stopping; let go 1; drain 2; quit 1; quit 2; close listeners");
}

TEST_F(ParkingTest, TheProbeIsPartOfTheReload) {
  take_over_with_probe(true);
  expect(DrainAcknowledged{1, 2}, "probe 2");
  expect(Probed{1, false, "not asked"}, "");
  expect(Probed{2, true, {}}, "answer [7] applied 1->2; notify ready; release");
}

TEST_F(ParkingTest, AFailedProbeIsARejectedReload) {
  take_over_with_probe(true);
  step(DrainAcknowledged{1, 2});
  expect(Probed{2, false, "refused"},
         "note resuming 1 the new generation does not accept connections: refused; resume 1");
  expect(Resumed{1}, "promote 1; hand over 2 to 1");
  expect(DrainAcknowledged{2, 1},
         "answer [7] rejected 1->2 (the new generation does not accept connections: refused; the generation "
         "before serves again); notify ready; release");
}

TEST_F(ParkingTest, AProbeThatTakesTooLongHasFailed) {
  take_over_with_probe(true);
  step(DrainAcknowledged{1, 2});
  EXPECT_EQ(after(seconds{5}),
            "note resuming 1 the new generation does not accept connections: the self-probe took "
            "longer than it may; resume 1");
}

TEST_F(ParkingTest, WithoutAWayBackAFailedProbeIsARemark) {
  take_over_with_probe(false);
  step(DrainAcknowledged{1, 2});
  expect(Probed{2, false, "refused"},
         "note probe_failed 2 refused; answer [7] applied 1->2 (the self-probe failed: "
         "refused); notify ready; release");
}

TEST_F(ParkingTest, AFailedProbeWhoseWayBackFailsGoesBackByTheText) {
  take_over_with_probe(true);
  step(DrainAcknowledged{1, 2});
  step(Probed{2, false, "refused"});
  expect(Exited{1, "x"}, "note resume_failed 1 it ended: x; note reload_begun 3; spawn 3 last_good");
  step(Loaded{3});
  expect(Ready{3, seconds{30}, false}, "promote 3; hand over 2 to 3");
  expect(DrainAcknowledged{2, 3},
         "answer [7] rejected 1->2 (the new generation does not accept connections: refused; the last good "
         "configuration serves again); notify ready; release");
}

}  // namespace
}  // namespace lb
