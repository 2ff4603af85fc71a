// A build without this ability: what is linked where there is no solution.
#include "lb/config/diff.hpp"

#include "lb/base/not_implemented.hpp"

namespace lb {

std::vector<ConfigChange> config_diff(const Config&, const Config&) {
  not_implemented("config_diff");
}

}  // namespace lb
