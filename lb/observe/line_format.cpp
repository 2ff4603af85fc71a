#include "lb/observe/line_format.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace lb {
namespace {

constexpr std::int64_t kFirstUs = -62'167'219'200'000'000;  // 0000-01-01
constexpr std::int64_t kLastUs = 253'402'300'799'999'999;   // 9999-12-31

char* put_digits(char* at, unsigned value, unsigned digits) noexcept {
  for (unsigned i = digits; i-- > 0; value /= 10) at[i] = static_cast<char>('0' + value % 10);
  return at + digits;
}

}  // namespace

void append_number(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out.append("null");
    return;
  }
  std::array<char, 32> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out.append(digits.data(), end);
}

void append_time(std::string& out, std::int64_t unix_time_us, unsigned fraction_digits) {
  using std::chrono::days;
  using std::chrono::floor;
  using std::chrono::microseconds;
  using std::chrono::sys_time;
  const sys_time<microseconds> time{microseconds{std::clamp(unix_time_us, kFirstUs, kLastUs)}};
  const auto day = floor<days>(time);
  const std::chrono::year_month_day date{day};
  const auto in_day_us = static_cast<std::uint64_t>((time - day).count());
  const auto second = static_cast<unsigned>(in_day_us / 1'000'000);
  const auto fraction_us = static_cast<unsigned>(in_day_us % 1'000'000);

  std::array<char, 32> text;
  char* at = put_digits(text.data(), static_cast<unsigned>(static_cast<int>(date.year())), 4);
  *at++ = '-';
  at = put_digits(at, static_cast<unsigned>(date.month()), 2);
  *at++ = '-';
  at = put_digits(at, static_cast<unsigned>(date.day()), 2);
  *at++ = 'T';
  at = put_digits(at, second / 3600, 2);
  *at++ = ':';
  at = put_digits(at, second / 60 % 60, 2);
  *at++ = ':';
  at = put_digits(at, second % 60, 2);
  *at++ = '.';
  at = fraction_digits == 3 ? put_digits(at, fraction_us / 1000, 3) : put_digits(at, fraction_us, 6);
  *at++ = 'Z';
  out.append(text.data(), at);
}

}  // namespace lb
