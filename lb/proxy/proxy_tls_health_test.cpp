// Health checks of backends that speak TLS: what a proxy comes to think of them.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <thread>

#include "lb/proxy/tls_test_kit.hpp"

namespace lb {
namespace {

using namespace std::chrono_literals;
using namespace wire;

constexpr const char* kFine = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";

class ProxyTlsHealth : public ::testing::Test {
 protected:
  Config checked(std::uint16_t port, HealthCheckType type) const {
    Config config = to_backend(port);
    config.backends[0].tls = BackendTlsConfig{.ca = files_.ca_file};
    config.health_check = HealthCheckConfig{.type = type, .interval = 10ms, .rise = 1, .fall = 1};
    return config;
  }
  /// "up", or "down: " and why, of the only backend, once it is `wanted` or patience ends.
  static std::string standing(ProxyUnderTest& proxy, const std::string& wanted) {
    std::string seen;
    const Instant until = monotonic_now() + Milliseconds{kPatienceMs};
    do {
      const auto backend = proxy->backends().front();
      seen = backend.standing == "up" ? "up" : backend.standing + ": " + backend.reason;
    } while (seen != wanted && monotonic_now() < until);
    return seen;
  }

  TlsFiles files_;
  std::unique_ptr<tls::ServerContext> good_ = backend_context(files_.back);
};

TEST_F(ProxyTlsHealth, AnHttpCheckIsAskedAndAnsweredInsideTls) {
  std::atomic<bool> well{true};
  ScriptedBackend backend{with_tls(*good_, tls_answering([&](const std::string& request) {
    EXPECT_TRUE(request.starts_with("GET /health HTTP/1.1\r\n")) << request;
    return std::string{well ? kFine : "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"};
  }))};
  Config config = checked(backend.port(), HealthCheckType::http);
  config.health_check->path = "/health";
  config.health_check->expect_body = "fine";
  ProxyUnderTest proxy{config};
  EXPECT_EQ(standing(proxy, "up"), "up");
  well = false;
  EXPECT_EQ(standing(proxy, "down: status 503, expected 200-399"), "down: status 503, expected 200-399");
  well = true;
  EXPECT_EQ(standing(proxy, "up"), "up");
}

TEST_F(ProxyTlsHealth, ATcpCheckSpeaksInsideTls) {
  ScriptedBackend backend{with_tls(*good_, [](TlsWire& wire) {
    if (wire.read_until("\n") == "PING\n") wire.send("+PONG\n");
  })};
  Config config = checked(backend.port(), HealthCheckType::tcp);
  config.health_check->send = "PING\n";
  config.health_check->expect = "PONG";
  ProxyUnderTest proxy{config};
  EXPECT_EQ(standing(proxy, "up"), "up");
}

/// Certificates are looked at again by each check: a resumed session would not show that one has expired.
TEST_F(ProxyTlsHealth, ACertificateThatIsNotGoodAnyMoreTakesTheBackendOut) {
  const auto expired = backend_context(files_.make(
      "old", {.common_name = "old", .ips = {"127.0.0.1"}, .valid_from = -7200s, .valid_for = 3600s}));
  const auto of_another =
      backend_context(files_.make("other", {.common_name = "o", .dns = {"other.example"}}));
  const auto of_nobody = backend_context(
      save(files_.folder, "self", tls::testing::issue({.common_name = "s", .ips = {"127.0.0.1"}})));
  std::atomic<const tls::ServerContext*> present{good_.get()};
  std::atomic<int> resumed{0};
  ScriptedBackend backend{[&](Wire& wire) {
    TlsWire secured{std::move(wire), *present};
    secured.read_message();
    if (secured.session().resumed()) ++resumed;
    secured.send(kFine);
  }};
  for (const HealthCheckType type : {HealthCheckType::http, HealthCheckType::tcp, HealthCheckType::tls}) {
    present = good_.get();
    ProxyUnderTest proxy{checked(backend.port(), type)};
    EXPECT_EQ(standing(proxy, "up"), "up");
    const std::string failed = "down: TLS: certificate verify failed ";
    for (const auto& [context, reason] : {std::pair{expired.get(), "(certificate has expired)"},
                                          {of_another.get(), "(IP address mismatch)"},
                                          {of_nobody.get(), "(self-signed certificate)"}}) {
      present = context;
      EXPECT_EQ(standing(proxy, failed + reason), failed + reason);
      present = good_.get();
      EXPECT_EQ(standing(proxy, "up"), "up");
    }
  }
  EXPECT_EQ(resumed, 0);
}

TEST_F(ProxyTlsHealth, WhoSpeaksNoTlsOrNotInTimeIsDown) {
  ScriptedBackend plain{always("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")};
  ScriptedBackend answers_anything{[](Wire& wire) {
    wire.read_exactly(5);
    wire.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  }};
  for (const HealthCheckType type : {HealthCheckType::http, HealthCheckType::tls}) {
    ProxyUnderTest proxy{checked(answers_anything.port(), type)};
    EXPECT_EQ(standing(proxy, "down: TLS: wrong version number"), "down: TLS: wrong version number");
    Config config = checked(plain.port(), type);
    config.health_check->timeout = 50ms;
    ProxyUnderTest slow{config};
    const std::string late = "down: no TLS handshake within 0.05 s";
    EXPECT_EQ(standing(slow, late), late);
  }
}

/// In TCP mode the TLS of a backend may be the clients' affair; that it is there can be checked all the same.
TEST_F(ProxyTlsHealth, TheHandshakeOfABackendWithoutTlsSettingsIsNotVerified) {
  std::atomic<bool> speaks_tls{true};
  const auto self_signed =
      backend_context(save(files_.folder, "self", tls::testing::issue({.common_name = "s"})));
  ScriptedBackend backend{[&](Wire& wire) {
    if (!speaks_tls) {
      wire.send("220 welcome\r\n");
      wire.read_to_end();
      return;
    }
    TlsWire secured{std::move(wire), *self_signed};
    secured.read_to_end();
  }};
  Config config = checked(backend.port(), HealthCheckType::tls);
  config.backends[0].tls.reset();
  ProxyUnderTest proxy{config};
  EXPECT_EQ(standing(proxy, "up"), "up");
  speaks_tls = false;
  EXPECT_EQ(standing(proxy, "down: TLS: wrong version number"), "down: TLS: wrong version number");
}

TEST_F(ProxyTlsHealth, AnotherPortIsPlainAndTheProxyHeaderGoesBeforeTheHandshake) {
  ScriptedBackend elsewhere{always(kFine)};
  Config config = checked(1, HealthCheckType::http);
  config.health_check->port = elsewhere.port();
  ProxyUnderTest proxy{config};
  EXPECT_EQ(standing(proxy, "up"), "up");

  ScriptedBackend told{[&](Wire& wire) {
    std::array<char, 15> header{};  // and not a byte of what comes behind it
    const ssize_t n = ::recv(wire.fd(), header.data(), header.size(), MSG_WAITALL);
    if (n <= 0) return;  // a check that the end of the test cut short
    EXPECT_EQ(std::string(header.data(), static_cast<std::size_t>(n)), "PROXY UNKNOWN\r\n");
    TlsWire secured{std::move(wire), *good_};
    secured.read_message();
    secured.send(kFine);
  }};
  Config with_header = checked(told.port(), HealthCheckType::http);
  with_header.backends[0].send_proxy = SendProxy::v1;
  ProxyUnderTest another{with_header};
  EXPECT_EQ(standing(another, "up"), "up");
}

}  // namespace
}  // namespace lb
