// The limits of the configuration at the wire: one less, exactly, and one more.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "lb/proxy/wire_test_kit.hpp"

namespace lb {
namespace {

using namespace wire;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::string_view kHelloLimits = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
constexpr std::string_view kGetLimits = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

class ProxyLimits : public ::testing::Test {
 protected:
  ScriptedBackend backend_{[](Wire& wire) {
    for (;;) {
      const std::string head = wire.read_until("\r\n\r\n");
      if (head.empty()) return;
      if (head.find("chunked") != std::string::npos) {
        if (!wire.read_until("0\r\n\r\n").ends_with("0\r\n\r\n")) return;  // cut short: no request
      } else if (const std::size_t at = head.find("Content-Length: "); at != std::string::npos) {
        wire.read_exactly(std::stoul(head.substr(at + 16)));
      }
      if (!wire.send(kHelloLimits)) return;
    }
  }};
  Config config_ = to_backend(backend_.port());

  std::string answer(const std::string& request) {
    if (!proxy_) proxy_ = std::make_unique<ProxyUnderTest>(config_);
    Wire client = proxy_->connect();
    client.send(request);
    return client.read_message();
  }
  std::unique_ptr<ProxyUnderTest> proxy_;
};

TEST_F(ProxyLimits, RequestLineIs414) {
  config_.limits.request_line_bytes = 100;
  const auto with_line_of = [](std::size_t size) {
    const std::string_view rest = " HTTP/1.1";
    return "GET /" + std::string(size - 5 - rest.size(), 'x') + std::string(rest) + "\r\nHost: h\r\n\r\n";
  };
  EXPECT_THAT(answer(with_line_of(99)), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer(with_line_of(100)), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer(with_line_of(101)), StartsWith("HTTP/1.1 414 "));
}

TEST_F(ProxyLimits, HeaderBytesAre431) {
  config_.limits.header_bytes = 400;
  const auto with_head_of = [](std::size_t size) {
    const std::string begin = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
    return begin + std::string(size - begin.size() - 4, 'x') + "\r\n\r\n";
  };
  EXPECT_THAT(answer(with_head_of(399)), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer(with_head_of(400)), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer(with_head_of(401)), StartsWith("HTTP/1.1 431 "));
}

TEST_F(ProxyLimits, HeaderCountIs431) {
  config_.limits.header_count = 5;
  const auto with_fields = [](int count) {
    std::string head = "GET / HTTP/1.1\r\nHost: h\r\n";
    for (int i = 1; i < count; ++i) head += "X: y\r\n";
    return head + "\r\n";
  };
  EXPECT_THAT(answer(with_fields(4)), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer(with_fields(5)), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer(with_fields(6)), StartsWith("HTTP/1.1 431 "));
}

/// A backend's head, as large as one backend's head may be, and one byte or field more.
TEST(ProxyLimitsOfResponses, TheirHeadsAre502AboveTheirOwnLimits) {
  std::string head;
  ScriptedBackend backend{answering([&](const std::string&) { return head; })};
  Config config = to_backend(backend.port());
  config.limits.response_header_bytes = 300;
  config.limits.response_header_count = 5;
  ProxyUnderTest proxy{config};
  const auto answer_to = [&](std::string bytes) {
    head = std::move(bytes);
    Wire client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    return client.read_message();
  };
  const auto of_bytes = [](std::size_t size) {
    std::string bytes = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ";
    bytes.append(size - bytes.size() - 4, 'x');
    return bytes + "\r\n\r\n";
  };
  const auto of_fields = [](int count) {
    std::string bytes = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
    for (int i = 1; i < count; ++i) bytes += "X: y\r\n";
    return bytes + "\r\n";
  };
  EXPECT_THAT(answer_to(of_bytes(299)), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer_to(of_bytes(300)), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer_to(of_bytes(301)), StartsWith("HTTP/1.1 502 "));
  EXPECT_THAT(answer_to(of_fields(4)), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer_to(of_fields(5)), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer_to(of_fields(6)), StartsWith("HTTP/1.1 502 "));
}

TEST_F(ProxyLimits, AnAnnouncedBodyIs413BeforeItIsSent) {
  config_.limits.body_bytes = 10;
  const auto with_body = [](std::size_t size, bool send) {
    return "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n" +
           std::string(send ? size : 0, 'x');
  };
  EXPECT_THAT(answer(with_body(9, true)), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer(with_body(10, true)), StartsWith("HTTP/1.1 200 "));
  const std::string refused = answer(with_body(11, false));
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(refused, HasSubstr("Connection: close\r\n"));
  EXPECT_THAT(answer("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n"),
              StartsWith("HTTP/1.1 413 "));
}

TEST_F(ProxyLimits, AChunkedBodyIs413AsSoonAsItIsTooLong) {
  config_.limits.body_bytes = 10;
  const std::string head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_THAT(answer(head + "9\r\n123456789\r\n0\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer(head + "5\r\n12345\r\n5\r\n12345\r\n0\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer(head + "5\r\n12345\r\n6\r\n123456\r\n0\r\n\r\n"), StartsWith("HTTP/1.1 413 "));
  // Streamed: the first part is with the backend already.
  Wire client = proxy_->connect();
  client.send(head + "5\r\n12345\r\n");
  ASSERT_TRUE((*proxy_).counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  client.send("6\r\n123456\r\n");
  const std::string refused = client.read_message();
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(refused, HasSubstr("Connection: close\r\n"));
  EXPECT_TRUE(client.at_end());
}

TEST_F(ProxyLimits, TheLastRequestOfAConnectionIsToldToClose) {
  config_.limits.requests_per_connection = 3;
  ProxyUnderTest proxy{config_};
  Wire client = proxy.connect();
  for (int i = 0; i < 2; ++i) {
    client.send(kGetLimits);
    EXPECT_THAT(client.read_message(), Not(HasSubstr("Connection: close\r\n")));
  }
  client.send(std::string(kGetLimits) +
              std::string(kGetLimits));  // a pipelined one too many does not reset the last answer
  const std::string last = client.read_message();
  EXPECT_THAT(last, StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(last, HasSubstr("Connection: close\r\n"));
  EXPECT_TRUE(client.at_end());
}

TEST_F(ProxyLimits, OneMoreConnectionOfAnAddressIs429UntilAnotherEnds) {
  config_.limits.connections_per_ip = 3;
  config_.workers = 2;
  ProxyUnderTest proxy{config_};
  std::vector<Wire> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(proxy.connect());
    clients.back().send(kGetLimits);
    ASSERT_THAT(clients.back().read_message(), StartsWith("HTTP/1.1 200 "));
  }
  Wire refused = proxy.connect();
  EXPECT_THAT(refused.read_message(), StartsWith("HTTP/1.1 429 "));
  EXPECT_TRUE(refused.at_end());
  refused.close();
  clients.pop_back();
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.connections_open == 2; }));
  Wire another = proxy.connect();
  another.send(kGetLimits);
  EXPECT_THAT(another.read_message(), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(proxy->counters().connections_refused, 1U);
}

}  // namespace
}  // namespace lb
