#include "lb/config/json_reader.hpp"

#include <gtest/gtest.h>

#include <string>

#include "lb/base/sanitized.hpp"

namespace lb {
namespace {

/// "LINE:COLUMN: /path: message", or "read".
std::string read_outcome(std::string_view text) {
  const auto root = read_json(text);
  if (root) return "read";
  return ConfigErrors{.errors = {root.error()}}.text("");
}

TEST(JsonReader, PositionsOfKeysAndValues) {
  const auto root =
      read_json("{ \"a\" : 1,\n\t\"b\":[ true ,\"\xc3\xbc\\\"\", {\"c\":null}],\r\n\"d\":-1.5e+3 }");
  ASSERT_TRUE(root);
  EXPECT_EQ(root->at, (Position{1, 1}));
  ASSERT_EQ(root->children.size(), 3U);
  const Node& a = root->children[0];
  EXPECT_EQ(a.key_at, (Position{1, 3}));
  EXPECT_EQ(a.at, (Position{1, 9}));
  EXPECT_EQ(a.kind, Node::Kind::integer);
  const Node& b = root->children[1];
  EXPECT_EQ(b.key_at, (Position{2, 2}));
  EXPECT_EQ(b.at, (Position{2, 6}));
  ASSERT_EQ(b.children.size(), 3U);
  EXPECT_EQ(b.children[0].at, (Position{2, 8}));
  EXPECT_EQ(b.children[0].text, "true");
  EXPECT_EQ(b.children[1].at, (Position{2, 14}));
  EXPECT_EQ(b.children[1].text, "\xc3\xbc\"");
  EXPECT_EQ(b.children[2].at, (Position{2, 21})) << "columns count characters, not bytes";
  EXPECT_EQ(b.children[2].children.at(0).text, "null");
  const Node& d = root->children[2];
  EXPECT_EQ(d.key_at, (Position{3, 1}));
  EXPECT_EQ(d.kind, Node::Kind::real);
  EXPECT_EQ(d.text, "-1.5e+3");
}

TEST(JsonReader, FindsPositionsByPointer) {
  const auto root = read_json("{\"a\": [1, {\"x/y~z\": 2}]}");
  ASSERT_TRUE(root);
  EXPECT_EQ(find_position(*root, ""), (Position{1, 1}));
  EXPECT_EQ(find_position(*root, "/a/0"), (Position{1, 8}));
  EXPECT_EQ(find_position(*root, "/a/1/x~1y~0z"), (Position{1, 21}));
  EXPECT_EQ(find_position(*root, "/a/1/none/deeper"), (Position{1, 11})) << "the nearest that exists";
  EXPECT_EQ(find_position(*root, "/a/7"), (Position{1, 7}));
  EXPECT_EQ(find_position(*root, "/a/x"), (Position{1, 7}));
}

TEST(JsonReader, AcceptsWhatJsonAllows) {
  for (const char* text : {"0", "-0", "1e2", "1E-2", "1.5", "\"\"", "[]", "{}", " [ ] ", "\r\n\t{}\n", "null",
                           "true", "[[],{},[{}]]", R"("\"\\\/\b\f\n\r\t\u00e4\ud83c\udf3f")", R"({"":0})",
                           "99999999999999999999999", "\xef\xbb\xbf{}"}) {
    EXPECT_EQ(read_outcome(text), "read") << text;
  }
}

TEST(JsonReader, SaysWhatIsWrong) {
  struct Case {
    const char* text;
    const char* outcome;
  };
  for (const Case& c : {
           Case{"-", ":1:1: /: found -, expected a decimal number such as 10 or 0.5"},
           {"[1 2]", ":1:4: /: found 2, expected \",\" or \"]\""},
           {"[1,,2]", ":1:4: /: found \",\", expected a value"},
           {"[,1]", ":1:2: /0: found \",\", expected a value"},
           {"[1}", ":1:3: /: found \"}\", expected \",\" or \"]\""},
           {"{1:2}", ":1:2: /: found 1, expected a key in double quotes or \"}\""},
           {"{\"a\":1,1:2}", ":1:8: /: found 1, expected a key in double quotes"},
           {"{\"a\"}", ":1:5: /a: found \"}\", expected \":\" after the key"},
           {"{\"a\"",
            ":1:5: /a: found the end of the file, expected the end of the object begun at line 1, column 1"},
           {"{\"a\":",
            ":1:6: /a: found the end of the file, expected the end of the object begun at line 1, column 1"},
           {"{\"a\":1,}",
            ":1:7: /: found a comma before the closing bracket, expected none after the last value"},
           {"[\"a\" \"b c\"]", ":1:6: /: found \"b c\", expected \",\" or \"]\""},
           {"[nullx]", ":1:2: /0: found nullx, expected a value; a text needs double quotes"},
           {"[1.2.3]", ":1:2: /0: found 1.2.3, expected a decimal number such as 10 or 0.5"},
           {"[-01]", ":1:2: /0: found -01, expected a number without leading zeros"},
           {"[1e]", ":1:2: /0: found 1e, expected a decimal number such as 10 or 0.5"},
           {"[-1e999]", ":1:2: /0: found -1e999, expected a number that a double can hold"},
           {"tru", ":1:1: /: found tru, expected a value; a text needs double quotes"},
           {"{} x", ":1:4: /: found x, expected nothing more after the end of the document"},
           {"{}}", ":1:3: /: found \"}\", expected nothing more after the end of the document"},
           {"[\xe2\x80\x9c"
            "a\xe2\x80\x9d]",
            ":1:2: /0: found \xe2\x80\x9c"
            "a\xe2\x80\x9d, expected a value; a text needs double quotes"},
           {"[\"a", ":1:2: /0: found the end of the file inside a text, expected its closing double quote"},
           {"[\"a\\", ":1:2: /0: found the end of the file inside a text, expected its closing double quote"},
           {"[\"a\\u12", ":1:4: /0: found \\u12 inside a text, expected four hexadecimal digits after \\u"},
           {"[\"\\udf3f\"]",
            ":1:3: /0: found \\udf3f inside a text, expected both halves of a surrogate pair"},
           {"[\"\\q\"]",
            ":1:3: /0: found \\q inside a text, expected \\\\ for a backslash or one of \\\" \\/ \\b \\f \\n "
            "\\r \\t \\u"},
           {"[\"\x01\"]",
            ":1:3: /0: found a control character inside a text, expected \\u and four hexadecimal digits"},
           {"{\"\x01\":1}",
            ":1:3: /: found a control character inside a text, expected \\u and four hexadecimal digits"},
           {"\xef\xbb\xbf\xef\xbb\xbf{}", ":1:1: /: found a second byte order mark, expected an object"},
           {"\x1b", ":1:1: /: found \"\\u001b\", expected a value"},
       }) {
    EXPECT_EQ(read_outcome(c.text), c.outcome) << c.text;
  }
}

std::string nested(std::uint32_t depth) {
  return std::string(depth, '[') + std::string(depth, ']');
}

TEST(JsonReader, NestingLimit) {
  EXPECT_EQ(read_outcome(nested(kConfigNestingMax - 1)), "read");
  EXPECT_EQ(read_outcome(nested(kConfigNestingMax)), "read");
  EXPECT_NE(read_outcome(nested(kConfigNestingMax + 1)).find(":1:33:"), std::string::npos);
  EXPECT_NE(read_outcome(std::string(1'000'000, '[')).find("more than 32 levels"), std::string::npos);
}

TEST(JsonReader, ValueLimit) {
  if (kSanitized) GTEST_SKIP() << "slow with a sanitizer; the plain build covers it";
  const auto array_of = [](std::size_t elements) {
    std::string text = "[0";
    for (std::size_t i = 1; i < elements; ++i) text += ",0";
    return text + "]";
  };
  EXPECT_EQ(read_outcome(array_of(kConfigValuesMax - 1)), "read") << "the array is a value too";
  EXPECT_NE(read_outcome(array_of(kConfigValuesMax)).find("found more than 2,000,000 values"),
            std::string::npos);
}

TEST(JsonReader, SizeLimit) {
  if (kSanitized) GTEST_SKIP() << "slow with a sanitizer; the plain build covers it";
  for (const std::size_t size : {kConfigBytesMax - 1, kConfigBytesMax}) {
    EXPECT_EQ(read_outcome(std::string(size, '.')).substr(0, 14), ":1:1: /: found");
  }
  std::string text(kConfigBytesMax, '.');
  text += '.';
  EXPECT_EQ(read_outcome(text), ":1:1: /: found 67,108,865 bytes, expected at most 67,108,864");
}

}  // namespace
}  // namespace lb
