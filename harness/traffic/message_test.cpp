#include "harness/traffic/message.hpp"

#include <gtest/gtest.h>

#include <string>

#include "harness/traffic/payload.hpp"

namespace lb::traffic {
namespace {

TEST(Head, ReadsARequestAndItsFields) {
  const std::string text =
      "POST /any?size=3 HTTP/1.1\r\nHost: a\r\nX-Nonce: ff\r\nContent-Length: 7\r\nExpect: "
      "100-continue\r\n\r\nbody";
  Head head;
  ASSERT_EQ(head.parse_request(text), Head::Parsed::done);
  EXPECT_EQ(head.size(), text.size() - 4);
  EXPECT_EQ(head.method(), "POST");
  EXPECT_EQ(head.target(), "/any?size=3");
  EXPECT_EQ(head.nonce(), "ff");
  EXPECT_EQ(head.content_length(), 7U);
  EXPECT_TRUE(head.expects_continue());
  EXPECT_FALSE(head.closes());
}

TEST(Head, IsIncompleteAtEveryShorterLength) {
  const std::string text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Config: g1\r\n\r\n";
  Head head;
  for (std::size_t n = 0; n < text.size(); ++n) {
    EXPECT_EQ(head.parse_response(std::string_view(text).substr(0, n)), Head::Parsed::incomplete) << n;
  }
  ASSERT_EQ(head.parse_response(text), Head::Parsed::done);
  EXPECT_EQ(head.label(), "g1");
}

TEST(Head, KnowsWhoEndsTheConnection) {
  Head head;
  ASSERT_EQ(head.parse_response("HTTP/1.1 200 OK\r\nConnection: foo, Close\r\n\r\n"), Head::Parsed::done);
  EXPECT_TRUE(head.closes());
  ASSERT_EQ(head.parse_response("HTTP/1.0 200 OK\r\n\r\n"), Head::Parsed::done);
  EXPECT_TRUE(head.closes());
  ASSERT_EQ(head.parse_response("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"), Head::Parsed::done);
  EXPECT_FALSE(head.closes());
}

TEST(Head, RejectsWhatIsNotHttp) {
  Head head;
  for (const char* text :
       {"220 hello\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 99 x\r\n\r\n", "HTTP/1.1 2000 x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"}) {
    EXPECT_EQ(head.parse_response(text), Head::Parsed::bad) << text;
  }
  EXPECT_EQ(head.parse_response("garbage"), Head::Parsed::bad) << "it cannot become a head any more";
}

std::string read_body(BodyReader& reader, std::string_view wire, std::size_t cut) {
  std::string body;
  const auto sink = [&](std::string_view piece) { body += piece; };
  std::size_t used = reader.feed(wire.substr(0, cut), sink);
  if (used == cut) used += reader.feed(wire.substr(cut), sink);
  EXPECT_TRUE(reader.bad() || used <= wire.size());
  return body;
}

TEST(BodyReader, ReadsChunksCutAnywhere) {
  const std::string wire = "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\nNEXT";
  for (std::size_t cut = 0; cut <= wire.size(); ++cut) {
    BodyReader reader;
    reader.start(BodyReader::Framing::chunked);
    EXPECT_EQ(read_body(reader, wire, cut), "hello world") << cut;
    EXPECT_TRUE(reader.done()) << cut;
    EXPECT_EQ(reader.bytes(), 11U);
  }
}

TEST(BodyReader, LeavesWhatIsBehindTheBody) {
  BodyReader reader;
  reader.start(BodyReader::Framing::chunked);
  EXPECT_EQ(reader.feed("1\r\nx\r\n0\r\n\r\nHTTP/1.1", [](std::string_view) {}), 11U);
  reader.start(BodyReader::Framing::length, 3);
  EXPECT_EQ(reader.feed("abcdef", [](std::string_view) {}), 3U);
  EXPECT_TRUE(reader.done());
}

TEST(BodyReader, NoticesBrokenChunks) {
  for (const char* wire :
       {"x\r\n", "\r\n", "5\r\nhelloX", "5\nhello", "1\r\nx\r\n0\r\n\n", "fffffffffffffffff\r\n"}) {
    BodyReader reader;
    reader.start(BodyReader::Framing::chunked);
    reader.feed(wire, [](std::string_view) {});
    EXPECT_TRUE(reader.bad()) << wire;
    EXPECT_FALSE(reader.done()) << wire;
  }
}

TEST(BodyReader, AnswersWithoutBody) {
  Head head;
  BodyReader reader;
  ASSERT_EQ(head.parse_response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), Head::Parsed::done);
  reader.start_response(head, true);
  EXPECT_TRUE(reader.done());
  reader.start_response(head, false);
  EXPECT_FALSE(reader.done());
  ASSERT_EQ(head.parse_response("HTTP/1.1 204 No Content\r\n\r\n"), Head::Parsed::done);
  reader.start_response(head, false);
  EXPECT_TRUE(reader.done());
}

TEST(Payload, IsTheSameHoweverItIsCut) {
  const std::uint64_t key = payload_key(42, Direction::response);
  std::string whole;
  payload_append(whole, key, 0, 100);
  for (std::size_t cut = 0; cut <= 100; ++cut) {
    std::string pieces;
    payload_append(pieces, key, 0, cut);
    payload_append(pieces, key, cut, 100 - cut);
    ASSERT_EQ(pieces, whole) << cut;
    EXPECT_TRUE(payload_matches(std::string_view(whole).substr(cut), key, cut));
  }
}

TEST(Payload, EveryWrongByteIsNoticed) {
  const std::uint64_t key = payload_key(42, Direction::response);
  std::string bytes;
  payload_append(bytes, key, 3, 50);
  for (char& c : bytes) {
    c = static_cast<char>(c ^ 1);
    EXPECT_FALSE(payload_matches(bytes, key, 3));
    c = static_cast<char>(c ^ 1);
  }
  EXPECT_FALSE(payload_matches(bytes, key, 4)) << "another offset";
  EXPECT_FALSE(payload_matches(bytes, payload_key(42, Direction::request), 3)) << "the other direction";
  EXPECT_FALSE(payload_matches(bytes, payload_key(43, Direction::response), 3)) << "another nonce";
}

TEST(Payload, NonceText) {
  std::string text;
  append_nonce(text, 0xab);
  EXPECT_EQ(text, "00000000000000ab");
  std::uint64_t nonce = 0;
  EXPECT_TRUE(parse_nonce(text, nonce));
  EXPECT_EQ(nonce, 0xabU);
  EXPECT_FALSE(parse_nonce("", nonce));
  EXPECT_FALSE(parse_nonce("xyz", nonce));
  EXPECT_FALSE(parse_nonce("00000000000000abc", nonce));
}

}  // namespace
}  // namespace lb::traffic
