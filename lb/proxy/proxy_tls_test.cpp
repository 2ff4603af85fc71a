// TLS on either side of the proxy, over real sockets.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <thread>

#include "lb/proxy/tls_test_kit.hpp"

namespace lb {
namespace {

using namespace std::chrono_literals;
using namespace wire;

constexpr const char* kGetTls = "GET / HTTP/1.1\r\nHost: lb.example\r\n\r\n";
constexpr const char* kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

std::string with_body(const std::string& body) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string body_of(const std::string& message) {
  return message.substr(message.find("\r\n\r\n") + 4);
}

std::string large_body() {
  std::string body;
  for (int i = 0; body.size() < (1U << 20U); ++i) body += std::to_string(i) + " ";
  return body;
}

class ProxyTls : public ::testing::Test {
 protected:
  Config front(Config config) const {
    config.listen = {ListenerConfig{{.host = "127.0.0.1"}}};
    config.listen[0].tls = files_.listener();
    return config;
  }
  TlsWire connect(const ProxyUnderTest& proxy) { return {proxy.connect(), target_}; }
  static Config tls_backend(std::uint16_t port, BackendTlsConfig tls) {
    Config config = to_backend(port);
    config.backends[0].tls = std::move(tls);
    return config;
  }

  TlsFiles files_;
  tls::ClientTarget target_{files_.trust(), "lb.example"};
};

TEST_F(ProxyTls, ServesRequestsAndTellsTheBackend) {
  ScriptedBackend backend{answering([](const std::string& request) { return with_body(request); })};
  ProxyUnderTest proxy{front(to_backend(backend.port()))};
  TlsWire client = connect(proxy);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(client.send(kGetTls)) << client.session().error();
    EXPECT_NE(client.read_message().find("X-Forwarded-Proto: https\r\n"), std::string::npos);
  }
  EXPECT_EQ(client.session().alpn(), "http/1.1");
  EXPECT_EQ(backend.connections(), 1);
  // Two requests in one record, and then a close that is announced.
  client.send(std::string{kGetTls} + "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_NE(client.read_message(), "");
  EXPECT_NE(client.read_message().find("Connection: close"), std::string::npos);
  EXPECT_EQ(client.read_to_end(), "");
  EXPECT_EQ(client.last(), tls::Status::closed);
  EXPECT_TRUE(proxy.counted([](const CounterTotals& c) { return c.tls_handshakes == 1; }));
}

TEST_F(ProxyTls, LargeBodiesBothWays) {
  ScriptedBackend backend{answering([](const std::string& request) { return with_body(body_of(request)); })};
  const auto context = backend_context(files_.back);
  ScriptedBackend secured{with_tls(
      *context, tls_answering([](const std::string& request) { return with_body(body_of(request)); }))};
  const std::string body = large_body();
  for (const bool tls : {false, true}) {
    Config config = tls ? tls_backend(secured.port(), {.ca = files_.ca_file}) : to_backend(backend.port());
    ProxyUnderTest proxy{front(std::move(config))};
    TlsWire client = connect(proxy);
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
                              "\r\n\r\n" + body));
      EXPECT_TRUE(body_of(client.read_message()) == body);
    }
  }
}

TEST_F(ProxyTls, ASlowReaderGetsEverything) {
  const std::string body = large_body() + large_body() + large_body() + large_body();
  ScriptedBackend backend{always(with_body(body))};
  ProxyUnderTest proxy{front(to_backend(backend.port()))};
  TlsWire client = connect(proxy);
  client.send(kGetTls);
  std::string got = client.read_until("\r\n\r\n");
  got.clear();
  while (got.size() < body.size()) {
    const std::string piece = client.read_exactly(std::min<std::size_t>(300'000, body.size() - got.size()));
    ASSERT_FALSE(piece.empty());
    got += piece;
    std::this_thread::sleep_for(2ms);  // the reader's slowness, nothing is waited for
  }
  EXPECT_TRUE(got == body);
}

TEST_F(ProxyTls, HandshakeAndRequestByteByByte) {
  ScriptedBackend backend{always(kOk)};
  ProxyUnderTest proxy{front(to_backend(backend.port()))};
  // Between the client and the proxy: passes on single bytes towards the proxy.
  int ends[2] = {-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Wire near{Fd{ends[0]}};
  Wire far{Fd{ends[1]}};
  Wire to_proxy = proxy.connect();
  std::jthread there{[&] {
    char byte = 0;
    while (::recv(far.fd(), &byte, 1, 0) == 1 && to_proxy.send({&byte, 1})) {
    }
  }};
  std::jthread back{[&] {
    std::array<char, 4096> bytes{};
    for (ssize_t n = 0; (n = ::recv(to_proxy.fd(), bytes.data(), bytes.size(), 0)) > 0;) {
      far.send({bytes.data(), static_cast<std::size_t>(n)});
    }
  }};
  {
    TlsWire client{std::move(near), target_};
    ASSERT_TRUE(client.send(kGetTls)) << client.session().error();
    EXPECT_EQ(body_of(client.read_message()), "ok");
  }
  ::shutdown(to_proxy.fd(), SHUT_RDWR);
}

TEST_F(ProxyTls, WhatIsNoHandshakeIsToldOrClosed) {
  ScriptedBackend backend{always(kOk)};
  ProxyUnderTest proxy{front(to_backend(backend.port()))};
  Wire http = proxy.connect();
  http.send(kGetTls);
  EXPECT_TRUE(http.read_to_end().starts_with("HTTP/1.1 400 Bad Request\r\n"));
  Wire garbage = proxy.connect();
  garbage.send("\x16\x03\x01\x02\x02garbage" + std::string(600, 'x'));
  const std::string alert = garbage.read_to_end();
  EXPECT_TRUE(alert.empty() || alert.starts_with("\x15\x03")) << "nothing, or a TLS alert";
  Wire gone = proxy.connect();
  gone.send("\x16\x03\x01");
  gone.close();
  EXPECT_TRUE(proxy.counted([](const CounterTotals& c) { return c.tls_failures == 3; }));
  TlsWire good = connect(proxy);
  good.send(kGetTls);
  EXPECT_EQ(body_of(good.read_message()), "ok");
}

TEST_F(ProxyTls, AHandshakeThatTakesTooLongIsClosed) {
  ScriptedBackend backend{always(kOk)};
  Config config = front(to_backend(backend.port()));
  config.timeouts.header = Milliseconds{100};
  ProxyUnderTest proxy{std::move(config)};
  Wire silent = proxy.connect();
  EXPECT_TRUE(silent.at_end());
  Wire half = proxy.connect();
  half.send("\x16\x03\x01\x02");
  EXPECT_TRUE(half.at_end());
  EXPECT_TRUE(proxy.counted([](const CounterTotals& c) { return c.connections_open == 0; }));
}

TEST_F(ProxyTls, ClientCertificates) {
  ScriptedBackend backend{always(kOk)};
  Config config = front(to_backend(backend.port()));
  config.listen[0].tls->client_ca = files_.ca_file;
  config.listen[0].tls->client_cert = ClientCert::required;
  ProxyUnderTest proxy{std::move(config)};
  TlsWire nobody = connect(proxy);
  nobody.send(kGetTls);
  EXPECT_EQ(nobody.read_message(), "");
  const auto own = files_.make("client", {.common_name = "client"});
  tls::ClientOptions options;
  options.certificate = std::move(*tls::Certificate::load(own.cert, own.key));
  tls::ClientTarget target{files_.trust(std::move(options)), "lb.example"};
  TlsWire known{proxy.connect(), target};
  known.send(kGetTls);
  EXPECT_EQ(body_of(known.read_message()), "ok");
}

TEST_F(ProxyTls, BackendConnectionsArePooledAndResumed) {
  const auto context = backend_context(files_.back);
  int served = 0;
  ScriptedBackend backend{with_tls(*context, [&](TlsWire& wire) {
    for (int i = 0; i < 2 && wire.read_message() != ""; ++i) {  // the second answer announces the end
      ++served;
      wire.send(i == 0 ? kOk : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    }
  })};
  ProxyUnderTest proxy{tls_backend(backend.port(), {.ca = files_.ca_file})};
  Wire client = proxy.connect();
  for (int i = 0; i < 6; ++i) {
    client.send(kGetTls);
    EXPECT_EQ(body_of(client.read_message()), "ok");
  }
  EXPECT_EQ(backend.connections(), 3);
  EXPECT_TRUE(proxy.counted([](const CounterTotals& c) {
    return c.upstream_tls_handshakes == 3 && c.upstream_tls_resumed == 2 && c.upstream_reused == 3;
  }));
}

TEST_F(ProxyTls, ABackendThatCannotProveItselfIsNotUsed) {
  const auto stranger = tls::testing::issue({.common_name = "Other", .authority = true});
  const auto other =
      save(files_.folder, "other", issue({.common_name = "x", .ips = {"127.0.0.1"}}, &stranger));
  const auto right = backend_context(files_.back);
  const auto foreign = backend_context(other);
  ScriptedBackend plain{[](Wire& wire) {
    wire.send("220 no TLS here\r\n");
    wire.read_to_end();  // a close over unread bytes would be a reset, and could come first
  }};
  ScriptedBackend good{with_tls(*right, tls_answering([](const std::string&) { return kOk; }))};
  ScriptedBackend bad{with_tls(*foreign, tls_answering([](const std::string&) { return kOk; }))};
  struct Case {
    std::uint16_t port;
    BackendTlsConfig tls;
    int status;
  };
  const std::vector<Case> cases{
      {good.port(), {.ca = files_.ca_file}, 200},
      {good.port(), {.ca = files_.ca_file, .server_name = "wrong.example"}, 502},
      {good.port(), {}, 502},  // the system knows nothing of this authority
      {good.port(), {.verify = false}, 200},
      {bad.port(), {.ca = files_.ca_file}, 502},
      {bad.port(), {.verify = false}, 200},
      {plain.port(), {.verify = false}, 502},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    ProxyUnderTest proxy{tls_backend(cases[i].port, cases[i].tls)};
    Wire client = proxy.connect();
    client.send(kGetTls);
    EXPECT_TRUE(client.read_message().starts_with("HTTP/1.1 " + std::to_string(cases[i].status))) << i;
    const std::uint64_t failures = cases[i].status == 200 ? 0 : 1;
    EXPECT_TRUE(proxy.counted([&](const CounterTotals& c) {
      return c.upstream_tls_failures == failures && c.upstream_connect_failures == failures;
    })) << i;
  }
}

TEST_F(ProxyTls, AFailedHandshakeGoesOnToTheNextBackend) {
  const auto right = backend_context(files_.back);
  ScriptedBackend plain{[](Wire& wire) {
    wire.send("220 no TLS here\r\n");
    wire.read_to_end();  // a close over unread bytes would be a reset, and could come first
  }};
  ScriptedBackend good{with_tls(*right, tls_answering([](const std::string&) { return kOk; }))};
  Config config;
  config.backends = {backend_at(plain.port()), backend_at(good.port())};
  for (BackendConfig& backend : config.backends) backend.tls = BackendTlsConfig{.ca = files_.ca_file};
  ProxyUnderTest proxy{std::move(config)};
  Wire client = proxy.connect();
  for (int i = 0; i < 4; ++i) {
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    EXPECT_EQ(body_of(client.read_message()), "ok");
  }
}

TEST_F(ProxyTls, ABackendThatNeverShakesHandsTimesOut) {
  ScriptedBackend silent{[](Wire& wire) { wire.read_to_end(); }};
  Config config = tls_backend(silent.port(), {.ca = files_.ca_file});
  config.timeouts.connect = Milliseconds{100};
  ProxyUnderTest proxy{std::move(config)};
  Wire client = proxy.connect();
  client.send(kGetTls);
  EXPECT_TRUE(client.read_message().starts_with("HTTP/1.1 502"));
}

TEST_F(ProxyTls, ABodyUntilTheEndThatIsCutIsNoWholeBody) {
  const auto context = backend_context(files_.back);
  for (const bool orderly : {true, false}) {
    ScriptedBackend backend{with_tls(*context, [&](TlsWire& wire) {
      wire.read_message();
      wire.send("HTTP/1.1 200 OK\r\n\r\nthe beginning");
      if (orderly) wire.session().close_notify();
    })};
    ProxyUnderTest proxy{front(tls_backend(backend.port(), {.ca = files_.ca_file}))};
    TlsWire client = connect(proxy);
    client.send("GET / HTTP/1.0\r\n\r\n");
    const std::string answer = client.read_to_end();
    if (orderly) {
      EXPECT_EQ(body_of(answer), "the beginning");
      EXPECT_EQ(client.last(), tls::Status::closed);
    } else {
      EXPECT_NE(client.last(), tls::Status::closed) << "the client must see that it was cut";
    }
  }
}

TEST_F(ProxyTls, TunnelsPassBytesAndEnds) {
  const auto context = backend_context(files_.back);
  ScriptedBackend backend{with_tls(*context, [](TlsWire& wire) {
    wire.read_message();
    wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhi ");
    const std::string said = wire.read_to_end();  // until the client's side ends
    if (wire.last() == tls::Status::closed) wire.send("you said " + said);
    wire.session().close_notify();
  })};
  ProxyUnderTest proxy{front(tls_backend(backend.port(), {.ca = files_.ca_file}))};
  TlsWire client = connect(proxy);
  client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
  client.read_until("\r\n\r\n");
  client.send("good morning");
  EXPECT_EQ(client.read_exactly(3), "hi ");
  client.session().close_notify();
  client.wire().finish_sending();
  EXPECT_EQ(client.read_to_end(), "you said good morning");
  EXPECT_EQ(client.last(), tls::Status::closed);
}

TEST_F(ProxyTls, TcpModeEndsTlsOnEitherSide) {
  const auto context = backend_context(files_.back);
  const auto chat = [](auto& wire) {  // speaks first
    wire.send("220 ready\r\n");
    for (std::string line = wire.read_until("\n"); !line.empty(); line = wire.read_until("\n")) {
      wire.send("echo " + line);
    }
  };
  ScriptedBackend plain{[&](Wire& wire) { chat(wire); }};
  ScriptedBackend secured{with_tls(*context, [&](TlsWire& wire) { chat(wire); })};
  for (const bool tls_front : {false, true}) {
    for (const bool tls_back : {false, true}) {
      if (!tls_front && !tls_back) continue;
      SCOPED_TRACE(std::to_string(tls_front) + std::to_string(tls_back));
      Config config =
          tls_back ? tls_backend(secured.port(), {.ca = files_.ca_file}) : to_backend(plain.port());
      if (tls_front) {
        config = front(std::move(config));
      } else {
        config.listen = {ListenerConfig{{.host = "127.0.0.1"}}};
      }
      config.listen[0].mode = ListenMode::tcp;
      ProxyUnderTest proxy{std::move(config)};
      const auto talk = [](auto& client) {
        EXPECT_EQ(client.read_until("\n"), "220 ready\r\n");
        client.send("one\n");
        EXPECT_EQ(client.read_until("\n"), "echo one\n");
        client.send("two\n");
        EXPECT_EQ(client.read_until("\n"), "echo two\n");
      };
      if (tls_front) {
        TlsWire client = connect(proxy);
        EXPECT_TRUE(client.shake());
        talk(client);
      } else {
        Wire client = proxy.connect();
        talk(client);
      }
    }
  }
}

TEST_F(ProxyTls, ADrainWithHandoffTellsTlsClientsToGo) {
  ScriptedBackend backend{always(kOk)};
  Config config = front(to_backend(backend.port()));
  config.timeouts.quiet = Milliseconds{100};
  ProxyUnderTest proxy{config, {.keep_open = true}};
  TlsWire busy = connect(proxy);
  TlsWire idle = connect(proxy);
  for (TlsWire* client : {&busy, &idle}) {
    client->send(kGetTls);
    EXPECT_EQ(body_of(client->read_message()), "ok");
  }
  proxy->start_drain(Handoff::live);
  busy.send(kGetTls);
  EXPECT_NE(busy.read_message().find("Connection: close"), std::string::npos);
  EXPECT_EQ(busy.read_to_end(), "");
  EXPECT_EQ(busy.last(), tls::Status::closed);
  EXPECT_EQ(idle.read_to_end(), "");  // after timeouts.quiet
  EXPECT_EQ(idle.last(), tls::Status::closed);
  EXPECT_TRUE(proxy.drained());
  EXPECT_EQ(proxy->take_handed().size(), 0U);
  EXPECT_EQ(proxy->drain_report().closed_idle, 1U);
}

TEST_F(ProxyTls, SessionsAreResumedByTheNextGeneration) {
  ScriptedBackend backend{always(kOk)};
  const auto keys = std::make_shared<tls::TicketKeys>();
  const Config config = front(to_backend(backend.port()));
  ProxyUnderTest before{config, {.keep_open = true, .ticket_keys = keys}};
  {
    TlsWire client = connect(before);
    client.send(kGetTls);
    EXPECT_EQ(body_of(client.read_message()), "ok");
    EXPECT_FALSE(client.session().resumed());
  }
  before->start_drain();
  ProxyUnderTest after{config, before, {.ticket_keys = keys}};
  TlsWire client = connect(after);
  client.send(kGetTls);
  EXPECT_EQ(body_of(client.read_message()), "ok");
  EXPECT_TRUE(client.session().resumed());
  EXPECT_TRUE(after.counted([](const CounterTotals& c) { return c.tls_resumed == 1; }));
}

}  // namespace
}  // namespace lb
