#include "lb/health/connectivity.hpp"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/un.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>

#include "lb/base/fd.hpp"
#include "lb/base/open_fds.hpp"

namespace lb {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

/// A socket bound to a port of 127.0.0.1 that the kernel chose; listening, or else refusing.
class LocalPort {
 public:
  explicit LocalPort(int backlog) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(fd_.get(), generic, sizeof address), 0);
    if (backlog >= 0) {
      EXPECT_EQ(::listen(fd_.get(), backlog), 0);
    }
    socklen_t length = sizeof address;
    EXPECT_EQ(::getsockname(fd_.get(), generic, &length), 0);
    port_ = ntohs(address.sin_port);
  }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  static constexpr int kRefusing = -1;

 private:
  Fd fd_;
  std::uint16_t port_ = 0;
};

/// A listener whose queue is full: further connection attempts get no answer at all.
class SilentPort {
 public:
  SilentPort() : listener_(0) {
    for (Fd& filler : fillers_) {
      filler.reset(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(listener_.port());
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      ::connect(filler.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    }
  }
  [[nodiscard]] std::uint16_t port() const { return listener_.port(); }

 private:
  LocalPort listener_;
  Fd fillers_[8];
};

BackendConfig backend(const std::string& host, std::uint16_t port) {
  BackendConfig out;
  out.endpoint = {.host = host, .port = port};
  out.name = out.endpoint.text();
  return out;
}

BackendConfig unix_backend(const std::string& path) {
  return {.name = path, .endpoint = {.host = path, .port = 0, .unix_socket = true}};
}

LookupAnswer loopback_answer() {
  return {.addresses = {literal_address({.host = "127.0.0.1"})}};
}

TEST(Probe, AnswersRefusesAndStaysSilent) {
  const LocalPort answering{16};
  const LocalPort refusing{LocalPort::kRefusing};
  const SilentPort silent;
  EXPECT_EQ(probe_backend(backend("127.0.0.1", answering.port()), Milliseconds{1'000}), "");
  EXPECT_EQ(probe_backend(backend("127.0.0.1", refusing.port()), Milliseconds{1'000}), "connection refused");
  EXPECT_EQ(probe_backend(backend("127.0.0.1", silent.port()), Milliseconds{150}), "no answer within 0.15 s");
}

TEST(Probe, UnixSockets) {
  std::string folder = (std::filesystem::temp_directory_path() / "lb_health.XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/a.sock";
  EXPECT_EQ(probe_backend(unix_backend(path), Milliseconds{1'000}), "no such file or directory");
  const Fd listener{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const ProbeAddress address = literal_address({.host = path, .port = 0, .unix_socket = true});
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length), 0);
  EXPECT_EQ(probe_backend(unix_backend(path), Milliseconds{1'000}), "connection refused");
  ASSERT_EQ(::listen(listener.get(), 16), 0);
  EXPECT_EQ(probe_backend(unix_backend(path), Milliseconds{1'000}), "");
  std::filesystem::remove_all(folder);
}

TEST(Probe, ANameThatDoesNotResolveIsAReason) {
  EXPECT_THAT(probe_backend(backend("no-such-host.invalid", 80), Milliseconds{5'000}),
              StartsWith("does not resolve"));
  EXPECT_THAT(probe_backend(backend("", 80), Milliseconds{500}), StartsWith("does not resolve"))
      << "a Config that nobody validated";
}

TEST(Probe, LocalhostResolves) {
  const LocalPort answering{16};
  EXPECT_EQ(probe_backend(backend("localhost", answering.port()), Milliseconds{5'000}), "");
}

TEST(Probe, EachNameIsLookedUpOnceAndEveryAddressTried) {
  const LocalPort answering{64};
  const LocalPort refusing{LocalPort::kRefusing};
  std::atomic<int> lookups{0};
  const auto lookup = [&](const std::string& name) -> LookupAnswer {
    ++lookups;
    if (name == "down") return {.failure = "down for the test"};
    // 127.0.0.2 refuses: nobody listens there.
    return {.addresses = {literal_address({.host = "127.0.0.2"}), literal_address({.host = "127.0.0.1"})}};
  };
  const std::vector<BackendConfig> backends = {
      backend("app", answering.port()), backend("app", refusing.port()), backend("down", 80),
      backend("app", answering.port()), backend("127.0.0.1", answering.port())};
  EXPECT_THAT(probe_backends(backends, Milliseconds{5'000}, lookup),
              ElementsAre("", "connection refused", "does not resolve (down for the test)", "", ""));
  EXPECT_EQ(lookups, 2);
}

TEST(Probe, AStuckResolverDoesNotHoldUpTheRest) {
  const LocalPort answering{64};
  struct Gate {
    std::atomic<bool> open{false};
    std::atomic<int> caught{0};
  };
  const auto gate = std::make_shared<Gate>();  // outlives the call, as a caught helper does
  const auto lookup = [gate](const std::string& name) -> LookupAnswer {
    if (name == "good") return loopback_answer();
    ++gate->caught;
    gate->open.wait(false);
    --gate->caught;
    return {.failure = "late"};
  };
  std::vector<BackendConfig> backends = {backend("good", answering.port()),
                                         backend("127.0.0.1", answering.port())};
  for (int i = 0; i < 20; ++i) backends.push_back(backend("stuck" + std::to_string(i), 80));
  const Instant begin = monotonic_now();
  const auto answers = probe_backends(backends, Milliseconds{300}, lookup);
  EXPECT_LT(to_ms(monotonic_now() - begin), 2'000);
  EXPECT_EQ(answers[0], "");
  EXPECT_EQ(answers[1], "");
  for (std::size_t i = 2; i < answers.size(); ++i) EXPECT_EQ(answers[i], "does not resolve within 0.3 s");
  EXPECT_LE(gate->caught, static_cast<int>(kLookupThreadsMax));
  gate->open = true;
  gate->open.notify_all();
  while (gate->caught > 0) std::this_thread::yield();
}

/// 10,000 of which most refuse at once: far below 10,000 times the time of one.
TEST(Probe, TenThousandSideBySide) {
  const LocalPort answering{4096};
  const LocalPort refusing{LocalPort::kRefusing};
  std::vector<BackendConfig> backends;
  for (std::size_t i = 0; i < 10'000; ++i) {
    backends.push_back(backend("127.0.0.1", i % 100 == 0 ? answering.port() : refusing.port()));
  }
  const std::size_t before = open_fds();
  const auto answers = probe_backends(backends, Milliseconds{30'000});
  ASSERT_THAT(answers, SizeIs(backends.size()));
  for (std::size_t i = 0; i < answers.size(); ++i) {
    ASSERT_EQ(answers[i], i % 100 == 0 ? "" : "connection refused") << i;
  }
  // Fewer may be open: the caught helpers of the test before end, and close theirs, in their own time.
  EXPECT_LE(open_fds(), before);
}

TEST(Probe, ManySilentOnesEndWithTheBudget) {
  const SilentPort silent;
  const std::vector<BackendConfig> backends(2'000, backend("127.0.0.1", silent.port()));
  const Instant begin = monotonic_now();
  const auto answers = probe_backends(backends, Milliseconds{400});
  EXPECT_LT(to_ms(monotonic_now() - begin), 3'000);
  EXPECT_EQ(answers.front(), "no answer within 0.1 s");
  EXPECT_EQ(answers.back(), "not tested, for lack of time");
}

TEST(Probe, FewDescriptorsLeft) {
  const SilentPort silent;
  const LocalPort refusing{LocalPort::kRefusing};
  std::vector<BackendConfig> backends(10, backend("127.0.0.1", silent.port()));
  backends.push_back(backend("127.0.0.1", refusing.port()));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = open_fds() + 8;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const auto answers = probe_backends(backends, Milliseconds{5'000});
  few.rlim_cur = 1;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const auto none = probe_backends(backends, Milliseconds{5'000});
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(answers.front(), "no answer within 1 s");
  EXPECT_EQ(answers.back(), "connection refused") << "its turn came when others gave their descriptor back";
  EXPECT_THAT(none.front(), HasSubstr("cannot be tested: too many open files"));
}

TEST(Probe, NoBackends) {
  EXPECT_THAT(probe_backends({}, Milliseconds{100}), SizeIs(0));
}

TEST(ConfigReload, WarnsOfWhatDoesNotAnswer) {
  const LocalPort answering{16};
  const LocalPort refusing{LocalPort::kRefusing};
  std::string folder = (std::filesystem::temp_directory_path() / "lb_health.XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/lb.json";
  std::ofstream{path} << R"({"listen_port": 8080, "backends": [{"host": "127.0.0.1", "port": )"
                      << answering.port() << R"(}, {"name": "down", "host": "127.0.0.1", "port": )"
                      << refusing.port() << R"(}, {"host": "no-such-host.invalid", "port": 80}]})";
  const auto candidate = config_reload(path);
  ASSERT_TRUE(candidate);
  EXPECT_THAT(
      candidate->warnings,
      ElementsAre("backend \"down\" (127.0.0.1:" + std::to_string(refusing.port()) + "): connection refused",
                  StartsWith("backend \"no-such-host.invalid:80\": does not resolve")));
  std::ofstream{path} << "{}";
  EXPECT_FALSE(config_reload(path));
  EXPECT_FALSE(config_reload(folder + "/none.json"));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace lb
