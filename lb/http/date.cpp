#include "lb/http/date.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace lb::http {
namespace {

constexpr std::int64_t kLast = 253'402'300'799;  // 9999-12-31T23:59:59Z
constexpr char kDays[] = "SunMonTueWedThuFriSat";
constexpr char kMonths[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

void put_digits(char* out, unsigned number, std::size_t digits) noexcept {
  for (std::size_t i = digits; i > 0; --i, number /= 10) out[i - 1] = static_cast<char>('0' + number % 10);
}

}  // namespace

void write_date(std::int64_t unix_s, std::span<char, kDateBytes> out) noexcept {
  using namespace std::chrono;
  const sys_seconds time{seconds{std::clamp<std::int64_t>(unix_s, 0, kLast)}};
  const auto day = floor<days>(time);
  const year_month_day date{day};
  const hh_mm_ss clock{time - day};
  char* const p = out.data();
  std::memcpy(p, "Xxx, 00 Xxx 0000 00:00:00 GMT", kDateBytes);
  std::memcpy(p, kDays + std::size_t{3} * weekday{day}.c_encoding(), 3);
  put_digits(p + 5, static_cast<unsigned>(date.day()), 2);
  std::memcpy(p + 8, kMonths + std::size_t{3} * (static_cast<unsigned>(date.month()) - 1), 3);
  put_digits(p + 12, static_cast<unsigned>(static_cast<int>(date.year())), 4);
  put_digits(p + 17, static_cast<unsigned>(clock.hours().count()), 2);
  put_digits(p + 20, static_cast<unsigned>(clock.minutes().count()), 2);
  put_digits(p + 23, static_cast<unsigned>(clock.seconds().count()), 2);
}

}  // namespace lb::http
