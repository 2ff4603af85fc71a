#include "harness/traffic/statistics.hpp"

#include <algorithm>
#include <cmath>

namespace lb::traffic {
namespace {

/// The continued fraction of DLMF 8.17.22, evaluated by the modified Lentz method; converges quickly for
/// x < (a + 1) / (a + b + 2).
double beta_fraction(double a, double b, double x) noexcept {
  constexpr double kTiny = 1e-300;
  constexpr int kTermsMax = 10'000;
  const auto away_from_zero = [](double v) { return std::fabs(v) < kTiny ? kTiny : v; };
  double numerator = 1;
  double denominator = 1 / away_from_zero(1 - (a + b) * x / (a + 1));
  double result = denominator;
  for (int m = 1; m <= kTermsMax; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    denominator = 1 / away_from_zero(1 + even * denominator);
    numerator = away_from_zero(1 + even / numerator);
    result *= numerator * denominator;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    denominator = 1 / away_from_zero(1 + odd * denominator);
    numerator = away_from_zero(1 + odd / numerator);
    const double step = numerator * denominator;
    result *= step;
    if (std::fabs(step - 1) < 1e-14) break;
  }
  return result;
}

}  // namespace

double incomplete_beta(double a, double b, double x) noexcept {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double log_front =
      std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x);
  const double front = std::exp(log_front);
  if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
  return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double clopper_pearson_upper(std::uint64_t hits, std::uint64_t trials, double confidence) noexcept {
  if (trials == 0 || hits >= trials) return 1;
  // P(at most `hits`) at rate p is 1 - I_p(hits + 1, trials - hits), falling in p.
  const auto a = static_cast<double>(hits + 1);
  const auto b = static_cast<double>(trials - hits);
  double low = 0;
  double high = 1;
  for (int i = 0; i < 200 && high - low > 1e-15 * high; ++i) {
    const double middle = (low + high) / 2;
    (incomplete_beta(a, b, middle) < confidence ? low : high) = middle;
  }
  return high;
}

RateBound bound_rate(std::uint64_t hits, std::uint64_t trials) noexcept {
  if (trials == 0) return {};
  const auto n = static_cast<double>(trials);
  if (hits == 0) return {0, std::min(1.0, 3 / n), true};
  return {static_cast<double>(hits) / n, clopper_pearson_upper(hits, trials), false};
}

std::uint64_t nearest_rank(const std::vector<std::uint64_t>& sorted, double p) noexcept {
  const auto n = static_cast<double>(sorted.size());
  // A hair below, so that 0.99 * 100 is rank 99 whatever the rounding of the product.
  const auto rank = static_cast<std::size_t>(std::ceil(p * n - 1e-9));
  return sorted[std::clamp<std::size_t>(rank, 1, sorted.size()) - 1];
}

LatencySummary summarize(std::vector<std::uint64_t>& nanos) {
  LatencySummary s;
  s.n = nanos.size();
  if (nanos.empty()) return s;
  std::ranges::sort(nanos);
  double sum = 0;
  for (const std::uint64_t value : nanos) sum += static_cast<double>(value);
  const auto us = [](std::uint64_t value) { return static_cast<double>(value) / 1e3; };
  s.mean_us = sum / static_cast<double>(nanos.size()) / 1e3;
  s.p50_us = us(nearest_rank(nanos, 0.5));
  s.p90_us = us(nearest_rank(nanos, 0.9));
  s.p99_us = us(nearest_rank(nanos, 0.99));
  s.p99_9_us = us(nearest_rank(nanos, 0.999));
  s.max_us = us(nanos.back());
  return s;
}

}  // namespace lb::traffic
