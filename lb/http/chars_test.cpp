#include "lb/http/chars.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "lb/http/http_testing.hpp"

namespace lb::http {
namespace {

TEST(CharClasses, AgreeWithTheGrammar) {
  constexpr std::string_view kTokenMarks = "!#$%&'*+-.^_`|~";  // RFC 9110 5.6.2
  for (int i = 0; i < 256; ++i) {
    const char c = static_cast<char>(i);
    const bool alnum = (i >= '0' && i <= '9') || (i >= 'a' && i <= 'z') || (i >= 'A' && i <= 'Z');
    const bool mark = i != 0 && kTokenMarks.find(c) != std::string_view::npos;
    EXPECT_EQ((char_class(c) & kToken) != 0, alnum || mark) << i;
    EXPECT_EQ((char_class(c) & kValue) != 0, i == '\t' || (i >= 0x20 && i != 0x7f)) << i;
    EXPECT_EQ((char_class(c) & kTarget) != 0, i > 0x20 && i < 0x7f && i != '#') << i;
    EXPECT_EQ((char_class(c) & kUnderscore) != 0, i == '_') << i;
  }
}

// Each byte at each place of buffers around the sixteen that are looked at together, from each start.
template <class Find>
void compare_with_table(Find&& find, CharClass good) {
  for (std::size_t size = 0; size <= 50; ++size) {
    for (std::size_t at = 0; at < size; at += size < 20 ? 1 : 3) {
      for (int byte = 0; byte < 256; ++byte) {
        std::string text(size, 'x');
        text[at] = static_cast<char>(byte);
        const testing::ExactBytes exact(text);
        const char* const begin = exact.view().data();
        const bool stops = (char_class(static_cast<char>(byte)) & good) == 0;
        for (std::size_t from = 0; from <= size; from += 5) {
          const std::size_t expected = stops && at >= from ? at : size;
          ASSERT_EQ(find(begin, begin + from, begin + size) - begin, static_cast<std::ptrdiff_t>(expected))
              << "byte " << byte << " at " << at << " of " << size << " from " << from;
        }
      }
    }
  }
}

TEST(Scans, ValueEnd) {
  compare_with_table(find_value_end, kValue);
}
TEST(Scans, TargetEnd) {
  compare_with_table(find_target_end, kTarget);
}

TEST(Lists, Elements) {  // RFC 9110 5.6.1
  std::string seen;
  const auto collect = [&seen](std::string_view element) {
    seen.append("<").append(element).append(">");
    return element != "stop";
  };
  EXPECT_TRUE(for_each_element("", collect));
  EXPECT_TRUE(for_each_element(" , \t,", collect));
  EXPECT_EQ(seen, "");
  EXPECT_TRUE(for_each_element("a,\tb ,, c d", collect));
  EXPECT_EQ(seen, "<a><b><c d>");
  EXPECT_FALSE(for_each_element("stop, e", collect));
  EXPECT_EQ(seen, "<a><b><c d><stop>");
}

TEST(Strings, IgnoreCaseIsForAsciiLettersOnly) {
  EXPECT_TRUE(equals_ignore_case("Chunked-Z", "cHUNKED-z"));
  EXPECT_FALSE(equals_ignore_case("chunked", "chunke"));
  EXPECT_FALSE(equals_ignore_case("@[", "`{"));
  EXPECT_FALSE(equals_ignore_case("\r", "-"));
}

}  // namespace
}  // namespace lb::http
