// The sans-IO pieces under the worker: body framing, gathering, queues.
#include "lb/proxy/body_flow.hpp"

#include <gtest/gtest.h>

#include <string>

#include "lb/base/random.hpp"
#include "lb/proxy/byte_queue.hpp"

namespace lb {
namespace {

using FramingKind = http::BodyFraming::Kind;

std::string text(const Gather& gather) {
  std::string all;
  for (const iovec& piece : gather.pieces())
    all.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  return all;
}

/// Feeds `input` in pieces of `step` bytes, as a worker does, until the body ends.
std::string run(BodyFlow& flow, std::string_view input, std::size_t step, std::string& rest) {
  std::string output;
  Gather gather;
  while (!input.empty() && !flow.complete()) {
    std::string_view piece = input.substr(0, step);
    input.remove_prefix(piece.size());
    while (!piece.empty() && !flow.complete()) {
      gather.clear();
      const BodyFlow::Fed fed = flow.feed(piece, gather);
      EXPECT_FALSE(fed.failed);
      piece.remove_prefix(fed.consumed);
      output += text(gather);
    }
    rest += piece;
  }
  rest += input;
  return output;
}

TEST(BodyFlow, LengthStopsAtItsEndHoweverItIsCut) {
  for (std::size_t step = 1; step <= 12; ++step) {
    BodyFlow flow{{FramingKind::length, 5}, {FramingKind::length, 5}};
    std::string rest;
    EXPECT_EQ(run(flow, "helloGET /", step, rest), "hello");
    EXPECT_EQ(rest, "GET /");
    EXPECT_TRUE(flow.complete());
    EXPECT_EQ(flow.payload_bytes(), 5U);
  }
}

TEST(BodyFlow, ChunkedIsDecodedForAnOldClientHoweverItIsCut) {
  for (std::size_t step = 1; step <= 30; ++step) {
    BodyFlow flow{{FramingKind::chunked}, {FramingKind::until_close}};
    std::string rest;
    EXPECT_EQ(run(flow, "5;a=b\r\nhello\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\nnext", step, rest), "helloabc");
    EXPECT_EQ(rest, "next");
  }
}

TEST(BodyFlow, TrailersComeThroughHoweverTheyAreCut) {
  const std::string body = "3\r\nabc\r\n0\r\n";
  for (const std::string trailers : {"", "X: y\r\n", "X: y\r\nZ: 1\r\n"}) {
    const std::string whole = body + trailers + "\r\n";
    for (std::size_t cut = body.size(); cut <= whole.size(); ++cut) {
      BodyFlow flow{{FramingKind::chunked}, {FramingKind::chunked}, true};
      std::string rest;
      std::string output = run(flow, whole.substr(0, cut), whole.size(), rest);
      output += run(flow, whole.substr(cut) + "next", whole.size() + 4, rest);
      EXPECT_EQ(output, whole) << "cut at " << cut;
      EXPECT_EQ(rest, "next") << "cut at " << cut;
    }
    for (std::size_t step = 1; step <= 3; ++step) {
      BodyFlow flow{{FramingKind::chunked}, {FramingKind::chunked}, true};
      std::string rest;
      const std::string output = run(flow, whole + "next", step, rest);
      EXPECT_TRUE(output.ends_with("0\r\n" + trailers + "\r\n")) << output;
      EXPECT_EQ(rest, "next");
    }
  }
}

TEST(BodyFlow, OnlyBytesThatStayAsTheyAreMayPassUnseen) {
  EXPECT_EQ((BodyFlow{{FramingKind::length, 5}, {FramingKind::length, 5}}.raw_bytes_left()), 5U);
  EXPECT_EQ((BodyFlow{{FramingKind::until_close}, {FramingKind::until_close}}.raw_bytes_left()),
            ~std::uint64_t{0});
  EXPECT_EQ((BodyFlow{{FramingKind::length, 5}, {FramingKind::none}}.raw_bytes_left()),
            0U);  // dropped, not passed on
  EXPECT_EQ((BodyFlow{{FramingKind::chunked}, {FramingKind::chunked}}.raw_bytes_left()), 0U);
  EXPECT_EQ((BodyFlow{{FramingKind::chunked}, {FramingKind::until_close}}.raw_bytes_left()), 0U);
  EXPECT_EQ((BodyFlow{{FramingKind::until_close}, {FramingKind::chunked}}.raw_bytes_left()), 0U);
  EXPECT_EQ(BodyFlow{}.raw_bytes_left(), 0U);
}

TEST(BodyFlow, PassedAndFedBytesCountTogether) {
  BodyFlow flow{{FramingKind::length, 10}, {FramingKind::length, 10}};
  std::string rest;
  EXPECT_EQ(run(flow, "abc", 3, rest), "abc");
  flow.pass(5);
  EXPECT_FALSE(flow.complete());
  EXPECT_EQ(flow.raw_bytes_left(), 2U);
  flow.pass(2);
  EXPECT_TRUE(flow.complete());
  EXPECT_EQ(flow.payload_bytes(), 10U);
  EXPECT_EQ(flow.raw_bytes_left(), 0U);
}

TEST(BodyFlow, ManyTinyChunksDoNotOverflowOneWrite) {
  std::string input;
  std::string expected;
  for (int i = 0; i < 5000; ++i) {
    input += "1\r\nx\r\n";
    expected += "1\r\nx\r\n";
  }
  input += "0\r\n\r\n";
  expected += "0\r\n\r\n";
  BodyFlow flow{{FramingKind::chunked}, {FramingKind::chunked}};
  std::string rest;
  EXPECT_EQ(run(flow, input, input.size(), rest), expected);
}

TEST(BodyFlow, LargeChunksAreReferencedNotCopied) {
  const std::string payload(100'000, 'p');
  const std::string input = "186a0\r\n" + payload + "\r\n0\r\n\r\n";
  BodyFlow flow{{FramingKind::chunked}, {FramingKind::chunked}};
  Gather gather;
  EXPECT_EQ(flow.feed(input, gather).consumed, input.size());
  EXPECT_EQ(text(gather), input);
  EXPECT_LE(gather.pieces().size(), 3U);
}

TEST(BodyFlow, UntilCloseEndsWithTheConnectionOthersAreCutShort) {
  Gather gather;
  BodyFlow open{{FramingKind::until_close}, {FramingKind::chunked}};
  open.feed("abc", gather);
  EXPECT_TRUE(open.feed_eof(gather));
  EXPECT_EQ(text(gather), "3\r\nabc\r\n0\r\n\r\n");
  BodyFlow cut{{FramingKind::length, 10}, {FramingKind::length, 10}};
  cut.feed("abc", gather);
  EXPECT_FALSE(cut.feed_eof(gather));
}

TEST(BodyFlow, BrokenChunksFail) {
  for (const char* input :
       {"zz\r\n", "5\r\nhelloX", "\r\n", "5\nhello", "-1\r\n", "ffffffffffffffffff\r\n"}) {
    BodyFlow flow{{FramingKind::chunked}, {FramingKind::chunked}};
    Gather gather;
    EXPECT_TRUE(flow.feed(input, gather).failed) << input;
  }
}

TEST(Gather, JoinsWhatIsAdjacent) {
  Gather gather;
  const auto room = gather.room();
  room[0] = 'a';
  gather.commit(1);
  gather.add("bc");
  EXPECT_EQ(gather.pieces().size(), 1U);
  EXPECT_EQ(text(gather), "abc");
  gather.clear();
  EXPECT_TRUE(gather.empty());
}

TEST(ByteQueue, BehavesLikeAString) {
  Random random{20261123};
  for (int round = 0; round < 50; ++round) {
    ByteQueue queue;
    std::string model;
    for (int i = 0; i < 200; ++i) {
      if (random.below(2) == 0) {
        const std::string bytes(random.below(300), static_cast<char>('a' + random.below(26)));
        queue.append(bytes);
        model += bytes;
      } else if (!model.empty()) {
        const std::size_t n = random.below(static_cast<std::uint32_t>(model.size()) + 1);
        queue.consume(n);
        model.erase(0, n);
      }
      ASSERT_EQ(queue.view(), model);
      ASSERT_EQ(queue.empty(), model.empty());
    }
  }
}

}  // namespace
}  // namespace lb
