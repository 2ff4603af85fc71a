#include "lb/http/chunked.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>

#include "lb/http/http_testing.hpp"

namespace lb::http {
namespace {

using namespace std::string_view_literals;
using testing::ExactBytes;

struct Decoded {
  enum class End : std::uint8_t { needs_more, done, failed };
  std::string payload;
  std::size_t consumed = 0;
  End end = End::needs_more;
  std::string error;
  friend bool operator==(const Decoded&, const Decoded&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Decoded& d) {
    return out << "payload \"" << testing::readable(d.payload) << "\", consumed " << d.consumed << ", end "
               << static_cast<int>(d.end) << " " << d.error;
  }
};

// Gives `piece` to the decoder as a proxy does; returns whether more is wanted.
bool feed(ChunkDecoder& decoder, std::string_view piece, Decoded& result) {
  const ExactBytes exact(piece);
  std::string_view rest = exact.view();
  while (!rest.empty()) {
    const ChunkDecoder::Step step = decoder.step(rest);
    result.payload += step.payload;
    result.consumed += step.consumed;
    if (step.failed) {
      EXPECT_TRUE(step.payload.empty());
      result.end = Decoded::End::failed;
      result.error = decoder.error().detail;
      EXPECT_EQ(decoder.error().status, 400);
      return false;
    }
    if (step.done) {
      result.end = Decoded::End::done;
      return false;
    }
    if (step.consumed == 0) {
      ADD_FAILURE() << "no progress at " << result.consumed;
      return false;
    }
    rest.remove_prefix(step.consumed);
  }
  return true;
}

Decoded decode(std::string_view bytes) {
  ChunkDecoder decoder;
  Decoded result;
  feed(decoder, bytes, result);
  return result;
}

Decoded decode_at_every_cut(std::string_view bytes) {
  const Decoded whole = decode(bytes);
  {
    ChunkDecoder decoder;
    Decoded result;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (!feed(decoder, bytes.substr(i, 1), result)) break;
    }
    EXPECT_EQ(result, whole) << "byte by byte";
  }
  for (std::size_t first = 0; first <= bytes.size(); ++first) {
    for (std::size_t second = first; second <= bytes.size(); second += bytes.size() > 200 ? 37 : 1) {
      ChunkDecoder decoder;
      Decoded result;
      if (feed(decoder, bytes.substr(0, first), result) &&
          feed(decoder, bytes.substr(first, second - first), result)) {
        feed(decoder, bytes.substr(second), result);
      }
      EXPECT_EQ(result, whole) << "cut at " << first << " and " << second;
    }
  }
  return whole;
}

TEST(ChunkDecoder, Size) {
  EXPECT_LE(sizeof(ChunkDecoder), 24u);
}

TEST(ChunkDecoder, Accepts) {
  struct {
    const char* rule;
    std::string_view bytes, payload;
  } const cases[] = {
      {"9112 7.1: nothing", "0\r\n\r\n", ""},
      {"9112 7.1: one chunk", "5\r\nhello\r\n0\r\n\r\n", "hello"},
      {"9112 7.1: several", "5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n", "hello world"},
      {"9112 7.1: hex in either case", "a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n",
       "01234567890123456789a"},
      {"9112 7.1: leading zeros", "0000000000000000000000002\r\nab\r\n000\r\n\r\n", "ab"},
      {"9112 7.1: payload like framing", "7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", "\r\n0\r\n\r\n"},
      {"9112 7.1: binary payload", "3\r\n\0\xff\n\r\n0\r\n\r\n"sv, "\0\xff\n"sv},
      {"9112 7.1.1: extensions", "2;a\r\nab\r\n0;b=c;d=\"e;f\"\r\n\r\n", "ab"},
      {"9112 7.1.1: white space around", "2 \t; a = b \r\nab\r\n0 ;c\r\n\r\n", "ab"},
      {"9112 7.1.1: quoted pair", "2;a=\"\\\"\"\r\nab\r\n0\r\n\r\n", "ab"},
      {"9112 7.1.1: obs-text", "2;a=\"\xc3\xa9\"\r\nab\r\n0\r\n\r\n", "ab"},
      {"9112 7.1.2: trailers are no payload", "1\r\na\r\n0\r\nX: y\r\nContent-Length: 5\r\nEmpty:\r\n\r\n",
       "a"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(std::string(c.rule) + ": " + testing::readable(c.bytes));
    const Decoded decoded = decode_at_every_cut(c.bytes);
    EXPECT_EQ(decoded.end, Decoded::End::done) << decoded;
    EXPECT_EQ(decoded.payload, c.payload);
    EXPECT_EQ(decoded.consumed, c.bytes.size());
    const Decoded with_next = decode(std::string(c.bytes) + "GET / HTTP/1.1\r\n");
    EXPECT_EQ(with_next, decoded) << "what follows is left";
    for (std::size_t cut = 0; cut < c.bytes.size(); ++cut) {
      EXPECT_EQ(decode(c.bytes.substr(0, cut)).end, Decoded::End::needs_more) << cut;
    }
  }
}

TEST(ChunkDecoder, Refuses) {
  struct {
    const char* rule;
    std::string_view bytes;
    std::size_t consumed;  // up to the byte that is wrong
  } const cases[] = {
      {"9112 7.1: no size", "\r\n", 0},
      {"9112 7.1: empty line before", "\r\n0\r\n\r\n", 0},
      {"9112 7.1: 0x", "0x5\r\nhello\r\n0\r\n\r\n", 1},
      {"9112 7.1: plus", "+5\r\nhello\r\n0\r\n\r\n", 0},
      {"9112 7.1: minus", "-5\r\nhello\r\n0\r\n\r\n", 0},
      {"9112 7.1: minus zero", "-0\r\n\r\n", 0},
      {"9112 7.1: space before", " 5\r\nhello\r\n0\r\n\r\n", 0},
      {"9112 7.1: tab before", "\t5\r\nhello\r\n0\r\n\r\n", 0},
      {"9112 7.1: space after", "5 \r\nhello\r\n0\r\n\r\n", 2},
      {"9112 7.1: two numbers", "5 5\r\nhello\r\n0\r\n\r\n", 2},
      {"9112 7.1: underscore", "0_5\r\nhello\r\n0\r\n\r\n", 1},
      {"9112 7.1: comma", "5,5\r\nhello\r\n0\r\n\r\n", 1},
      {"9112 7.1: fraction", "5.0\r\nhello\r\n0\r\n\r\n", 1},
      {"9112 7.1: letter beyond f", "g\r\n", 0},
      {"9112 7.1: h after digits", "5h\r\nhello\r\n0\r\n\r\n", 1},
      {"9112 7.1: at sign is not hex", "@\r\n", 0},
      {"9112 7.1: backquote is not hex", "`\r\n", 0},
      {"9112 7.1: colon is not hex", ":\r\n", 0},
      {"9112 7.1: NUL", "5\0\r\nhello\r\n0\r\n\r\n"sv, 1},
      {"9112 7.1: obs-text", "\xb5\r\nhello\r\n0\r\n\r\n", 0},
      {"9112 7.1: 2^63", "8000000000000000\r\n", 15},
      {"9112 7.1: 2^64", "10000000000000000\r\n", 16},
      {"9112 7.1: 2^64 + 5", "10000000000000005\r\nhello\r\n0\r\n\r\n", 16},
      {"9112 7.1: seventeen f", "fffffffffffffffff\r\n", 15},
      {"9112 2.2: bare LF after the size", "5\nhello\r\n0\r\n\r\n", 1},
      {"9112 2.2: bare CR after the size", "5\rhello\r\n0\r\n\r\n", 2},
      {"9112 2.2: CR CR LF", "5\r\r\nhello\r\n0\r\n\r\n", 2},
      {"9112 7.1: payload too long", "5\r\nhellox\r\n0\r\n\r\n", 8},
      {"9112 7.1: payload too short", "5\r\nhell\r\n0\r\n\r\n", 8},
      {"9112 7.1: any two bytes after the payload", "5\r\nhelloXX0\r\n\r\n", 8},
      {"9112 2.2: bare LF after the payload", "5\r\nhello\n0\r\n\r\n", 8},
      {"9112 2.2: bare CR after the payload", "5\r\nhello\r0\r\n\r\n", 9},
      {"9112 7.1: two line ends after the payload", "5\r\nhello\r\n\r\n0\r\n\r\n", 10},
      {"9112 7.1.1: bare LF in an extension", "5;a\nhello\r\n0\r\n\r\n", 3},
      {"9112 7.1.1: bare LF hides a chunk", "2;\nxx\r\n4c\r\nab\r\n0\r\n\r\n", 2},
      {"9112 7.1.1: bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", 4},
      {"9112 7.1.1: NUL in an extension", "5;a\0\r\nhello\r\n0\r\n\r\n"sv, 3},
      {"9112 7.1.1: DEL in an extension", "5;a\x7f\r\nhello\r\n0\r\n\r\n", 3},
      {"9112 7.1.1: open quote", "5;a=\"b\r\nhello\r\n0\r\n\r\n", 6},
      {"9112 7.1.1: quoted line end", "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n", 5},
      {"9112 7.1.1: escaped CR", "5;a=\"\\\r\n\"\r\nhello\r\n0\r\n\r\n", 6},
      {"9112 7.1.1: LF in quotes", "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", 5},
      {"9112 7.1: bare LF after the last size", "0\n\r\n", 1},
      {"9112 7.1: bare LF at the end", "0\r\n\n", 3},
      {"9112 7.1: bare CR at the end", "0\r\n\rX", 4},
      {"9112 7.1.2: trailer without colon", "0\r\nX\r\n\r\n", 4},
      {"9112 7.1.2: space before the colon", "0\r\nX : y\r\n\r\n", 4},
      {"9112 7.1.2: empty name", "0\r\n: y\r\n\r\n", 3},
      {"9112 5.2: folded trailer", "0\r\nX: y\r\n z\r\n\r\n", 9},
      {"9112 7.1.2: bare LF in a trailer", "0\r\nX: y\n\r\n", 7},
      {"9112 7.1.2: bare CR in a trailer", "0\r\nX: y\rz\r\n\r\n", 8},
      {"9112 7.1.2: NUL in a trailer", "0\r\nX: \0\r\n\r\n"sv, 6},
      {"9112 7.1.2: a request after no trailer", "0\r\nGET / HTTP/1.1\r\n\r\n", 6},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(std::string(c.rule) + ": " + testing::readable(c.bytes));
    const Decoded decoded = decode_at_every_cut(c.bytes);
    EXPECT_EQ(decoded.end, Decoded::End::failed) << decoded;
    EXPECT_EQ(decoded.consumed, c.consumed) << decoded;
    EXPECT_NE(decoded.error, "");
  }
}

TEST(ChunkDecoder, LargestSize) {
  ChunkDecoder decoder;
  const ChunkDecoder::Step step = decoder.step("7fffffffffffffff\r\nabc");
  EXPECT_FALSE(step.failed);
  EXPECT_EQ(step.payload, "abc");
}

TEST(ChunkDecoder, SizeLineLimit) {
  for (const std::size_t size :
       {ChunkDecoder::kLineBytesMax - 1, ChunkDecoder::kLineBytesMax, ChunkDecoder::kLineBytesMax + 1}) {
    for (const char filler : {'0', ' ', 'x'}) {
      std::string line = filler == '0' ? "" : filler == ' ' ? "1" : "1;";
      const std::string_view tail = filler == '0' ? "1\r\n" : filler == ' ' ? ";\r\n" : "\r\n";
      line.append(size - line.size() - tail.size(), filler).append(tail);
      ASSERT_EQ(line.size(), size);
      const bool good = size <= ChunkDecoder::kLineBytesMax;
      const Decoded decoded = decode("1\r\n-\r\n" + line + "y\r\n0\r\n\r\n");
      EXPECT_EQ(decoded.end, good ? Decoded::End::done : Decoded::End::failed) << size << filler;
      EXPECT_EQ(decoded.payload, good ? "-y" : "-");
    }
  }
}

TEST(ChunkDecoder, TrailerLimit) {
  constexpr std::size_t kMax = ChunkDecoder::kTrailerBytesMax;
  for (const std::size_t size : {kMax - 1, kMax, kMax + 1}) {
    std::string trailers;
    while (trailers.size() + 200 < size) trailers += "X: " + std::string(95, 'y') + "\r\n";
    trailers += "Z: ";
    trailers.append(size - trailers.size() - 4, 'z').append("\r\n\r\n");
    ASSERT_EQ(trailers.size(), size);
    const Decoded decoded = decode("0\r\n" + trailers);
    EXPECT_EQ(decoded.end, size <= kMax ? Decoded::End::done : Decoded::End::failed) << size;
    ChunkDecoder decoder;
    Decoded bytewise;
    for (const char c : "0\r\n" + trailers) {
      if (!feed(decoder, {&c, 1}, bytewise)) break;
    }
    EXPECT_EQ(bytewise, decoded);
  }
}

TEST(ChunkDecoder, OneStepTakesAWholeShortBody) {
  ChunkDecoder decoder;
  const std::string_view body = "5\r\nhello\r\n0\r\n\r\nnext";
  const ChunkDecoder::Step step = decoder.step(body);
  EXPECT_EQ(step.payload, "hello");
  EXPECT_EQ(step.payload.data(), body.data() + 3) << "payload is not copied";
  EXPECT_EQ(step.consumed, body.size() - 4);
  EXPECT_TRUE(step.done);
}

TEST(ChunkWriter, SizeLines) {
  struct {
    std::uint64_t size;
    std::string_view line;
  } const cases[] = {
      {1, "1\r\n"},
      {15, "f\r\n"},
      {16, "10\r\n"},
      {0x1f, "1f\r\n"},
      {65536, "10000\r\n"},
      {0xabcdef, "abcdef\r\n"},
      {UINT64_MAX, "ffffffffffffffff\r\n"},
  };
  for (const auto& c : cases) {
    std::array<char, kChunkHeadBytesMax> out;
    EXPECT_EQ(std::string_view(out.data(), write_chunk_head(c.size, out.data())), c.line);
  }
}

TEST(ChunkWriter, WhatItWritesIsDecoded) {
  std::string body;
  std::string expected;
  for (const std::size_t size : {1u, 2u, 15u, 16u, 17u, 255u, 256u, 4096u}) {
    std::array<char, kChunkHeadBytesMax> line;
    const std::string payload(size, static_cast<char>('a' + size % 26));
    body.append(line.data(), write_chunk_head(size, line.data())).append(payload).append(kChunkEnd);
    expected += payload;
  }
  body += kLastChunk;
  const Decoded decoded = decode(body);
  EXPECT_EQ(decoded.end, Decoded::End::done);
  EXPECT_EQ(decoded.payload, expected);
}

}  // namespace
}  // namespace lb::http
