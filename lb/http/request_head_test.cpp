// What a parsed request head says: its parts, its facts, its limits.
#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "lb/http/http_testing.hpp"
#include "lb/http/message.hpp"
#include "lb/http/parser.hpp"

namespace lb::http {
namespace {

using testing::RequestJudge;
using testing::Verdict;

// The head of an acceptable request; `bytes` must be a literal, for the head points into it.
const RequestHead& parse(RequestJudge& judge, std::string_view bytes) {
  SCOPED_TRACE(testing::readable(bytes));
  EXPECT_EQ(testing::judge_at_every_cut(judge, bytes).status, Verdict::kAccepted);
  return *judge.head;
}

const Field* field_named(const RequestHead& head, std::string_view name) {
  for (const Field& field : head.table) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

TEST(RequestHead, Parts) {
  RequestJudge judge;
  const RequestHead& head = parse(judge,
                                  "\r\nPOST /a?b HTTP/1.1\r\nHost: example.com:81\r\nX-One:  two three \t\r\n"
                                  "Empty:\r\nCONTENT-length: 00012\r\n\r\n");
  EXPECT_EQ(head.method, Method::post);
  EXPECT_EQ(head.method_text, "POST");
  EXPECT_EQ(head.target, "/a?b");
  EXPECT_EQ(head.path, "/a?b");
  EXPECT_EQ(head.authority, "example.com:81");
  EXPECT_EQ(head.minor_version, 1);
  ASSERT_EQ(head.table.field_count, 4u);
  EXPECT_EQ(head.table.fields[0].id, FieldId::host);
  EXPECT_EQ(head.table.fields[1].id, FieldId::other);
  EXPECT_EQ(head.table.fields[1].name, "X-One");
  EXPECT_EQ(head.table.fields[1].value, "two three");
  EXPECT_EQ(head.table.fields[2].value, "");
  EXPECT_EQ(head.table.fields[3].name, "CONTENT-length");
  EXPECT_EQ(head.table.fields[3].id, FieldId::content_length);
  EXPECT_EQ(head.table.find(FieldId::content_length), &head.table.fields[3]);
  EXPECT_EQ(head.table.find(FieldId::via), nullptr);
  EXPECT_TRUE(head.facts.has_content_length);
  EXPECT_EQ(head.facts.content_length, 12u);
}

TEST(RequestHead, BytesAfterTheHeadAreLeft) {
  RequestJudge judge;
  const std::string_view first = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
  const std::string both = std::string(first) + "\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nrest\x01\n";
  EXPECT_EQ(judge(both).head_bytes, first.size());
  judge.scanner.reset();
  const Verdict second = judge(std::string_view(both).substr(first.size()));
  EXPECT_EQ(second.status, Verdict::kAccepted);
  EXPECT_EQ(second.head_bytes, first.size() + 2);
  EXPECT_EQ(judge.head->path, "/2");
}

TEST(RequestHead, Methods) {
  struct {
    std::string_view text;
    Method method;
  } const cases[] = {
      {"GET", Method::get},         {"HEAD", Method::head},      {"POST", Method::post},
      {"PUT", Method::put},         {"DELETE", Method::delete_}, {"OPTIONS", Method::options},
      {"TRACE", Method::trace},     {"PATCH", Method::patch},    {"get", Method::other},
      {"PURGE", Method::other},     {"G", Method::other},        {"GETS", Method::other},
      {"DELETED", Method::other},   {"CONNEC", Method::other},   {"Head", Method::other},
      {"PROPPATCH", Method::other},
  };
  for (const auto& c : cases) {
    const std::string bytes = std::string(c.text) + " / HTTP/1.1\r\nHost: a\r\n\r\n";
    RequestJudge judge;
    const RequestHead& head = parse(judge, bytes);
    EXPECT_EQ(head.method, c.method) << c.text;
    EXPECT_EQ(head.method_text, c.text);
  }
  RequestJudge judge;
  EXPECT_EQ(parse(judge, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").method, Method::connect);
  EXPECT_EQ(judge.head->authority, "a:1");
}

TEST(RequestHead, TargetForms) {
  struct {
    std::string_view line, authority, path;
  } const cases[] = {
      {"GET /x HTTP/1.1", "h", "/x"},
      {"GET http://a.example:8/x/y?z HTTP/1.1", "a.example:8", "/x/y?z"},
      {"GET HtTpS://[::1]/ HTTP/1.1", "[::1]", "/"},
      {"GET http://a HTTP/1.1", "a", "/"},
      {"GET http://a?q HTTP/1.1", "a", "?q"},
      {"GET http://a:?q=http://b/c HTTP/1.1", "a:", "?q=http://b/c"},
      {"OPTIONS * HTTP/1.1", "h", "*"},
      {"OPTIONS http://a HTTP/1.1", "a", "*"},  // RFC 9112 3.2.4
      {"OPTIONS http://a/ HTTP/1.1", "a", "/"},
  };
  for (const auto& c : cases) {
    const std::string bytes = std::string(c.line) + "\r\nHost: h\r\n\r\n";
    RequestJudge judge;
    const RequestHead& head = parse(judge, bytes);
    EXPECT_EQ(head.authority, c.authority) << c.line;
    EXPECT_EQ(head.path, c.path) << c.line;
  }
}

TEST(RequestHead, KnownFields) {
  struct {
    std::string_view name;
    FieldId id;
    bool hop_by_hop;
  } const cases[] = {
      {"Connection", FieldId::connection, true},
      {"Keep-Alive", FieldId::keep_alive, true},
      {"Proxy-Connection", FieldId::proxy_connection, true},
      {"TE", FieldId::te, true},
      {"Trailer", FieldId::trailer, true},
      {"Upgrade", FieldId::upgrade, true},
      {"Proxy-Authenticate", FieldId::proxy_authenticate, true},
      {"Proxy-Authorization", FieldId::proxy_authorization, true},
      {"Transfer-Encoding", FieldId::transfer_encoding, true},
      {"Via", FieldId::via, false},
      {"Forwarded", FieldId::forwarded, false},
      {"X-Forwarded-For", FieldId::x_forwarded_for, false},
      {"X-Forwarded-Proto", FieldId::x_forwarded_proto, false},
      {"X-Forwarded-Host", FieldId::x_forwarded_host, false},
      {"Max-Forwards", FieldId::max_forwards, false},
      {"Date", FieldId::date, false},
      {"Server", FieldId::server, false},
      {"X-Forwarded-Fox", FieldId::other, false},
      {"Dote", FieldId::other, false},
      {"T", FieldId::other, false},
      {"X_Forwarded_For", FieldId::other, true},  // an imitation
      {"transfer_encoding", FieldId::other, true},
      {"X-Forwarded_Host", FieldId::other, true},
      {"my_field", FieldId::other, false},
      {"_", FieldId::other, false},
      {"a_name_longer_than_all_the_known", FieldId::other, false},
  };
  for (const auto& c : cases) {
    for (int spelling = 0; spelling < 3; ++spelling) {
      std::string name(c.name);
      for (char& letter : name) {
        const auto byte = static_cast<unsigned char>(letter);
        if (spelling == 1) letter = static_cast<char>(std::tolower(byte));
        if (spelling == 2) letter = static_cast<char>(std::toupper(byte));
      }
      const std::string bytes = "GET / HTTP/1.1\r\nHost: a\r\n" + name + ": chunked\r\n\r\n";
      RequestJudge judge;
      const RequestHead& head = parse(judge, bytes);
      const Field* field = field_named(head, name);
      ASSERT_NE(field, nullptr);
      EXPECT_EQ(field->id, c.id) << name;
      EXPECT_EQ(field->hop_by_hop, c.hop_by_hop) << name;
    }
  }
}

TEST(RequestHead, ConnectionNominates) {
  RequestJudge judge;
  const RequestHead& head = parse(judge,
                                  "GET / HTTP/1.1\r\nHost: a\r\nX-Early: 1\r\n"
                                  "Connection: x-early, ,X-LATE,close,\r\n"
                                  "X-Late: 2\r\nX-Stays: 3\r\nConnection: X-Third\r\nx-third: 4\r\n\r\n");
  EXPECT_TRUE(field_named(head, "X-Early")->hop_by_hop);
  EXPECT_TRUE(field_named(head, "X-Late")->hop_by_hop);
  EXPECT_TRUE(field_named(head, "x-third")->hop_by_hop);
  EXPECT_FALSE(field_named(head, "X-Stays")->hop_by_hop);
  EXPECT_TRUE(head.facts.connection_close);
  EXPECT_FALSE(head.facts.connection_keep_alive);
}

TEST(RequestHead, WhatTheProxyReliesOnCannotBeNominated) {
  RequestJudge judge;
  const RequestHead& head =
      parse(judge,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX-Forwarded-For: 1.2.3.4\r\n"
            "X-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\nVia: 1.1 c\r\n"
            "Forwarded: for=1.2.3.4\r\nExpect: 100-continue\r\n"
            "Connection: Host, Content-Length, X-Forwarded-For, X-Forwarded-Proto, Expect\r\n"
            "Connection: X-Forwarded-Host, Via, Forwarded\r\n\r\n");
  for (const Field& field : head.table) {
    EXPECT_EQ(field.hop_by_hop, field.id == FieldId::connection) << field.name;
  }
  EXPECT_EQ(judge(std::string_view(head.method_text.data(), head.head_bytes)).framing.length, 3u);
}

TEST(RequestHead, ConnectionOptions) {
  struct {
    std::string_view lines;
    bool close, keep_alive;
  } const cases[] = {
      {"", false, false},
      {"Connection:\r\n", false, false},
      {"Connection: close\r\n", true, false},
      {"Connection: CLOSE\r\n", true, false},
      {"Connection: keep-alive\r\n", false, true},
      {"Connection: Keep-Alive, close\r\n", true, true},
      {"Connection: keep-alive\r\nConnection: close\r\n", true, true},
      {"Connection: closed\r\n", false, false},
      {"Connection: close,\r\n", true, false},
      {"Proxy-Connection: close\r\n", false, false},
  };
  for (const auto& c : cases) {
    const std::string bytes = "GET / HTTP/1.1\r\nHost: a\r\n" + std::string(c.lines) + "\r\n";
    RequestJudge judge;
    const RequestHead& head = parse(judge, bytes);
    EXPECT_EQ(head.facts.connection_close, c.close) << c.lines;
    EXPECT_EQ(head.facts.connection_keep_alive, c.keep_alive) << c.lines;
  }
}

TEST(RequestHead, ConnectionMustBeTokens) {
  for (const std::string_view value : {"a b", "\"close\"", "close; x", "clo/se", "close\xa0"}) {
    const std::string bytes = "GET / HTTP/1.1\r\nHost: a\r\nConnection: " + std::string(value) + "\r\n\r\n";
    RequestJudge judge;
    EXPECT_EQ(testing::judge_at_every_cut(judge, bytes).status, 400) << value;
  }
}

TEST(RequestHead, ConnectionOptionLimit) {
  for (const std::size_t count : {31u, 32u, 33u}) {
    std::string bytes = "GET / HTTP/1.1\r\nHost: a\r\nConnection: o";
    for (std::size_t i = 1; i < count; ++i) bytes += i % 8 == 0 ? "\r\nConnection: o" : ",o";
    bytes += "\r\n\r\n";
    RequestJudge judge;
    EXPECT_EQ(judge(bytes).status, count <= 32 ? Verdict::kAccepted : 431) << count;
  }
}

TEST(RequestHead, Upgrade) {
  struct {
    std::string_view rule, bytes;
    bool upgrade;
  } const cases[] = {
      {"both fields",
       "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n", true},
      {"9110 7.8: without Upgrade", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\r\n", false},
      {"9110 7.8: without the option", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", false},
      {"9110 7.8: HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
       false},
      {"with content",
       "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
       false},
      {"Content-Length 0 is no content",
       "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
       true},
      {"with chunked content",
       "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: upgrade\r\nUpgrade: "
       "x\r\n\r\n",
       false},
      {"9113 3.1: h2c",
       "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: "
       "A\r\n\r\n",
       false},
      {"9113 3.1: h2c in a list",
       "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket, H2C\r\n\r\n", false},
  };
  for (const auto& c : cases) {
    RequestJudge judge;
    EXPECT_EQ(parse(judge, c.bytes).facts.connection_upgrade, c.upgrade) << c.rule;
    EXPECT_EQ(forwards_upgrade(judge.head->facts), c.upgrade) << c.rule;
  }
}

TEST(RequestHead, ExpectIsIgnoredWhereItMeansNothing) {
  struct {
    std::string_view rule, bytes;
    bool expect;
  } const cases[] = {
      {"with content", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
       true},
      {"chunked", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
       true},
      {"9110 10.1.1: no content", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", false},
      {"9110 10.1.1: HTTP/1.0", "PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", false},
  };
  for (const auto& c : cases) {
    RequestJudge judge;
    EXPECT_EQ(parse(judge, c.bytes).facts.expect_continue, c.expect) << c.rule;
    EXPECT_EQ(field_named(*judge.head, "Expect")->hop_by_hop, !c.expect) << c.rule;
  }
}

}  // namespace
}  // namespace lb::http
