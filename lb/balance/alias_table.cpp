#include "lb/balance/alias_table.hpp"

#include "lb/balance/roster.hpp"

namespace lb {

AliasTable::AliasTable(std::span<const std::uint32_t> backends, std::span<const BackendTraits> traits) {
  // Column k holds sum/n of probability: what a light backend leaves of its column a heavy one takes.
  const std::uint64_t count = backends.size();
  std::uint64_t sum = 0;
  for (const std::uint32_t backend : backends) sum += traits[backend].weight;
  std::vector<std::uint64_t> left(count);
  std::vector<std::uint32_t> light;
  std::vector<std::uint32_t> heavy;
  columns_.resize(count);
  for (std::uint32_t k = 0; k < count; ++k) {
    columns_[k] = {backends[k], backends[k], ~0U};
    left[k] = traits[backends[k]].weight * count;
    (left[k] < sum ? light : heavy).push_back(k);
  }
  while (!light.empty() && !heavy.empty()) {
    const std::uint32_t small = light.back();
    light.pop_back();
    const std::uint32_t large = heavy.back();
    columns_[small].share = static_cast<std::uint32_t>((Uint128{left[small]} << 32U) / sum);
    columns_[small].other = backends[large];
    left[large] -= sum - left[small];
    if (left[large] < sum) {
      heavy.pop_back();
      light.push_back(large);
    }
  }
}

}  // namespace lb
