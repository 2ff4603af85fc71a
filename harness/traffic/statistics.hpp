// The numbers of a verdict: exact percentiles and the upper bound on a drop rate. Pure.
#pragma once

#include <cstdint>
#include <vector>

namespace lb::traffic {

/// Upper end of the one-sided Clopper-Pearson interval for `hits` of `trials`: the largest rate at which so
/// few hits still have the probability 1 - confidence. Source: Clopper and Pearson, Biometrika 26 (1934).
double clopper_pearson_upper(std::uint64_t hits, std::uint64_t trials, double confidence = 0.95) noexcept;

struct RateBound {
  double observed = 0;
  double upper_95 = 1;
  bool rule_of_three = false;  // no hits: 3 / trials
};
RateBound bound_rate(std::uint64_t hits, std::uint64_t trials) noexcept;

/// I_x(a, b), the regularized incomplete beta function (DLMF 8.17).
double incomplete_beta(double a, double b, double x) noexcept;

struct LatencySummary {
  std::uint64_t n = 0;
  double mean_us = 0;
  double p50_us = 0;
  double p90_us = 0;
  double p99_us = 0;
  double p99_9_us = 0;
  double max_us = 0;
};
/// Sorts `nanos`.
LatencySummary summarize(std::vector<std::uint64_t>& nanos);

/// The nearest-rank percentile of a sorted, non-empty list; 0 < p <= 1.
std::uint64_t nearest_rank(const std::vector<std::uint64_t>& sorted, double p) noexcept;

}  // namespace lb::traffic
