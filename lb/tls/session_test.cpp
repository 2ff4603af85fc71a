#include "lb/tls/session.hpp"

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include <array>

#include "lb/base/fd.hpp"
#include "lb/tls/certificate_factory.hpp"

namespace lb::tls {
namespace {

using testing::issue;
using testing::Issued;
using testing::PemFolder;
using testing::save;

/// Two ends of a connection, both non-blocking, driven in turns by the test.
struct Pair {
  Pair() {
    int fds[2] = {-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    server_fd = Fd{fds[0]};
    client_fd = Fd{fds[1]};
  }
  Pair(const ServerContext& context, ClientTarget& target) : Pair() {
    server = Session::accept(context, server_fd.get());
    client = Session::connect(target, client_fd.get());
    EXPECT_NE(server, nullptr);
    EXPECT_NE(client, nullptr);
  }

  /// Both go on until neither waits for the other, or one failed. True: both are done.
  bool shake() {
    for (int turn = 0; turn < 20; ++turn) {
      client_status = client->handshake().status;
      server_status = server->handshake().status;
      const auto goes_on = [](Status s) { return s == Status::ok || s == Status::want_read; };
      if (!goes_on(client_status) || !goes_on(server_status)) break;
      if (client->established() && server->established()) return true;
    }
    return false;
  }
  std::string read(Session& from) {
    std::array<char, 4096> bytes{};
    const Io io = from.read(bytes.data(), bytes.size());
    last = io.status;
    return {bytes.data(), io.bytes};
  }

  Fd server_fd;
  Fd client_fd;
  std::unique_ptr<Session> server;
  std::unique_ptr<Session> client;
  Status client_status = Status::ok;
  Status server_status = Status::ok;
  Status last = Status::ok;
};

class SessionTest : public ::testing::Test {
 protected:
  ~SessionTest() override { EXPECT_EQ(ERR_peek_error(), 0U) << "something was left in OpenSSL's queue"; }

  Certificate load(const testing::Wish& wish, const Issued& issuer) {
    const auto files = save(folder_, "cert" + std::to_string(++count_), issue(wish, &issuer));
    auto loaded = Certificate::load(files.cert, files.key);
    EXPECT_TRUE(loaded.has_value());
    return std::move(*loaded);
  }
  std::unique_ptr<ServerContext> server(ServerOptions options, std::vector<testing::Wish> wishes) {
    for (const auto& wish : wishes) options.certificates.push_back(load(wish, ca_));
    auto made = ServerContext::create(std::move(options));
    EXPECT_TRUE(made.has_value());
    return std::move(*made);
  }
  std::shared_ptr<ClientContext> client(ClientOptions options = {}) {
    if (options.ca_file.empty()) options.ca_file = ca_file_;
    auto made = ClientContext::create(options);
    EXPECT_TRUE(made.has_value());
    return std::move(*made);
  }
  std::vector<X509Ptr> authorities() { return std::move(*load_authorities(ca_file_)); }

  PemFolder folder_;
  int count_ = 0;
  Issued ca_ = issue({.common_name = "Test CA", .authority = true});
  std::string ca_file_ = folder_.write("ca.pem", ca_.cert_pem);
};

const testing::Wish kPlain{.common_name = "a.example", .dns = {"a.example"}};

TEST_F(SessionTest, CarriesBytesBothWaysAndEndsOrderly) {
  const auto context = server({}, {kPlain});
  ClientTarget target{client(), "a.example"};
  Pair pair{*context, target};
  ASSERT_TRUE(pair.shake()) << pair.client->error() << " / " << pair.server->error();
  EXPECT_EQ(pair.client->version(), "TLSv1.3");
  EXPECT_EQ(pair.server->alpn(), "http/1.1");
  EXPECT_EQ(pair.server->server_name(), "a.example");
  EXPECT_TRUE(pair.server->take_established());
  EXPECT_FALSE(pair.server->take_established());
  EXPECT_EQ(pair.client->write("hello").bytes, 5U);
  EXPECT_EQ(pair.read(*pair.server), "hello");
  EXPECT_FALSE(pair.server->more_to_read()) << "the short read told that the socket is empty";
  EXPECT_EQ(pair.read(*pair.server), "");
  EXPECT_EQ(pair.last, Status::want_read);
  EXPECT_EQ(pair.server->write("world").bytes, 5U);
  EXPECT_EQ(pair.read(*pair.client), "world");
  pair.server->close_notify();
  EXPECT_EQ(pair.read(*pair.client), "");
  EXPECT_EQ(pair.last, Status::closed);
}

TEST_F(SessionTest, WhatIsLeftInTheSessionIsToldOf) {
  const auto context = server({}, {kPlain});
  ClientTarget target{client(), "a.example"};
  Pair pair{*context, target};
  ASSERT_TRUE(pair.shake());
  pair.client->write("first");
  pair.client->write("second");
  std::array<char, 3> few{};
  EXPECT_EQ(pair.server->read(few.data(), few.size()).bytes, 3U);
  EXPECT_TRUE(pair.server->more_to_read()) << "half a record and a whole one wait in the session";
  EXPECT_EQ(pair.read(*pair.server), "st");
  EXPECT_TRUE(pair.server->more_to_read());
  EXPECT_EQ(pair.read(*pair.server), "second");
  EXPECT_FALSE(pair.server->more_to_read());
}

TEST_F(SessionTest, AWriteThatWouldBlockGoesOnWithTheSameBytes) {
  const auto context = server({}, {kPlain});
  ClientTarget target{client(), "a.example"};
  Pair pair{*context, target};
  ASSERT_TRUE(pair.shake());
  std::string sent;
  for (int i = 0; i < 300'000; ++i) sent += std::to_string(i);
  std::string rest = sent;
  std::string got;
  int blocked = 0;
  while (got.size() < sent.size()) {
    const Io io = pair.server->write(rest);
    ASSERT_TRUE(io.status == Status::ok || io.status == Status::want_write);
    if (io.status == Status::want_write) ++blocked;
    rest = std::string{rest, io.bytes};  // other memory, same bytes
    for (std::string piece = pair.read(*pair.client); !piece.empty(); piece = pair.read(*pair.client)) {
      got += piece;
    }
  }
  EXPECT_EQ(got, sent);
  EXPECT_GT(blocked, 0);
}

TEST_F(SessionTest, AHandshakeByteByByteIsDone) {
  const auto context = server({}, {kPlain});
  ClientTarget target{client(), "a.example"};
  Pair wires;  // between the client and the test
  Pair pair;
  pair.server = Session::accept(*context, pair.server_fd.get());
  pair.client = Session::connect(target, wires.server_fd.get());
  for (int turn = 0; turn < 20'000 && !pair.server->established(); ++turn) {
    pair.client->handshake();
    char byte = 0;
    if (::recv(wires.client_fd.get(), &byte, 1, 0) == 1) ::send(pair.client_fd.get(), &byte, 1, MSG_NOSIGNAL);
    const Status status = pair.server->handshake().status;
    ASSERT_TRUE(status == Status::ok || status == Status::want_read) << pair.server->error();
    std::array<char, 8192> answer{};  // in one piece: each send costs a kilobyte of a Unix socket's buffer
    const ssize_t n = ::recv(pair.client_fd.get(), answer.data(), answer.size(), 0);
    if (n > 0) ::send(wires.client_fd.get(), answer.data(), static_cast<std::size_t>(n), MSG_NOSIGNAL);
  }
  EXPECT_TRUE(pair.server->established());
}

TEST_F(SessionTest, CertificateIsChosenByName) {
  const auto context = server({}, {{.common_name = "first", .dns = {"first.example"}},
                                   {.common_name = "second", .dns = {"second.example", "*.wild.example"}},
                                   {.common_name = "third", .dns = {"exact.wild.example"}}});
  // What the client asks for, and the name that the certificate it gets is good for.
  const std::vector<std::pair<std::string, std::string>> cases{
      {"first.example", "first.example"},       {"SECOND.example", "second.example"},
      {"any.wild.example", "any.wild.example"}, {"exact.wild.example", "exact.wild.example"},
      {"unknown.example", "first.example"},     {"a.b.wild.example", "first.example"},
      {"wild.example", "first.example"},
  };
  for (const auto& [asked, good_for] : cases) {
    SCOPED_TRACE(asked);
    ClientTarget target{client({.verify = false}), asked};
    Pair pair{*context, target};
    ASSERT_TRUE(pair.shake());
    ClientTarget strict{client(), asked};
    Pair verified{*context, strict};
    const bool same = asked == good_for || asked == "SECOND.example";
    EXPECT_EQ(verified.shake(), same) << verified.client->error();
    if (!same) {
      EXPECT_EQ(verified.client->error(), "certificate verify failed (hostname mismatch)");
    }
  }
}

TEST_F(SessionTest, VerificationFailuresSayWhy) {
  const auto stranger = issue({.common_name = "Other CA", .authority = true});
  struct Case {
    std::string what;
    Certificate certificate;
    std::string says;
  };
  std::vector<Case> cases;
  cases.push_back({"other authority", load(kPlain, stranger), "unable to get local issuer certificate"});
  cases.push_back(
      {"expired",
       load({.common_name = "a", .dns = {"a.example"}, .valid_for = std::chrono::seconds{10}}, ca_),
       "certificate has expired"});
  cases.push_back({"wrong host", load({.common_name = "b", .dns = {"b.example"}}, ca_), "hostname mismatch"});
  for (Case& one : cases) {
    SCOPED_TRACE(one.what);
    ServerOptions options;
    options.certificates.push_back(std::move(one.certificate));
    const auto context = ServerContext::create(std::move(options));
    ASSERT_TRUE(context.has_value());
    ClientTarget target{client(), "a.example"};
    Pair pair{**context, target};
    EXPECT_FALSE(pair.shake());
    EXPECT_EQ(pair.client_status, Status::failed);
    EXPECT_EQ(pair.client->error(), "certificate verify failed (" + one.says + ")");
    pair.server->handshake();
    EXPECT_NE(pair.server->error(), "");
  }
}

TEST_F(SessionTest, AnAddressIsProvedByAnAddress) {
  const auto context = server({}, {{.common_name = "x", .ips = {"127.0.0.1", "::1"}}});
  for (const auto& [name, good] :
       std::vector<std::pair<std::string, bool>>{{"127.0.0.1", true}, {"::1", true}, {"127.0.0.2", false}}) {
    ClientTarget target{client(), name};
    Pair pair{*context, target};
    EXPECT_EQ(pair.shake(), good) << name << " " << pair.client->error();
    EXPECT_EQ(pair.server->server_name(), "") << "an address is no server name (RFC 6066 3)";
  }
}

TEST_F(SessionTest, SessionsAreResumedByAnotherContextWithTheSameKeys) {
  const auto keys = std::make_shared<TicketKeys>();
  for (const Version version : {Version::tls1_2, Version::tls1_3}) {
    ServerOptions options{.max_version = version, .ticket_keys = keys};
    ServerOptions again{.max_version = version, .ticket_keys = keys};
    const auto before = server(std::move(options), {kPlain});
    const auto after = server(std::move(again), {kPlain});
    ClientTarget target{client(), "a.example"};
    const auto visit = [&](const ServerContext& context) {
      Pair pair{context, target};
      EXPECT_TRUE(pair.shake());
      EXPECT_EQ(pair.client->version(), version == Version::tls1_3 ? "TLSv1.3" : "TLSv1.2");
      pair.server->write("x");
      EXPECT_EQ(pair.read(*pair.client), "x");  // a ticket of TLS 1.3 comes before it
      return pair.server->resumed();
    };
    EXPECT_FALSE(visit(*before));
    EXPECT_TRUE(visit(*before));
    EXPECT_TRUE(visit(*before));
    EXPECT_TRUE(visit(*after));
    // Rotated: the old key still opens; dropped: it does not.
    TicketKeys fresh;
    keys->set({fresh.get()->front(), keys->get()->front()});
    EXPECT_TRUE(visit(*after));
    keys->set({fresh.get()->front()});
    // OpenSSL's client keeps no ticket that TLS 1.2 renews.
    EXPECT_EQ(visit(*after), version == Version::tls1_3) << "the ticket was renewed with the new key";
    keys->set({TicketKeys{}.get()->front()});
    EXPECT_FALSE(visit(*after));
  }
}

TEST_F(SessionTest, ASessionDoesNotGoToAListenerThatWantsCertificates) {
  const auto keys = std::make_shared<TicketKeys>();
  const auto open = server({.ticket_keys = keys}, {kPlain});
  ServerOptions strict{.client_certificates = ClientCertificates::required, .ticket_keys = keys};
  strict.client_authorities = authorities();
  const auto guarded = server(std::move(strict), {kPlain});
  ClientTarget target{client(), "a.example"};
  Pair pair{*open, target};
  ASSERT_TRUE(pair.shake());
  pair.server->write("x");
  EXPECT_EQ(pair.read(*pair.client), "x");
  Pair second{*guarded, target};
  second.shake();
  EXPECT_FALSE(second.server->resumed());
  EXPECT_FALSE(second.server->established());
}

TEST_F(SessionTest, ClientCertificates) {
  const auto stranger = issue({.common_name = "Other CA", .authority = true});
  enum class Shown { none, good, foreign };
  struct Case {
    ClientCertificates demand;
    Shown shown;
    bool let_in;
  };
  for (const Case one : {Case{ClientCertificates::none, Shown::none, true},
                         Case{ClientCertificates::optional, Shown::none, true},
                         Case{ClientCertificates::optional, Shown::good, true},
                         Case{ClientCertificates::optional, Shown::foreign, false},
                         Case{ClientCertificates::required, Shown::none, false},
                         Case{ClientCertificates::required, Shown::good, true},
                         Case{ClientCertificates::required, Shown::foreign, false}}) {
    ServerOptions options{.client_certificates = one.demand};
    options.client_authorities = authorities();
    const auto context = server(std::move(options), {kPlain});
    ClientOptions wish;
    wish.ca_file = ca_file_;
    if (one.shown != Shown::none) {
      wish.certificate = load({.common_name = "client"}, one.shown == Shown::good ? ca_ : stranger);
    }
    ClientTarget target{client(std::move(wish)), "a.example"};
    Pair pair{*context, target};
    pair.shake();
    EXPECT_EQ(pair.server->established(), one.let_in)
        << static_cast<int>(one.demand) << static_cast<int>(one.shown) << pair.server->error();
  }
}

TEST_F(SessionTest, VersionsAlpnAndWhatIsNoTls) {
  const auto modern = server({.min_version = Version::tls1_3}, {kPlain});
  const auto old_style = server({}, {kPlain});
  {
    ClientTarget target{client(), "a.example"};
    Pair pair{*modern, target};
    EXPECT_TRUE(pair.shake());
  }
  {
    ClientTarget target{client({.alpn = "h2"}), "a.example"};
    Pair pair{*old_style, target};
    EXPECT_FALSE(pair.shake());
    EXPECT_EQ(pair.client->handshake().status, Status::failed);
    EXPECT_NE(pair.client->error().find("no application protocol"), std::string::npos)
        << pair.client->error();
  }
  {
    ClientTarget target{client({.alpn = ""}), "a.example"};
    Pair pair{*old_style, target};
    EXPECT_TRUE(pair.shake());
    EXPECT_EQ(pair.server->alpn(), "");
  }
  const std::vector<std::pair<std::string, bool>> garbage{
      {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", true}, {"\x80\x01nonsense and more of it", false}, {"", false}};
  for (const auto& [bytes, http] : garbage) {
    Pair pair;
    pair.server = Session::accept(*old_style, pair.server_fd.get());
    ASSERT_EQ(::send(pair.client_fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
    if (bytes.empty()) pair.client_fd.reset();
    std::array<char, 100> into{};
    const Io io = pair.server->read(into.data(), into.size());
    EXPECT_EQ(io.status, bytes.empty() ? Status::truncated : Status::failed) << pair.server->error();
    EXPECT_EQ(pair.server->plain_http(), http);
    EXPECT_NE(pair.server->error(), "");
    EXPECT_EQ(pair.server->read(into.data(), into.size()).status, Status::failed) << "and stays so";
    EXPECT_EQ(pair.server->write("x").status, Status::failed);
  }
}

TEST_F(SessionTest, AnEndWithoutCloseNotifyIsATruncation) {
  const auto context = server({}, {kPlain});
  ClientTarget target{client(), "a.example"};
  Pair pair{*context, target};
  ASSERT_TRUE(pair.shake());
  pair.client->write("half");
  EXPECT_EQ(pair.read(*pair.server), "half");
  EXPECT_EQ(pair.read(*pair.client), "");  // the tickets: a Unix socket closed over unread bytes is a reset
  pair.client_fd.reset();
  EXPECT_EQ(pair.read(*pair.server), "");
  EXPECT_EQ(pair.last, Status::truncated);
  EXPECT_EQ(pair.server->error(), "the connection ended without close_notify");
}

TEST(ServerContext, CiphersAreChecked) {
  EXPECT_EQ(ciphers_fault("ECDHE-RSA-AES128-GCM-SHA256"), "");
  EXPECT_EQ(ciphers_fault("NONSENSE"), "no cipher match");
  EXPECT_EQ(ERR_peek_error(), 0U);
}

TEST(ClientContext, AuthoritiesThatCannotBeReadAreAnError) {
  const PemFolder folder;
  const auto made = ClientContext::create({.ca_file = folder.path("none.pem")});
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(ERR_peek_error(), 0U);
  EXPECT_TRUE(ClientContext::create({}).has_value());  // those of the system
}

}  // namespace
}  // namespace lb::tls
