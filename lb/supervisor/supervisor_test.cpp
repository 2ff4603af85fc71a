// Starting, reloading, stopping, and what others are told about it.
#include "lb/supervisor/supervisor.hpp"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lb/supervisor/testing/supervisor_fixture.hpp"

namespace lb {
namespace {

TEST_F(SupervisorTest, ServesReloadsAndStops) {
  const pid_t pid = start_ready();
  EXPECT_EQ(slurp(folder_ / "lb.pid"), std::to_string(pid) + "\n");
  EXPECT_EQ(who_serves(), "generation 1");
  const std::string where = address();
  const pid_t first = generation_pid();
  EXPECT_EQ(reload_text(pid), "reload.applied: generation 1 -> 2");
  EXPECT_EQ(address(), where) << "a port chosen by the kernel stays";
  EXPECT_EQ(who_serves(), "generation 2");
  eventually("the old generation ends", [&] { return !exists(first); });
  EXPECT_EQ(await("drain.end")["generation"], 1);
  ::kill(pid, SIGTERM);
  EXPECT_EQ(exit_code_of(pid), 0);
  EXPECT_EQ(greeting(where), "");
  EXPECT_FALSE(fs::exists(folder_ / "lb.pid"));
  EXPECT_EQ(slurp(folder_ / "message"), "");
}

TEST_F(SupervisorTest, BadGoodBadGood) {
  const pid_t pid = start_ready();
  for (int round = 0; round < 3; ++round) {
    write_text("{\"listen_port\": \"80\", \n \"backends\": []}");
    const std::string text = reload_text(pid);
    EXPECT_EQ(text.find("reload.rejected: " + options_.config_path + ":1:17: /listen_port: "), 0U) << text;
    EXPECT_NE(text.find(options_.config_path + ":2:"), std::string::npos) << "all errors: " << text;
    write_config({});
    EXPECT_EQ(reload(pid)["event"], "reload.applied");
  }
  EXPECT_EQ(who_serves(), "generation 7");
}

TEST_F(SupervisorTest, AVanishedFileIsRejected) {
  const pid_t pid = start_ready();
  fs::remove(folder_ / "lb.json");
  const std::string text = reload_text(pid);
  EXPECT_NE(text.find("reload.rejected: "), std::string::npos);
  EXPECT_NE(text.find("No such file or directory"), std::string::npos) << text;
  EXPECT_EQ(who_serves(), "generation 1");
}

TEST_F(SupervisorTest, GenerationsThatFailToStartAreRejectedWithTheReason) {
  options_.limits.load_timeout = milliseconds{1000};
  options_.limits.ready_timeout = milliseconds{1000};
  const pid_t pid = start_ready();
  const std::pair<const char*, const char*> cases[] = {
      {"crash-loading", "the new generation ended before it was ready: killed by signal 9 (Killed)"},
      {"crash-warming",
       "the new generation ended before it was ready: killed by signal 6 (Aborted); its last words: fake "
       "generation: out of luck"},
      {"exit-warming", "the new generation ended before it was ready: exit status 0"},
      {"fail-warming", "the fake data plane does not want to"},
      {"hang-loading", "the new generation did not load its configuration within 1 s"},
      {"hang-warming", "the new generation was not ready within 1 s"},
  };
  for (const auto& [fault, reason] : cases) {
    write_config(fault);
    EXPECT_EQ(reload_text(pid), std::string{"reload.rejected: "} + reason);
    EXPECT_EQ(who_serves(), "generation 1");
  }
  write_config({});
  EXPECT_EQ(reload(pid)["event"], "reload.applied");
}

TEST_F(SupervisorTest, AddressInUseIsRejectedAndNamed) {
  const pid_t pid = start_ready();
  auto taken = open_listener_shards({.host = "127.0.0.1", .port = 0}, 1, {});
  ASSERT_TRUE(taken);
  const std::string other = *local_address_text(taken->front().fd.get());
  write_config({}, {{"listen", {"127.0.0.1:0", other}}});
  EXPECT_EQ(reload_text(pid),
            "reload.rejected: cannot listen on " + other + ": bind " + other + ": Address already in use");
  taken->clear();
  EXPECT_EQ(reload(pid)["event"], "reload.applied");
  EXPECT_EQ(greeting(other), "generation 3");
  write_config({});
  EXPECT_EQ(reload(pid)["event"], "reload.applied");
  EXPECT_EQ(greeting(other), "") << "an address that is configured no more is closed";
}

TEST_F(SupervisorTest, StartFailuresHaveTheirExitCodes) {
  write_text("{]");
  EXPECT_EQ(exit_code_of(start()), 1);
  EXPECT_EQ(slurp(folder_ / "message").find(options_.config_path + ":1:2: "), 0U)
      << slurp(folder_ / "message");
  fs::remove(folder_ / "lb.json");
  EXPECT_EQ(exit_code_of(start()), 2);
  auto taken = open_listener_shards({.host = "127.0.0.1", .port = 0}, 1, {});
  const std::string other = *local_address_text(taken->front().fd.get());
  write_config({}, {{"listen", other}});
  EXPECT_EQ(exit_code_of(start()), 4);
  write_config("crash-warming");
  EXPECT_EQ(exit_code_of(start()), 5);
  std::ofstream{options_.pid_file} << "something else entirely";
  write_config({});
  EXPECT_EQ(exit_code_of(start()), 5);
  EXPECT_EQ(slurp(options_.pid_file), "something else entirely");
  options_.generation_program.path = folder_ / "no-such-program";
  EXPECT_EQ(exit_code_of(start()), 5);
  EXPECT_NE(slurp(folder_ / "message").find("exec " + options_.generation_program.path), std::string::npos);
}

TEST_F(SupervisorTest, SecondStartIsRefusedAndNamesThePid) {
  const pid_t pid = start_ready();
  EXPECT_EQ(exit_code_of(start()), 3);
  EXPECT_EQ(slurp(folder_ / "message"),
            "already running: pid " + std::to_string(pid) + " holds the pid file " + options_.pid_file);
  EXPECT_EQ(who_serves(), "generation 1");
  EXPECT_EQ(slurp(folder_ / "lb.pid"), std::to_string(pid) + "\n");
}

TEST_F(SupervisorTest, StormOfSighups) {
  const pid_t pid = start_ready();
  for (int i = 0; i < 300; ++i) {
    ::kill(pid, SIGHUP);
    if (i % 50 == 0) ::usleep(20'000);
  }
  eventually("quiet", [&] {
    return !events("reload.applied").empty() &&
           events("reload.applied").size() == events("reload.begin").size();
  });
  EXPECT_EQ(reload(pid)["event"], "reload.applied");
  EXPECT_TRUE(events("reload.rejected").empty());
}

TEST_F(SupervisorTest, FiftyReloadsLeaveNothingBehind) {
  const auto count = [](pid_t pid, const char* what) {
    const fs::path path = fs::path{"/proc"} / std::to_string(pid) / what;
    return std::distance(fs::directory_iterator{path}, fs::directory_iterator{});
  };
  const pid_t pid = start_ready();
  reload(pid);
  eventually("one generation",
             [&] { return events("drain.end").size() == 1 && children_of(pid).size() == 1; });
  // The end of a process is seen a moment before its supervisor has closed what belonged to it.
  auto fds = count(pid, "fd");
  int looks_alike = 0;
  eventually("the descriptors settle", [&] {
    const auto now = count(pid, "fd");
    looks_alike = now == fds ? looks_alike + 1 : 0;
    fds = now;
    return looks_alike == 20;
  });
  for (int i = 0; i < 50; ++i) {
    write_config({}, {{"workers", 1 + i % 4}});
    ASSERT_EQ(reload(pid)["event"], "reload.applied");
  }
  eventually("one generation",
             [&] { return events("drain.end").size() == 51 && children_of(pid).size() == 1; });
  eventually("descriptors as before, and two more shards", [&] { return count(pid, "fd") == fds + 2; });
}

TEST_F(SupervisorTest, ChangesThatNeedARestartAreWarnedAbout) {
  options_.pid_file.clear();
  write_config({}, {{"pid_file", folder_ / "one.pid"}});
  const pid_t pid = start_ready();
  EXPECT_EQ(slurp(folder_ / "one.pid"), std::to_string(pid) + "\n");
  write_config({}, {{"pid_file", folder_ / "two.pid"}});
  EXPECT_EQ(reload(pid)["warnings"], 1);
  EXPECT_EQ(await("reload.warning")["message"],
            "pid_file: the change takes effect at the next start of the balancer");
  EXPECT_FALSE(fs::exists(folder_ / "two.pid"));
}

TEST_F(SupervisorTest, TellsTheServiceManager) {
  const Fd manager{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  sockaddr_un address_of_manager{};
  address_of_manager.sun_family = AF_UNIX;
  const std::string path = folder_ / "notify";
  path.copy(address_of_manager.sun_path, sizeof address_of_manager.sun_path - 1);
  ASSERT_EQ(
      ::bind(manager.get(), reinterpret_cast<sockaddr*>(&address_of_manager), sizeof address_of_manager), 0);
  before_start_ = [path] { ::setenv("NOTIFY_SOCKET", path.c_str(), 1); };
  const auto next = [&] {
    char buffer[512];
    pollfd entry{manager.get(), POLLIN, 0};
    if (::poll(&entry, 1, 20'000) != 1) return std::string{"nothing"};
    return std::string{buffer, static_cast<std::size_t>(
                                   std::max<ssize_t>(0, ::recv(manager.get(), buffer, sizeof buffer, 0)))};
  };
  const pid_t pid = start_ready();
  EXPECT_EQ(next(), "READY=1\nMAINPID=" + std::to_string(pid) + "\nSTATUS=serving generation 1");
  reload(pid);
  EXPECT_EQ(next().find("RELOADING=1\nMONOTONIC_USEC="), 0U);
  EXPECT_NE(next().find("STATUS=serving generation 2"), std::string::npos);
  ::kill(pid, SIGTERM);
  EXPECT_EQ(next(), "STOPPING=1");
  EXPECT_EQ(exit_code_of(pid), 0);
}

TEST_F(SupervisorTest, TakesSocketsOfAServiceManager) {
  Fd passed{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(passed.get(), reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
  ASSERT_EQ(::listen(passed.get(), 8), 0);
  const std::string where = *local_address_text(passed.get());
  before_start_ = [&] {
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDS", "1", 1);
    if (passed.get() != 3) ::dup2(passed.get(), 3);
  };
  write_config({}, {{"listen", where}});
  const pid_t pid = start_ready();
  EXPECT_EQ(greeting(where), "generation 1");
  EXPECT_EQ(reload(pid)["event"], "reload.applied");
  EXPECT_EQ(greeting(where), "generation 2");
  ::kill(pid, SIGTERM);
  EXPECT_EQ(exit_code_of(pid), 0);
  // The manager's own copy lives on, to queue connections until it starts us again.
  int listening = 0;
  socklen_t size = sizeof listening;
  ::getsockopt(passed.get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &size);
  EXPECT_EQ(listening, 1);
}

}  // namespace
}  // namespace lb
