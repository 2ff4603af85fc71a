#include "lb/observe/escape.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>

#include "lb/base/random.hpp"
#include "lb/base/sanitized.hpp"

namespace lb {
namespace {

std::string json(std::string_view text) {
  std::string out;
  append_json_escaped(out, text);
  return out;
}
std::string text(std::string_view value, TextContext context) {
  std::string out;
  append_text_escaped(out, value, context);
  return out;
}

TEST(Escape, Json) {
  EXPECT_EQ(json(""), "");
  EXPECT_EQ(json("plain text 123"), "plain text 123");
  EXPECT_EQ(json("a\"b\\c/d"), "a\\\"b\\\\c/d");
  EXPECT_EQ(json("\n\r\t\b\f"), "\\n\\r\\t\\u0008\\u000c");
  EXPECT_EQ(json(std::string_view{"\0\x1f\x7f", 3}), "\\u0000\\u001f\\u007f");
  EXPECT_EQ(json("gr\u00fc\u00df \u20ac \U0001f600"), "gr\u00fc\u00df \u20ac \U0001f600");
  EXPECT_EQ(json("a\xff\xfe"
                 "b"),
            "a\\ufffd\\ufffdb");
  EXPECT_EQ(json("\xe2\x82"), "\\ufffd\\ufffd") << "cut short";
}

TEST(Escape, Text) {
  const char* everything = "say \"hi\" \\ now\n";
  EXPECT_EQ(text(everything, TextContext::message), "say \"hi\" \\ now\\n");
  EXPECT_EQ(text(everything, TextContext::quoted), "say \\\"hi\\\" \\\\ now\\n");
  EXPECT_EQ(text(everything, TextContext::word), "say\\x20\\\"hi\\\"\\x20\\\\\\x20now\\n");
  EXPECT_EQ(text("\x1b[31mred", TextContext::message), "\\x1b[31mred");
  EXPECT_EQ(text("\u009b31m", TextContext::message), "\\xc2\\x9b31m") << "C1 control: an escape sequence";
  EXPECT_EQ(text("\u00a0\u00e9", TextContext::message), "\u00a0\u00e9");
  EXPECT_EQ(text("a\xff"
                 "b\x7f",
                 TextContext::quoted),
            "a\\xffb\\x7f");
}

/// Decodes by the definition, slowly: the model. The code point and its length, or nothing.
std::optional<std::size_t> decoded_length(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned first = byte(0);
  std::size_t length = 0;
  std::uint32_t point = 0;
  if (first < 0x80) return 1;
  if ((first & 0xe0U) == 0xc0U) length = 2, point = first & 0x1fU;
  if ((first & 0xf0U) == 0xe0U) length = 3, point = first & 0x0fU;
  if ((first & 0xf8U) == 0xf0U) length = 4, point = first & 0x07U;
  if (length == 0 || bytes.size() < length) return std::nullopt;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return std::nullopt;
    point = point << 6U | (byte(i) & 0x3fU);
  }
  const std::uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (point < least[length] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return std::nullopt;
  return length;
}

TEST(Escape, Utf8LengthAgreesWithTheDefinitionForEveryBeginning) {
  EXPECT_EQ(utf8_sequence_length(""), 0U);
  const unsigned char edges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
  for (unsigned first = 0; first < 256; ++first) {
    for (unsigned second = 0; second < 256; second += kSanitized ? 5 : 1) {
      for (const unsigned char third : edges) {
        for (const unsigned char fourth : edges) {
          const char bytes[] = {static_cast<char>(first), static_cast<char>(second), static_cast<char>(third),
                                static_cast<char>(fourth)};
          for (std::size_t size = 1; size <= 4; ++size) {
            const std::string_view view{bytes, size};
            ASSERT_EQ(utf8_sequence_length(view), decoded_length(view).value_or(0))
                << first << " " << second << " " << unsigned{third} << " " << unsigned{fourth} << " of "
                << size;
          }
        }
      }
    }
  }
}

TEST(Escape, WhateverComesInNothingDangerousComesOut) {
  Random random{4};
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes(random.below(12), '\0');
    for (char& byte : bytes)
      byte = static_cast<char>(random.below(3) == 0 ? random.below(256) : 0xb8 + random.below(72));
    for (const std::string& out : {json(bytes), text(bytes, TextContext::message),
                                   text(bytes, TextContext::quoted), text(bytes, TextContext::word)}) {
      std::string_view rest = out;
      while (!rest.empty()) {
        const std::size_t length = utf8_sequence_length(rest);
        ASSERT_GT(length, 0U) << "output is UTF-8";
        ASSERT_GE(static_cast<unsigned char>(rest[0]), 0x20U);
        rest.remove_prefix(length);
      }
    }
    const std::string quoted = json(bytes);
    for (std::size_t i = 0; i < quoted.size(); ++i) {
      ASSERT_NE(quoted[i], '"') << "an unescaped quote";
      if (quoted[i] == '\\') ++i;
    }
  }
}

}  // namespace
}  // namespace lb
