// Both ends of a conversation in memory: what is right passes however it is cut, and each way of spoiling it
// is found as what it is. The numbers of the handshake are those of RFC 6455.
#include "harness/traffic/flow.hpp"

#include <gtest/gtest.h>

#include <ostream>

#include "lb/base/random.hpp"

namespace lb::traffic {

void PrintTo(FlowWire wire, std::ostream* out) {
  constexpr const char* kNames[] = {"raw", "websocket", "events"};
  *out << kNames[static_cast<std::size_t>(wire)];
}

namespace {

class Wires : public testing::TestWithParam<FlowWire> {};

TEST_P(Wires, ConversationPassesInAnyPieces) {
  const bool one_way = GetParam() == FlowWire::events;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Random random(seed);
    Flow client(GetParam(), seed, true);
    Flow server(GetParam(), seed, false);
    std::string up, down;
    for (int i = 0; i < 60; ++i) {
      if (!one_way) client.send(up, random() % 300);
      server.send(down, i == 7 ? 70'000 : random() % 300);
      if (i == 59) one_way ? server.send_end(down) : client.send_end(up);
      while (!up.empty() || !down.empty()) {
        const std::size_t n = std::min<std::size_t>(up.size(), 1 + random() % 400);
        ASSERT_EQ(server.receive(up.substr(0, n), down), Detail::none) << "seed " << seed;
        up.erase(0, n);
        if (server.received_end()) server.send_end(down);
        const std::size_t m = std::min<std::size_t>(down.size(), 1 + random() % 400);
        ASSERT_EQ(client.receive(down.substr(0, m), up), Detail::none) << "seed " << seed;
        down.erase(0, m);
      }
    }
    EXPECT_TRUE(client.finished()) << "seed " << seed;
    EXPECT_EQ(server.finished(), !one_way);
    EXPECT_EQ(client.messages_received(), server.messages_sent());
    EXPECT_EQ(server.messages_received(), client.messages_sent());
  }
}

INSTANTIATE_TEST_SUITE_P(All, Wires, testing::Values(FlowWire::raw, FlowWire::websocket, FlowWire::events),
                         [](const auto& tested) { return testing::PrintToString(tested.param); });

/// Six messages from a server, each of them.
std::vector<std::string> messages(FlowWire wire, Flow& server) {
  std::vector<std::string> all(6);
  for (std::string& one : all) server.send(one, 40);
  (void)wire;
  return all;
}

Detail received(FlowWire wire, const std::vector<std::string>& all) {
  Flow client(wire, 5, true);
  std::string answers;
  for (const std::string& one : all) {
    if (const Detail wrong = client.receive(one, answers); wrong != Detail::none) return wrong;
  }
  return Detail::none;
}

TEST_P(Wires, WhatIsLostRepeatedOrSwappedIsNamed) {
  Flow server(GetParam(), 5, false);
  const auto good = messages(GetParam(), server);
  ASSERT_EQ(received(GetParam(), good), Detail::none);
  auto spoilt = good;
  spoilt.erase(spoilt.begin() + 2);
  EXPECT_EQ(received(GetParam(), spoilt), Detail::message_missing);
  spoilt = good;
  spoilt.insert(spoilt.begin() + 3, good[2]);
  EXPECT_EQ(received(GetParam(), spoilt), Detail::message_repeated);
  spoilt = good;
  std::swap(spoilt[1], spoilt[2]);
  EXPECT_EQ(received(GetParam(), spoilt), Detail::message_missing);
}

TEST_P(Wires, AnyByteThatDiffersIsFound) {
  Flow server(GetParam(), 5, false);
  std::string good;
  for (const std::string& one : messages(GetParam(), server)) good += one;
  server.send_end(good);
  std::string close;
  if (GetParam() == FlowWire::websocket) append_frame(close, {Opcode::close}, "\x03\xe8");
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string spoilt = good;
    spoilt[at] = static_cast<char>(spoilt[at] ^ 0x41);
    Flow client(GetParam(), 5, true);
    std::string answers;
    const Detail wrong = client.receive(spoilt + close, answers);
    EXPECT_TRUE(wrong != Detail::none || !client.finished()) << "byte " << at;
  }
}

TEST(WebSocket, HandshakeOfTheRfc) {
  EXPECT_EQ(websocket_accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  EXPECT_EQ(websocket_key(1).size(), 24U);
  EXPECT_NE(websocket_key(1), websocket_key(2));
}

TEST(WebSocket, FramesOfTheRfc) {
  std::string out;
  append_frame(out, {Opcode::text, true, true, 0x3d21fa37}, "Hello");
  EXPECT_EQ(out, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");  // RFC 6455, 5.7
  std::string seen;
  FrameReader reader(true);
  EXPECT_TRUE(
      reader.feed(out, [&](std::string_view piece) { seen += piece; }, [](Opcode, std::string_view) {}));
  EXPECT_EQ(seen, "Hello");
}

TEST(WebSocket, FramesThatAreNone) {
  const auto good = [](bool masked, std::string_view bytes) {
    FrameReader reader(masked);
    return reader.feed(bytes, [](std::string_view) {}, [](Opcode, std::string_view) {});
  };
  using namespace std::string_view_literals;
  EXPECT_TRUE(good(false, "\x82\x01x"sv));
  EXPECT_FALSE(good(true, "\x82\x01x"sv)) << "not masked";
  EXPECT_FALSE(good(false, "\x82\x81....x"sv)) << "masked by a server";
  EXPECT_FALSE(good(false, "\xc2\x01x"sv)) << "a reserved bit";
  EXPECT_FALSE(good(false, "\x83\x01x"sv)) << "a reserved opcode";
  EXPECT_FALSE(good(false, "\x80\x01x"sv)) << "a continuation of nothing";
  EXPECT_FALSE(good(false, "\x02\x01x\x82\x01x"sv)) << "a message within a message";
  EXPECT_FALSE(good(false, "\x09\x01x"sv)) << "a ping in fragments";
  EXPECT_FALSE(good(false, "\x82\x7e\x00\x05xxxxx"sv)) << "a length longer than need be";
}

}  // namespace
}  // namespace lb::traffic
