// A corpus of messages that made real servers and proxies disagree about where a message ends, or slip a
// field past a proxy. Each must be refused, or be read in the one way that is given. What is accepted is
// written for the upstream side and read again: nothing of the ambiguity may be left.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "lb/http/chunked.hpp"
#include "lb/http/http_testing.hpp"
#include "lb/http/writer.hpp"

namespace lb::http {
namespace {

using namespace std::string_view_literals;
using SmuggledKind = BodyFraming::Kind;
using testing::RequestJudge;
using testing::Verdict;

struct Attack {
  const char* name;
  std::string_view fields;  // after "POST / HTTP/1.1\r\nHost: a\r\n"
  int status = Verdict::kAccepted;
  BodyFraming framing = {};
};

constexpr BodyFraming kChunked{SmuggledKind::chunked, 0};

const Attack kAttacks[] = {
    // Both lengths (RFC 9112 6.3).
    {"CL.TE", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", 400},
    {"TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", 400},
    {"CL.TE with length 0", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", 400},
    {"CL.TE with an unknown coding", "Content-Length: 6\r\nTransfer-Encoding: x\r\n", 400},
    {"CL.TE with an empty coding", "Content-Length: 6\r\nTransfer-Encoding:\r\n", 400},
    {"CL.TE, TE named by Connection",
     "Content-Length: 6\r\nTransfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n", 400},
    {"CL.TE, CL named by Connection",
     "Content-Length: 6\r\nTransfer-Encoding: chunked\r\nConnection: Content-Length\r\n", 400},

    // Two Transfer-Encodings or a disguised one (RFC 9112 6.1 and 7).
    {"TE.TE", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400},
    {"TE.TE, identity first", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", 400},
    {"TE.TE, unknown last", "Transfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n", 400},
    {"TE.TE, empty first", "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n", 400},
    {"TE: xchunked", "Transfer-Encoding: xchunked\r\n", 501},
    {"TE: chunkedx", "Transfer-Encoding: chunkedx\r\n", 501},
    {"TE: identity", "Transfer-Encoding: identity\r\n", 501},
    {"TE: gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n", 501},
    {"TE: identity, chunked", "Transfer-Encoding: identity, chunked\r\n", 501},
    {"TE: chunked, identity", "Transfer-Encoding: chunked, identity\r\n", 400},
    {"TE: chunked, chunked", "Transfer-Encoding: chunked, chunked\r\n", 400},
    {"TE: chunked, with a comma", "Transfer-Encoding: chunked,\r\n", 400},
    {"TE: comma first", "Transfer-Encoding: ,chunked\r\n", 400},
    {"TE: empty", "Transfer-Encoding:\r\n", 400},
    {"TE: blank", "Transfer-Encoding: \t \r\n", 400},
    {"TE: commas alone", "Transfer-Encoding: ,,\r\n", 400},
    {"TE: quoted", "Transfer-Encoding: \"chunked\"\r\n", 400},
    {"TE: single quotes", "Transfer-Encoding: 'chunked'\r\n", 501},
    {"TE: parameter", "Transfer-Encoding: chunked;q=1\r\n", 400},
    {"TE: chunked and a word", "Transfer-Encoding: chunked foo\r\n", 400},
    {"TE: in braces", "Transfer-Encoding: {chunked}\r\n", 400},
    {"TE: colon", "Transfer-Encoding: : chunked\r\n", 400},
    {"TE: vertical tab before", "Transfer-Encoding: \vchunked\r\n", 400},
    {"TE: vertical tab after", "Transfer-Encoding: chunked\v\r\n", 400},
    {"TE: form feed", "Transfer-Encoding: \fchunked\r\n", 400},
    {"TE: NUL after", "Transfer-Encoding: chunked\0\r\n"sv, 400},
    {"TE: NUL before", "Transfer-Encoding: \0chunked\r\n"sv, 400},
    {"TE: no-break space",
     "Transfer-Encoding: \xa0"
     "chunked\r\n",
     400},
    {"TE: UTF-8 byte order mark",
     "Transfer-Encoding: \xef\xbb\xbf"
     "chunked\r\n",
     400},
    {"TE: DEL", "Transfer-Encoding: chunked\x7f\r\n", 400},
    {"TE: bare CR after", "Transfer-Encoding: chunked\r\r\n", 400},
    {"TE: bare CR before", "Transfer-Encoding:\rchunked\r\n", 400},
    {"TE: bare LF before", "Transfer-Encoding:\nchunked\r\n", 400},
    {"TE: folded", "Transfer-Encoding:\r\n chunked\r\n", 400},
    {"TE: folded by tab", "Transfer-Encoding:\r\n\tchunked\r\n", 400},
    {"TE: folded second coding", "Transfer-Encoding: chunked\r\n , identity\r\n", 400},
    {"TE: space before the colon", "Transfer-Encoding : chunked\r\n", 400},
    {"TE: tab before the colon", "Transfer-Encoding\t: chunked\r\n", 400},
    {"TE: vertical tab before the colon", "Transfer-Encoding\v: chunked\r\n", 400},
    {"TE: NUL in the name", "Transfer-Encoding\0: chunked\r\n"sv, 400},
    {"TE: space in the name", "Transfer Encoding: chunked\r\n", 400},
    {"TE: space before the name", " Transfer-Encoding: chunked\r\n", 400},
    {"TE: tab before the name", "X: y\r\n\tTransfer-Encoding: chunked\r\n", 400},
    {"TE: after a bare LF", "X: y\nTransfer-Encoding: chunked\r\n", 400},
    {"TE: after a bare CR", "X: y\rTransfer-Encoding: chunked\r\n", 400},
    {"TE: after NUL", "X: y\0Transfer-Encoding: chunked\r\n"sv, 400},
    {"TE: upper case is chunked", "TRANSFER-ENCODING: CHUNKED\r\n", Verdict::kAccepted, kChunked},
    {"TE: tabs around the value are white space", "Transfer-Encoding:\tchunked\t\r\n", Verdict::kAccepted,
     kChunked},
    {"TE: no white space", "Transfer-Encoding:chunked\r\n", Verdict::kAccepted, kChunked},
    {"TE: underscore is another field, and goes no further", "Transfer_Encoding: chunked\r\n"},
    {"TE: a name beginning alike", "Transfer-Encodin: chunked\r\n"},
    {"TE: named by Connection alone", "Transfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n",
     Verdict::kAccepted, kChunked},

    // Content-Length (RFC 9110 8.6).
    {"CL: two", "Content-Length: 5\r\nContent-Length: 6\r\n", 400},
    {"CL: two alike", "Content-Length: 5\r\nContent-Length: 5\r\n", 400},
    {"CL: two, other case", "Content-Length: 5\r\ncontent-length: 0\r\n", 400},
    {"CL: list", "Content-Length: 5, 5\r\n", 400},
    {"CL: list without space", "Content-Length: 5,5\r\n", 400},
    {"CL: trailing comma", "Content-Length: 5,\r\n", 400},
    {"CL: plus", "Content-Length: +5\r\n", 400},
    {"CL: minus", "Content-Length: -5\r\n", 400},
    {"CL: minus zero", "Content-Length: -0\r\n", 400},
    {"CL: hexadecimal", "Content-Length: 0x5\r\n", 400},
    {"CL: exponent", "Content-Length: 5e0\r\n", 400},
    {"CL: fraction", "Content-Length: 5.0\r\n", 400},
    {"CL: inner space", "Content-Length: 5 5\r\n", 400},
    {"CL: digit groups", "Content-Length: 1_000\r\n", 400},
    {"CL: quoted", "Content-Length: \"5\"\r\n", 400},
    {"CL: empty", "Content-Length:\r\n", 400},
    {"CL: blank", "Content-Length: \t\r\n", 400},
    {"CL: vertical tab", "Content-Length: \v5\r\n", 400},
    {"CL: NUL after", "Content-Length: 5\0\r\n"sv, 400},
    {"CL: letters after", "Content-Length: 5abc\r\n", 400},
    {"CL: Arabic digits", "Content-Length: \xd9\xa5\r\n", 400},
    {"CL: 2^63", "Content-Length: 9223372036854775808\r\n", 400},
    {"CL: 2^64", "Content-Length: 18446744073709551616\r\n", 400},
    {"CL: 2^64 + 5", "Content-Length: 18446744073709551621\r\n", 400},
    {"CL: thirty digits", "Content-Length: 100000000000000000000000000005\r\n", 400},
    {"CL: space before the colon", "Content-Length : 5\r\n", 400},
    {"CL: folded", "Content-Length:\r\n 5\r\n", 400},
    {"CL: folded continuation", "Content-Length: 5\r\n 0\r\n", 400},
    {"CL: after a bare LF", "X: y\nContent-Length: 5\r\n", 400},
    {"CL: octal look is decimal", "Content-Length: 010\r\n", Verdict::kAccepted, {SmuggledKind::length, 10}},
    {"CL: underscore is another field, and goes no further", "Content_Length: 5\r\n"},
    {"CL: named by Connection is kept",
     "Content-Length: 5\r\nConnection: content-length\r\n",
     Verdict::kAccepted,
     {SmuggledKind::length, 5}},

    // The end of the head (RFC 9112 2.2) and the rest.
    {"head ends with LF CR LF", "X: y\n\r\n", 400},
    {"head ends with LF LF", "X: y\n\n", 400},
    {"a line of CR", "X: y\r\n\r\r\n", 400},
    {"request in a field without colon", "GET /admin HTTP/1.1\r\n", 400},
    {"second Host", "Host: b\r\n", 400},
    {"second Host, folded", "X: y\r\n Host: b\r\n", 400},
    {"second Host, space before the colon", "Host : b\r\n", 400},
    {"upgrade to h2c with content",
     "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\nContent-Length: 5\r\n",
     Verdict::kAccepted,
     {SmuggledKind::length, 5}},
    {"obfuscated Expect", "Expect: y 100-continue\r\nContent-Length: 5\r\n", 417},
    {"X-Forwarded-For imitated", "X_Forwarded-For: 10.0.0.1\r\n"},
};

TEST(Smuggling, CorpusIsLargeEnough) {
  EXPECT_GE(std::size(kAttacks), 60u);
}

TEST(Smuggling, Requests) {
  constexpr std::string_view kLine = "POST / HTTP/1.1\r\nHost: a\r\n";
  for (const Attack& attack : kAttacks) {
    const std::string bytes = std::string(kLine) + std::string(attack.fields) + "\r\n";
    SCOPED_TRACE(std::string(attack.name) + ": " + testing::readable(bytes));
    RequestJudge judge;
    const Verdict verdict = testing::judge_at_every_cut(judge, bytes);
    ASSERT_EQ(verdict.status, attack.status) << verdict;
    if (attack.status != Verdict::kAccepted) continue;
    EXPECT_EQ(verdict.framing, attack.framing) << verdict;

    std::array<char, 4096> out;
    const std::size_t size =
        write_upstream_head(*judge.head, verdict.framing, {"192.0.2.1", "http", "lb", "b"}, out);
    RequestJudge upstream;
    const std::string_view written(out.data(), size);
    EXPECT_EQ(upstream(written).framing, attack.framing) << written;
    const bool has_length = upstream.head->facts.has_content_length;
    EXPECT_EQ(has_length, attack.framing.kind == SmuggledKind::length) << written;
    EXPECT_EQ(upstream.head->facts.has_transfer_encoding, attack.framing.kind == SmuggledKind::chunked)
        << written;
    for (const Field& field : upstream.head->table) {
      EXPECT_EQ(field.name.find('_'), std::string_view::npos) << written;
      EXPECT_FALSE(field.hop_by_hop && field.id != FieldId::transfer_encoding) << written;
    }
  }
}

TEST(Smuggling, Http10) {
  constexpr std::string_view kLine = "POST / HTTP/1.0\r\nHost: a\r\n";
  struct {
    const char* name;
    std::string_view fields;
    int status;
  } const cases[] = {
      {"9112 6.1: chunked", "Transfer-Encoding: chunked\r\n", 400},
      {"9112 6.1: identity", "Transfer-Encoding: identity\r\n", 400},
      {"9112 6.3: both", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400},
      {"9112 9.3: length and keep-alive", "Connection: keep-alive\r\nContent-Length: 5\r\n",
       Verdict::kAccepted},
  };
  for (const auto& c : cases) {
    RequestJudge judge;
    EXPECT_EQ(testing::judge_at_every_cut(judge, std::string(kLine) + c.fields.data() + "\r\n").status,
              c.status)
        << c.name;
  }
}

// The same shapes from a backend that was led astray: the answer is 502 and never two responses.
TEST(Smuggling, Responses) {
  for (const Attack& attack : kAttacks) {
    const std::string_view fields = attack.fields;
    if (fields.starts_with("Host") || fields.starts_with("Expect")) continue;  // nothing special there
    const std::string bytes = "HTTP/1.1 200 OK\r\n" + std::string(fields) + "\r\n";
    SCOPED_TRACE(std::string(attack.name) + ": " + testing::readable(bytes));
    testing::ResponseJudge judge;
    const Verdict verdict = testing::judge_at_every_cut(judge, bytes);
    const bool host_space = attack.name == "second Host, space before the colon"sv;
    EXPECT_EQ(verdict.status, attack.status == Verdict::kAccepted && !host_space ? Verdict::kAccepted : 502);
    if (verdict.status == Verdict::kAccepted) {
      EXPECT_EQ(verdict.framing, attack.framing.kind == SmuggledKind::none
                                     ? (BodyFraming{SmuggledKind::until_close, 0})
                                     : attack.framing);
    }
  }
}

}  // namespace
}  // namespace lb::http
