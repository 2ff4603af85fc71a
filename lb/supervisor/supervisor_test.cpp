// The whole supervisor as a process, with real generations whose data plane is a fake (testing/). Each test
// tells a story by signals, files and crashes, and reads what happened from the log.
#include "lb/supervisor/supervisor.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "lb/net/listener.hpp"

namespace lb {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto kPatience = seconds{20};

std::string slurp(const fs::path& path) {
  std::ifstream in{path};
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

class SupervisorTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "lb-sup-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // orphaned generations fall to us, to be reaped and killed
    options_.generation_program = {.path = LB_FAKE_GENERATION, .args = {"__generation"}};
    options_.config_path = folder_ / "lb.json";
    options_.pid_file = folder_ / "lb.pid";
    options_.log_path = folder_ / "log";
    options_.log_format = LogFormat::json;
    options_.seed = 1;
    write_config({});
  }
  void TearDown() override {
    for (const pid_t pid : supervisors_) {
      if (running(pid)) ::kill(pid, SIGKILL);
    }
    for (const Json& event : events("ready")) ::kill(event["generation_pid"].get<pid_t>(), SIGKILL);
    while (::waitpid(-1, nullptr, 0) > 0) {
    }
    if (HasFailure()) std::fprintf(stderr, "--- log ---\n%s", slurp(folder_ / "log").c_str());
    fs::remove_all(folder_);
  }

  /// A valid configuration with "X-Fault"; further keys are merged in.
  void write_config(const std::string& fault, const Json& more = Json::object()) {
    Json json{{"listen", "127.0.0.1:0"},
              {"backends", {{{"name", "b1"}, {"host", "127.0.0.1"}, {"port", 9}}}},
              {"workers", 2},
              {"drain_timeout", 1}};
    if (!fault.empty()) json["response_headers"] = {{"X-Fault", fault}};
    json.update(more);
    write_text(json.dump());
  }
  void write_text(const std::string& text) {
    const fs::path next = folder_ / "lb.json.next";
    std::ofstream{next} << text;
    fs::rename(next, folder_ / "lb.json");
  }

  pid_t start() {
    const pid_t pid = ::fork();
    if (pid != 0) {
      supervisors_.push_back(pid);
      return pid;
    }
    if (before_start_) before_start_();
    auto log = EventLog::open({.format = LogFormat::json, .path = options_.log_path, .role = "supervisor"});
    const SupervisorResult result = run_supervisor(options_, **log);
    log->reset();
    std::ofstream{folder_ / "message"} << result.message;
    ::_exit(result.code);
  }
  pid_t start_ready() {
    const std::size_t before = events("ready").size();
    const pid_t pid = start();
    await("ready", before + 1);
    return pid;
  }
  int exit_code_of(pid_t pid) {
    int status = 0;
    const Instant until = monotonic_now() + kPatience;
    while (::waitpid(pid, &status, WNOHANG) == 0) {
      if (monotonic_now() > until) {
        ADD_FAILURE() << "the supervisor did not exit";
        return -1;
      }
      ::usleep(2000);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  static bool running(pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) == 0 && ::kill(pid, 0) == 0; }
  static bool exists(pid_t pid) {
    while (::waitpid(pid, nullptr, WNOHANG) > 0) {
    }
    return ::kill(pid, 0) == 0;
  }
  static std::vector<std::string> children_of(pid_t parent) {
    const std::string pid = std::to_string(parent);
    std::istringstream text{slurp("/proc/" + pid + "/task/" + pid + "/children")};
    return {std::istream_iterator<std::string>{text}, {}};
  }
  /// Whether `parent` has a child that calls itself so.
  static bool has_child(pid_t parent, const std::string& name) {
    const auto children = children_of(parent);
    return std::any_of(children.begin(), children.end(), [&](const std::string& child) {
      return slurp("/proc/" + child + "/comm") == name + "\n";
    });
  }
  template <class F>
  void eventually(const char* what, F&& condition) {
    const Instant until = monotonic_now() + kPatience;
    while (!condition()) {
      ASSERT_LT(monotonic_now(), until) << "never happened: " << what;
      ::usleep(2000);
    }
  }

  std::vector<Json> events(const std::string& name) const {
    std::vector<Json> list;
    std::istringstream lines{slurp(folder_ / "log")};
    for (std::string line; std::getline(lines, line);) {
      Json json = Json::parse(line, nullptr, false);
      if (!json.is_discarded() && json.value("event", "") == name) list.push_back(std::move(json));
    }
    return list;
  }
  /// The `count`th event of that name, once it is there.
  Json await(const std::string& name, std::size_t count = 1) {
    std::vector<Json> list;
    eventually(name.c_str(), [&] { return (list = events(name)).size() >= count; });
    return list.size() >= count ? list[count - 1] : Json::object();
  }
  std::string address() { return events("ready").back()["listen"].get<std::string>(); }
  pid_t generation_pid() { return events("ready").back()["generation_pid"].get<pid_t>(); }

  /// Connects and reads the greeting: "generation N"; "" when refused, reset or nothing comes within `limit`.
  static std::string greeting(const std::string& address, Duration limit = seconds{10}) {
    const Fd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const Endpoint endpoint{
        .host = "127.0.0.1",
        .port = static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)))};
    const auto target = SocketAddress::from_literal(endpoint);
    if (!target || ::connect(fd.get(), target->get(), target->size()) != 0) return {};
    pollfd entry{fd.get(), POLLIN, 0};
    if (::poll(&entry, 1, static_cast<int>(to_ms(limit))) != 1) return {};
    char buffer[64];
    const ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, 0);
    return n <= 0 ? std::string{} : std::string{buffer, static_cast<std::size_t>(n - 1)};
  }
  std::string who_serves() { return greeting(address()); }

  /// SIGHUP, then its outcome: the event reload.applied or reload.rejected.
  Json reload(pid_t supervisor) {
    const std::size_t applied = events("reload.applied").size();
    const std::size_t rejected = events("reload.rejected").size();
    ::kill(supervisor, SIGHUP);
    Json outcome;
    eventually("the answer of a reload", [&] {
      if (auto list = events("reload.applied"); list.size() > applied) outcome = list.back();
      if (auto list = events("reload.rejected"); list.size() > rejected) outcome = list.back();
      return !outcome.is_null();
    });
    return outcome;
  }
  std::string reload_text(pid_t supervisor) {
    const Json outcome = reload(supervisor);
    return outcome.value("event", "") + ": " + outcome.value("message", "");
  }

  fs::path folder_;
  SupervisorOptions options_;
  std::function<void()> before_start_;
  std::vector<pid_t> supervisors_;
};

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
  const auto fds = count(pid, "fd");
  for (int i = 0; i < 50; ++i) {
    write_config({}, {{"workers", 1 + i % 4}});
    ASSERT_EQ(reload(pid)["event"], "reload.applied");
  }
  eventually("one generation",
             [&] { return events("drain.end").size() == 51 && children_of(pid).size() == 1; });
  eventually("descriptors as before, and two more shards", [&] { return count(pid, "fd") == fds + 2; });
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
