// Probation with real processes: the generation that proved good stays parked, and comes back.
#include <atomic>
#include <thread>

#include "lb/supervisor/testing/supervisor_fixture.hpp"

namespace lb {
namespace {

class ParkTest : public SupervisorTest {
 protected:
  /// Generation 1 has proved good; what is reloaded is on probation for a minute.
  pid_t start_proven() {
    write_config({}, {{"reload", {{"probation", 0}}}});
    const pid_t pid = start_ready();
    proven_ = generation_pid();
    return pid;
  }
  void write_on_probation(const std::string& fault, double probation = 60, Json more = Json::object()) {
    more["reload"] = {{"probation", probation}};
    more["timeouts"] = {{"connect", 1 + ++edits_}};  // another text each time
    write_config(fault, more);
  }
  Json reload_on_probation(pid_t pid, const std::string& fault, double probation = 60) {
    write_on_probation(fault, probation);
    return reload(pid);
  }
  pid_t proven_ = 0;
  int edits_ = 0;
};

TEST_F(ParkTest, StaysWhileTheNextOneIsOnProbationAndGoesAfterwards) {
  const pid_t pid = start_proven();
  EXPECT_EQ(reload_on_probation(pid, {}, 1.5)["event"], "reload.applied");
  EXPECT_EQ(await("parked")["generation"], 1);
  EXPECT_EQ(who_serves(), "generation 2");
  EXPECT_TRUE(exists(proven_));
  await("config.good", 2);
  const Instant good = monotonic_now();
  eventually("the parked one ends", [&] { return !exists(proven_); });
  EXPECT_LT(monotonic_now() - good, seconds{5});  // a second, on a machine that has the time
  EXPECT_EQ(await("released")["generation"], 1);
  EXPECT_EQ(children_of(pid).size(), 1U);
}

TEST_F(ParkTest, ACrashOnProbationBringsItBackAndRefusesNobody) {
  const pid_t pid = start_proven();
  const std::string where = address();
  reload_on_probation(pid, {});
  std::atomic<bool> stop{false};
  std::atomic<int> refused{0}, served{0};
  std::thread client{[&] {
    while (!stop) (greeting(where).empty() ? refused : served).fetch_add(1);
  }};
  ::kill(generation_pid(), SIGSTOP);  // so that nobody is being greeted when it dies
  const int before = served;
  ::kill(generation_pid(), SIGKILL);
  await("generation.resumed");
  eventually("further clients are served", [&] { return served > before + 20; });
  stop = true;
  client.join();
  EXPECT_LE(refused, 1) << "at most the one it was in the middle of";
  EXPECT_EQ(who_serves(), "generation 1");
  EXPECT_TRUE(exists(proven_)) << "the same process";
  EXPECT_TRUE(events("generation.restarted").empty());
  EXPECT_EQ(events("reload.begin").size(), 1U) << "nothing was started";
}

TEST_F(ParkTest, AListenerThatDoesNotAcceptIsARejectedReload) {
  const pid_t pid = start_proven();
  EXPECT_EQ(reload_on_probation(pid, "deaf")["event"], "reload.rejected");
  EXPECT_EQ(
      events("reload.rejected").back()["message"],
      "the new generation does not accept connections: the fake one is deaf; the generation before serves "
      "again");
  EXPECT_EQ(who_serves(), "generation 1");
  EXPECT_EQ(reload_on_probation(pid, {})["event"], "reload.applied") << "and never blocks the next one";
  EXPECT_EQ(who_serves(), "generation 3");
}

TEST_F(ParkTest, ReloadsDuringProbationKeepTheProvenOne) {
  const pid_t pid = start_proven();
  for (int i = 0; i < 6; ++i) EXPECT_EQ(reload_on_probation(pid, {})["event"], "reload.applied");
  EXPECT_EQ(who_serves(), "generation 7");
  eventually("the ones between end", [&] { return children_of(pid).size() == 2; });
  EXPECT_TRUE(exists(proven_));
  ::kill(generation_pid(), SIGKILL);
  await("generation.resumed");
  EXPECT_EQ(who_serves(), "generation 1");
}

TEST_F(ParkTest, AParkedOneThatIsKilledIsNoHarm) {
  const pid_t pid = start_proven();
  const std::string where = address();
  reload_on_probation(pid, {});
  ::kill(proven_, SIGKILL);
  await("generation.parked_lost");
  EXPECT_EQ(greeting(where), "generation 2");
  ::kill(generation_pid(), SIGKILL);
  await("generation.restarted");
  EXPECT_EQ(greeting(where), "generation 3");
}

TEST_F(ParkTest, OneThatFailsToResumeIsStartedAnew) {
  options_.limits.resume_timeout = milliseconds{1000};
  for (const char* fault : {"crash-resuming", "hang-resuming"}) {
    write_config(fault, {{"reload", {{"probation", 0}}}});
    const pid_t pid = start_ready();
    const std::size_t failed = events("generation.resume_failed").size();
    const std::size_t restarted = events("generation.restarted").size();
    reload_on_probation(pid, {});
    ::kill(generation_pid(), SIGKILL);
    await("generation.resume_failed", failed + 1);
    await("generation.restarted", restarted + 1);
    EXPECT_EQ(who_serves(), "generation 3");
    ::kill(pid, SIGTERM);
    EXPECT_EQ(exit_code_of(pid), 0);
  }
}

TEST_F(ParkTest, StopAndQuitEndItToo) {
  for (const int signal : {SIGTERM, SIGINT}) {
    const pid_t pid = start_proven();
    reload_on_probation(pid, {});
    ::kill(pid, signal);
    EXPECT_EQ(exit_code_of(pid), 0);
    eventually("the parked one ends", [&] { return !exists(proven_); });
  }
}

TEST_F(ParkTest, ASupervisorThatIsKilledLeavesOneThatServes) {
  const pid_t pid = start_proven();
  const std::string where = address();
  reload_on_probation(pid, {});
  const pid_t serving = generation_pid();
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  eventually("the parked one ends", [&] { return !exists(proven_); });
  EXPECT_TRUE(exists(serving));
  EXPECT_EQ(greeting(where), "generation 2");
  start_ready();
  EXPECT_EQ(greeting(where), "generation 3");
}

TEST_F(ParkTest, MoreWorkersMeanwhileLeaveNoQueueBehind) {
  const pid_t pid = start_proven();
  const std::string where = address();
  write_on_probation({}, 60, {{"workers", 4}});
  EXPECT_EQ(reload(pid)["event"], "reload.applied");
  ::kill(generation_pid(), SIGKILL);
  await("generation.resumed");
  for (int i = 0; i < 40; ++i)
    ASSERT_EQ(greeting(where), "generation 1") << "whichever queue the kernel picks";
}

TEST_F(ParkTest, ManyReloadsOnProbationLeaveNothingBehind) {
  const auto fds = [](pid_t of) {
    return std::distance(fs::directory_iterator{fs::path{"/proc"} / std::to_string(of) / "fd"},
                         fs::directory_iterator{});
  };
  const pid_t pid = start_proven();
  std::ptrdiff_t before = 0;
  for (int i = 0; i < 20; ++i) {
    reload_on_probation(pid, {});
    ::kill(generation_pid(), SIGKILL);
    await("generation.resumed", static_cast<std::size_t>(i) + 1);
    eventually("the parked one alone is left", [&] { return children_of(pid).size() == 1; });
    if (i == 2) before = fds(pid);
  }
  EXPECT_EQ(who_serves(), "generation 1");
  eventually("descriptors as before", [&] { return fds(pid) == before; });
}

}  // namespace
}  // namespace lb
