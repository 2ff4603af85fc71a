// SupervisorTest: the whole supervisor as a process, with real generations whose data plane is a fake
// (fake_generation.cpp). Each test tells a story by signals, files and crashes, and reads what happened from
// the log. Readiness is awaited, never slept for.
#pragma once

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
#include "lb/supervisor/supervisor.hpp"

namespace lb {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

inline constexpr auto kPatience = seconds{20};

inline std::string slurp(const fs::path& path) {
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
    // Whoever is left is ours by now, as we are the subreaper: also a generation that never became ready.
    for (auto left = children_of(::getpid()); !left.empty(); left = children_of(::getpid())) {
      for (const std::string& pid : left) {
        ::kill(std::stoi(pid), SIGKILL);
        ::waitpid(std::stoi(pid), nullptr, 0);
      }
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

  /// SIGHUP, then its outcome: the event reload.applied or reload.rejected. When it was applied, the new
  /// generation has been announced too, so address() and generation_pid() are its.
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
    if (outcome.is_null() || outcome["event"] != "reload.applied") return outcome;
    eventually("the new generation is announced",
               [&] { return events("ready").back()["generation"] >= outcome["generation"]; });
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

}  // namespace lb
