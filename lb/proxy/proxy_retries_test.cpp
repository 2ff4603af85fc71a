// Which requests go to another backend, which do not, and what is said of a backend that fails them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "lb/proxy/proxy.hpp"
#include "lb/proxy/wire_test_kit.hpp"

namespace lb {
namespace {

using ::testing::EndsWith;
using ::testing::StartsWith;
using wire::always;
using wire::backend_at;
using wire::ProxyUnderTest;
using wire::ScriptedBackend;
using wire::Wire;

constexpr std::string_view kGetRetries = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
constexpr std::string_view kPost = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";
constexpr std::string_view kHelloRetries = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
constexpr std::string_view kBusy = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";

/// Reads a request and hangs up.
ScriptedBackend::Script hanging_up(std::atomic<int>& requests) {
  return [&requests](Wire& wire) {
    if (!wire.read_message().empty()) ++requests;
  };
}

Config over(std::initializer_list<std::uint16_t> ports) {
  Config config;
  for (const std::uint16_t port : ports) config.backends.push_back(backend_at(port));
  return config;
}

/// The answers to `count` requests on one connection each.
std::vector<std::string> ask(const ProxyUnderTest& proxy, std::string_view request, int count) {
  std::vector<std::string> answers;
  for (int i = 0; i < count; ++i) {
    Wire client = proxy.connect();
    client.send(request);
    answers.push_back(client.read_message());
  }
  return answers;
}

TEST(ProxyRetries, AnIdempotentRequestWithoutAnAnswerGoesToAnotherBackend) {
  std::atomic<int> hung_up{0};
  ScriptedBackend bad{hanging_up(hung_up)};
  ScriptedBackend good{always(kHelloRetries)};
  ProxyUnderTest proxy{over({bad.port(), good.port()})};
  EXPECT_THAT(ask(proxy, kGetRetries, 4), ::testing::Each(EndsWith("hello")));
  EXPECT_GE(hung_up, 2);
  EXPECT_EQ(proxy->counters().upstream_retries, static_cast<std::uint64_t>(hung_up));
}

TEST(ProxyRetries, AnotherRequestIsNotSentTwice) {
  std::atomic<int> hung_up{0};
  ScriptedBackend bad{hanging_up(hung_up)};
  ScriptedBackend also_bad{hanging_up(hung_up)};
  ProxyUnderTest proxy{over({bad.port(), also_bad.port()})};
  EXPECT_THAT(ask(proxy, kPost, 2), ::testing::Each(StartsWith("HTTP/1.1 502 ")));
  EXPECT_EQ(hung_up, 2) << "one each";
  EXPECT_EQ(proxy->counters().upstream_retries, 0U);
}

TEST(ProxyRetries, ARequestThatMakesBackendsFallOverIsNotCarriedToAllOfThem) {
  std::atomic<int> hung_up{0};
  ScriptedBackend a{hanging_up(hung_up)};
  ScriptedBackend b{hanging_up(hung_up)};
  ScriptedBackend c{hanging_up(hung_up)};
  ScriptedBackend d{hanging_up(hung_up)};
  ScriptedBackend e{hanging_up(hung_up)};
  ProxyUnderTest proxy{over({a.port(), b.port(), c.port(), d.port(), e.port()})};
  EXPECT_THAT(ask(proxy, kGetRetries, 1), ::testing::Each(StartsWith("HTTP/1.1 502 ")));
  EXPECT_EQ(hung_up, 3);
}

TEST(ProxyRetries, GatewayErrorsArePassedOnUnlessAsked) {
  ScriptedBackend busy{always(kBusy)};
  ScriptedBackend good{always(kHelloRetries)};
  Config config = over({busy.port(), good.port()});
  {
    ProxyUnderTest proxy{config};
    EXPECT_THAT(ask(proxy, kGetRetries, 2), ::testing::Contains(EndsWith("busy")).Times(1));
  }
  config.retries.gateway_errors = true;
  ProxyUnderTest proxy{config};
  EXPECT_THAT(ask(proxy, kGetRetries, 4), ::testing::Each(EndsWith("hello")));
  EXPECT_THAT(ask(proxy, kPost, 2), ::testing::Contains(EndsWith("busy")).Times(1));
  EXPECT_GE(proxy->counters().upstream_retries, 2U);
}

TEST(ProxyRetries, TheLastGatewayErrorIsTheBackendsOwn) {
  ScriptedBackend busy{always(kBusy)};
  ScriptedBackend busy_too{always(kBusy)};
  Config config = over({busy.port(), busy_too.port()});
  config.retries.gateway_errors = true;
  ProxyUnderTest proxy{config};
  EXPECT_THAT(ask(proxy, kGetRetries, 4), ::testing::Each(EndsWith("busy")));
}

TEST(ProxyRetries, TheBudgetEndsAStorm) {
  std::atomic<int> hung_up{0};
  ScriptedBackend bad{hanging_up(hung_up)};
  ScriptedBackend good{always(kHelloRetries)};
  Config config = over({bad.port(), good.port()});
  config.retries.budget_share = 0;
  config.retries.budget_per_second = 0.3;  // three may be saved up
  ProxyUnderTest proxy{config};
  const int refused =
      static_cast<int>(std::ranges::count_if(ask(proxy, kGetRetries, 12), [](const std::string& answer) {
        return answer.starts_with("HTTP/1.1 502 ");
      }));
  EXPECT_GE(refused, 3);
  EXPECT_EQ(refused, hung_up - 3);
  EXPECT_EQ(proxy->counters().retries_refused, static_cast<std::uint64_t>(refused));
  EXPECT_EQ(proxy->counters().upstream_retries, 3U);
}

TEST(ProxyRetries, OneAttemptIsOneBackend) {
  std::atomic<int> hung_up{0};
  ScriptedBackend bad{hanging_up(hung_up)};
  ScriptedBackend good{always(kHelloRetries)};
  Config config = over({bad.port(), good.port()});
  config.retries.attempts = 1;
  ProxyUnderTest proxy{config};
  EXPECT_THAT(ask(proxy, kGetRetries, 4), ::testing::Contains(StartsWith("HTTP/1.1 502 ")).Times(2));
}

TEST(ProxyRetries, FailuresInARowEjectABackend) {
  std::atomic<int> hung_up{0};
  ScriptedBackend bad{hanging_up(hung_up)};
  ScriptedBackend good{always(kHelloRetries)};
  Config config = over({bad.port(), good.port()});
  config.outlier_detection.emplace().failures_in_row = 3;
  ProxyUnderTest proxy{config};
  EXPECT_THAT(ask(proxy, kGetRetries, 20), ::testing::Each(EndsWith("hello")));
  EXPECT_EQ(hung_up, 3);
  const auto status = proxy->backends();
  EXPECT_EQ(status[0].standing, "ejected");
  EXPECT_EQ(status[0].reason, "3 requests in a row failed");
  EXPECT_EQ(status[1].standing, "up");
}

TEST(ProxyRetries, AnErrorOfTheApplicationIsNoSignOfAnOutlier) {
  ScriptedBackend failing{always("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")};
  ScriptedBackend good{always(kHelloRetries)};
  Config config = over({failing.port(), good.port()});
  config.outlier_detection.emplace().failures_in_row = 2;
  ProxyUnderTest proxy{config};
  ask(proxy, kGetRetries, 12);
  EXPECT_EQ(proxy->backends()[0].standing, "up");
}

TEST(ProxyRetries, AShareOfFailuresEjectsABackend) {
  ScriptedBackend busy{always(kBusy)};
  ScriptedBackend good{always(kHelloRetries)};
  Config config = over({busy.port(), good.port()});
  auto& outliers = config.outlier_detection.emplace();
  outliers.failures_in_row = 0;
  outliers.failure_share = 0.5;
  outliers.requests_min = 5;
  ProxyUnderTest proxy{config};
  const Instant until = monotonic_now() + Milliseconds{wire::kPatienceMs};
  while (proxy->backends()[0].standing != "ejected" && monotonic_now() < until) ask(proxy, kGetRetries, 2);
  EXPECT_EQ(proxy->backends()[0].standing, "ejected");
  EXPECT_THAT(ask(proxy, kGetRetries, 4), ::testing::Each(EndsWith("hello")));
}

/// Names resolve to the addresses that `texts` holds at the time.
ResolveFunction resolving_to(std::shared_ptr<std::atomic<const char*>> text) {
  return [text](const Endpoint& endpoint) {
    std::vector<SocketAddress> out;
    std::string_view rest = text->load();
    while (!rest.empty()) {
      const std::size_t n = std::min(rest.find(' '), rest.size());
      out.push_back(
          *SocketAddress::from_literal({.host = std::string{rest.substr(0, n)}, .port = endpoint.port}));
      rest.remove_prefix(std::min(n + 1, rest.size()));
    }
    return out;
  };
}

TEST(ProxyNames, OfSeveralAddressesADeadOneHarmsNobody) {
  ScriptedBackend backend{always(kHelloRetries)};
  Config config;
  config.backends.push_back({.name = "app", .endpoint = {.host = "app.test", .port = backend.port()}});
  config.pool.max_size = 0;  // each request connects
  auto text = std::make_shared<std::atomic<const char*>>("127.0.0.2 127.0.0.1 127.0.0.3");
  ProxyUnderTest proxy{config, {.resolve = resolving_to(text)}};
  EXPECT_THAT(ask(proxy, kGetRetries, 8), ::testing::Each(EndsWith("hello")));
  EXPECT_THAT(ask(proxy, kPost, 8), ::testing::Each(EndsWith("hello")));
  EXPECT_EQ(proxy->counters().upstream_connect_failures, 2U) << "each of the dead ones was tried once";
  EXPECT_FALSE(proxy->backends()[0].aside);
  EXPECT_EQ(proxy->backends()[0].failures, 0U);
}

TEST(ProxyNames, ConnectionsToAnAddressThatIsGoneAreClosed) {
  std::promise<void> closed;
  ScriptedBackend backend{[&](Wire& wire) {
    wire.read_message();
    wire.send(kHelloRetries);
    if (wire.at_end()) closed.set_value();
  }};
  Config config;
  config.backends.push_back({.name = "app", .endpoint = {.host = "app.test", .port = backend.port()}});
  config.resolver.interval = Milliseconds{500};
  auto text = std::make_shared<std::atomic<const char*>>("127.0.0.1");
  ProxyUnderTest proxy{config, {.resolve = resolving_to(text)}};
  ASSERT_THAT(ask(proxy, kGetRetries, 1), ::testing::Each(EndsWith("hello")));
  text->store("127.0.0.3");
  EXPECT_EQ(closed.get_future().wait_for(Milliseconds{wire::kPatienceMs}), std::future_status::ready);
  text->store("");
  EXPECT_THAT(ask(proxy, kGetRetries, 1), ::testing::Each(StartsWith("HTTP/1.1 502 "))) << "where it is now";
}

/// A Unix socket whose queue of connections holds few, and that nobody accepts from until told.
TEST(ProxyRetries, AFullQueueOfAUnixSocketIsWaitedFor) {
  const std::string path = ::testing::TempDir() + "lb_retries_" + std::to_string(::getpid()) + ".sock";
  ::unlink(path.c_str());
  const Fd listener{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  ASSERT_EQ(::bind(listener.get(), generic, sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 0), 0);
  std::vector<Fd> filling;
  for (int status = 0; status == 0;) {
    filling.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    status = ::connect(filling.back().get(), generic, sizeof address);
  }
  ASSERT_EQ(errno, EAGAIN);
  Config config;
  config.backends.push_back({.name = "unix", .endpoint = {.host = path, .port = 0, .unix_socket = true}});
  ProxyUnderTest proxy{config};
  Wire client = proxy.connect();
  client.send(kGetRetries);
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  EXPECT_FALSE(proxy->backends()[0].aside) << "busy is not broken";
  std::string request;
  while (request.empty()) {  // those that filled it have sent nothing and hang up
    filling.clear();
    Wire served{Fd{::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)}};
    request = served.read_message();
    if (!request.empty()) served.send(kHelloRetries);
  }
  EXPECT_THAT(client.read_message(), EndsWith("hello"));
  EXPECT_EQ(proxy->counters().upstream_connect_failures, 0U);
  ::unlink(path.c_str());
}

}  // namespace
}  // namespace lb
