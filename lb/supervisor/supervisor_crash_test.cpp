// Crashes, hangs and shortages at every step, of supervisor and generations.
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <thread>

#include "lb/supervisor/testing/supervisor_fixture.hpp"

namespace lb {
namespace {

TEST_F(SupervisorTest, KilledGenerationIsRestartedFromTheLastGoodConfiguration) {
  const pid_t pid = start_ready();
  write_text("this is no configuration");  // the file is not what proved good
  const std::string where = address();
  ::kill(generation_pid(), SIGKILL);
  EXPECT_NE(greeting(where), "")
      << "the connection waits in the queue of the socket that the supervisor holds";
  await("generation.restarted");
  EXPECT_EQ(await("generation.died")["message"], "the serving generation died: killed by signal 9 (Killed)");
  EXPECT_EQ(who_serves(), "generation 2");
  EXPECT_EQ(reload(pid)["event"], "reload.rejected");
  write_config({});
  EXPECT_EQ(reload_text(pid), "reload.applied: generation 2 -> 4");
}

TEST_F(SupervisorTest, NoConnectionIsRefusedWhileGenerationsAreKilledAndReloaded) {
  const pid_t pid = start_ready();
  const std::string where = address();
  std::atomic<bool> stop{false};
  std::atomic<int> refused{0}, served{0};
  std::thread client{[&] {
    while (!stop) (greeting(where).empty() ? refused : served).fetch_add(1);
  }};
  for (int i = 0; i < 8; ++i) EXPECT_EQ(reload(pid)["event"], "reload.applied");
  stop = true;
  client.join();
  EXPECT_EQ(refused, 0);
  EXPECT_GT(served, 8);
}

TEST_F(SupervisorTest, KilledSupervisorLeavesTheServiceUpAndTheNextOneTakesOver) {
  const pid_t first = start_ready();
  reload(first);
  const std::string where = address();
  const pid_t generation = generation_pid();
  std::atomic<bool> stop{false};
  std::atomic<int> refused{0}, served{0};
  std::thread client{[&] {
    while (!stop) (greeting(where).empty() ? refused : served).fetch_add(1);
  }};
  ::kill(first, SIGKILL);
  ::waitpid(first, nullptr, 0);
  await("supervisor.lost");
  EXPECT_EQ(greeting(where), "generation 2");
  const pid_t second = start_ready();
  EXPECT_EQ(await("pidfile.stale")["stale_pid"], first);
  EXPECT_EQ(await("supervisor.adopt")["generation"], 2);
  EXPECT_EQ(greeting(where), "generation 3");
  EXPECT_EQ(address(), where);
  eventually("the adopted generation ends", [&] { return !exists(generation); });
  EXPECT_EQ(reload_text(second), "reload.applied: generation 3 -> 4");
  // And once more, so that adoption is not a thing of the first time only.
  ::kill(second, SIGKILL);
  ::waitpid(second, nullptr, 0);
  await("supervisor.lost", 2);
  const pid_t third = start_ready();
  EXPECT_EQ(greeting(where), "generation 5");
  stop = true;
  client.join();
  EXPECT_EQ(refused, 0);
  EXPECT_GT(served, 0);
  ::kill(third, SIGTERM);
  EXPECT_EQ(exit_code_of(third), 0);
  EXPECT_EQ(std::distance(fs::directory_iterator{folder_}, fs::directory_iterator{}), 3)
      << "lb.json, log, message";
}

TEST_F(SupervisorTest, OrphanOutlivesANewSupervisorThatCannotStart) {
  const pid_t first = start_ready();
  const std::string where = address();
  ::kill(first, SIGKILL);
  ::waitpid(first, nullptr, 0);
  await("supervisor.lost");
  write_config("crash-warming");
  EXPECT_EQ(exit_code_of(start()), 5);
  await("supervisor.lost", 2);
  EXPECT_EQ(greeting(where), "generation 1");
  write_config({});
  start_ready();
  EXPECT_EQ(greeting(where), "generation 2");
}

TEST_F(SupervisorTest, OrphanWaitsOnAfterANewSupervisorThatDiesAtOnce) {
  const pid_t first = start_ready();
  const std::string where = address();
  const pid_t generation = generation_pid();
  ::kill(first, SIGKILL);
  ::waitpid(first, nullptr, 0);
  await("supervisor.lost");
  ::kill(generation, SIGSTOP);
  {
    const Fd fd{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
    sockaddr_un path{};
    path.sun_family = AF_UNIX;
    (folder_ / "lb.pid.sock.orphan.1").string().copy(path.sun_path, sizeof path.sun_path - 1);
    ASSERT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&path), sizeof path), 0);
  }
  ::kill(generation, SIGCONT);
  await("supervisor.lost", 2);
  start_ready();
  EXPECT_EQ(await("supervisor.adopt")["generation"], 1);
  EXPECT_EQ(greeting(where), "generation 2");
}

TEST_F(SupervisorTest, TwoOrphansOfOneCrashAreBothAdopted) {
  const pid_t first = start_ready();
  const std::string where = address();
  const pid_t older = generation_pid();
  // The supervisor stops between the start of generation 2 and its READY, and is killed after it.
  write_config("slow-warming");
  ::kill(first, SIGHUP);
  eventually("generation 2 warms up", [&] { return has_child(first, "lb-gen-2"); });
  ::kill(first, SIGSTOP);
  eventually("generation 2 serves too", [&] { return greeting(where) == "generation 2"; });
  ::kill(first, SIGKILL);
  ::waitpid(first, nullptr, 0);
  await("supervisor.lost", 2);
  write_config({});
  start_ready();
  EXPECT_EQ(await("supervisor.adopt", 1)["generation"], 2);
  EXPECT_EQ(await("supervisor.adopt", 2)["generation"], 1);
  EXPECT_EQ(greeting(where), "generation 3");
  eventually("both adopted generations end",
             [&] { return events("drain.end").size() == 2 && !exists(older); });
}

TEST_F(SupervisorTest, OrphanDrainsOnSigterm) {
  const pid_t first = start_ready();
  const pid_t generation = generation_pid();
  ::kill(first, SIGKILL);
  ::waitpid(first, nullptr, 0);
  await("supervisor.lost");
  ::kill(generation, SIGTERM);
  eventually("the orphan ends", [&] { return !exists(generation); });
  await("drain.end");
}

TEST_F(SupervisorTest, HungOldGenerationIsKilledInTheEnd) {
  options_.limits.handover_timeout = milliseconds{1000};
  options_.limits.exit_grace = milliseconds{100};
  write_config("hang-drain");
  const pid_t pid = start_ready();
  const pid_t old = generation_pid();
  write_config({});
  EXPECT_EQ(reload(pid)["event"], "reload.applied");
  EXPECT_EQ(await("reload.warning")["message"],
            "1 older generation did not acknowledge the hand-over within 1 s");
  EXPECT_EQ(who_serves(), "generation 2");
  await("generation.killed");
  eventually("the hung generation is gone", [&] { return !exists(old); });
}

TEST_F(SupervisorTest, EndlessDrainIsKilledAfterItsTime) {
  options_.limits.exit_grace = milliseconds{100};
  write_config("endless-drain");
  const pid_t pid = start_ready();
  const pid_t old = generation_pid();
  write_config({});
  EXPECT_EQ(reload(pid)["event"], "reload.applied");
  eventually("it is gone", [&] { return !exists(old); });
  EXPECT_EQ(events("generation.killed").size(), 1U);
}

TEST_F(SupervisorTest, OldGenerationCrashingAtTheHandOver) {
  write_config("crash-drain");
  const pid_t pid = start_ready();
  write_config({});
  EXPECT_EQ(reload(pid)["event"], "reload.applied");
  EXPECT_EQ(who_serves(), "generation 2");
}

TEST_F(SupervisorTest, TwoSigtermsAndSigintExitAtOnce) {
  write_config("endless-drain", {{"drain_timeout", 60}});
  pid_t pid = start_ready();
  pid_t generation = generation_pid();
  ::kill(pid, SIGTERM);
  await("drain.begin");
  EXPECT_TRUE(running(pid));
  ::kill(pid, SIGTERM);
  EXPECT_EQ(exit_code_of(pid), 0);
  EXPECT_FALSE(exists(generation));
  pid = start_ready();
  generation = generation_pid();
  ::kill(pid, SIGINT);
  EXPECT_EQ(exit_code_of(pid), 0);
  EXPECT_FALSE(exists(generation));
  EXPECT_FALSE(fs::exists(folder_ / "lb.pid"));
}

TEST_F(SupervisorTest, SignalledGenerationIsReplaced) {
  start_ready();
  const std::string where = address();
  ::kill(generation_pid(), SIGTERM);  // by somebody who mistook it for the supervisor
  await("generation.restarted");
  EXPECT_EQ(greeting(where), "generation 2");
}

TEST_F(SupervisorTest, FailingForkRejectsAndTheNextReloadWorks) {
  const fs::path switch_file = folder_ / "fork-fails";
  options_.spawn = [switch_file](const ChildProgram& program, int channel) -> Result<ChildProcess> {
    if (fs::exists(switch_file)) return std::unexpected(system_error("fork", "", ENOMEM));
    return spawn_child(program, channel);
  };
  const pid_t pid = start_ready();
  std::ofstream{switch_file} << "";
  EXPECT_EQ(reload_text(pid), "reload.rejected: fork: Cannot allocate memory");
  ::kill(generation_pid(), SIGKILL);
  await("generation.restart_failed");
  fs::remove(switch_file);
  await("generation.restarted");
  EXPECT_EQ(reload(pid)["event"], "reload.applied");
}

TEST_F(SupervisorTest, OutOfDescriptorsRejectsAndRecovers) {
  const pid_t pid = start_ready();
  rlimit old{};
  ASSERT_EQ(::prlimit(pid, RLIMIT_NOFILE, nullptr, &old), 0);
  for (const rlim_t limit : {9, 10, 11, 12, 13, 14}) {
    const rlimit tight{limit, old.rlim_max};
    ASSERT_EQ(::prlimit(pid, RLIMIT_NOFILE, &tight, nullptr), 0);
    const Json outcome = reload(pid);
    SCOPED_TRACE(outcome.dump());
    if (outcome["event"] == "reload.applied") continue;
    EXPECT_NE(outcome["message"].get<std::string>().find("oo many open files"), std::string::npos);
    EXPECT_NE(who_serves(), "");
  }
  EXPECT_GE(events("reload.rejected").size(), 1U);
  ASSERT_EQ(::prlimit(pid, RLIMIT_NOFILE, &old, nullptr), 0);
  EXPECT_EQ(reload(pid)["event"], "reload.applied");
}

/// In clock ticks.
std::uint64_t cpu_time(pid_t pid) {
  const std::string stat = slurp("/proc/" + std::to_string(pid) + "/stat");
  std::istringstream fields{stat.substr(stat.rfind(')') + 2)};
  std::uint64_t user = 0, system = 0;
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  fields >> user >> system;
  return user + system;
}

TEST_F(SupervisorTest, AFileThatChangedBeforeTheStopKeepsNobodyBusy) {
  options_.limits.exit_grace = milliseconds{100};
  const Json watched{{"reload", {{"watch", true}, {"debounce", 0.01}}}, {"drain_timeout", 3}};
  write_config("endless-drain", watched);
  const pid_t pid = start_ready();
  await("watch.on");
  write_config("hang-loading", watched);
  await("reload.begin");
  write_config("", watched);  // to be looked at after the reload in flight
  ::usleep(200'000);
  ::kill(pid, SIGTERM);
  await("drain.begin");
  const std::uint64_t before = cpu_time(pid);
  ::usleep(1'000'000);
  EXPECT_LT(cpu_time(pid) - before, static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK)) / 4);
  EXPECT_EQ(exit_code_of(pid), 0);
}

TEST_F(SupervisorTest, AWatchSwitchedOffByAGenerationThatDiesAtOnce) {
  write_config({}, {{"reload", {{"watch", true}, {"debounce", 0.01}}}});
  const pid_t pid = start_ready();
  const std::string where = address();
  await("watch.on");
  write_config("slow-warming", {{"reload", {{"watch", false}}}});
  eventually("generation 2 warms up", [&] { return has_child(pid, "lb-gen-2"); });
  ::kill(pid, SIGSTOP);
  eventually("generation 2 serves too", [&] { return greeting(where) == "generation 2"; });
  for (const std::string& child : children_of(pid)) {
    if (slurp("/proc/" + child + "/comm") != "lb-gen-2\n") continue;
    // What it closes directly after READY was sent.
    const std::string startup_stderr = "/proc/" + child + "/fd/" + std::to_string(kChildStderrFd);
    eventually("READY was sent", [&] { return !fs::is_symlink(fs::symlink_status(startup_stderr)); });
    ::kill(std::stoi(child), SIGKILL);
  }
  write_config({});  // the watch has something to tell, and its end is in the READY before the death
  ::kill(pid, SIGCONT);
  // The configuration that was good before watches the file, so a reload may come before the restart is due.
  eventually("a generation serves again",
             [&] { return !events("generation.restarted").empty() || !events("reload.applied").empty(); });
  EXPECT_TRUE(running(pid));
}

}  // namespace
}  // namespace lb
