// A build without this ability: what is linked where there is no solution.
#include "lb/reload/rollback.hpp"

#include "lb/base/not_implemented.hpp"

namespace lb {

std::unique_ptr<RollbackPolicy> make_rollback_policy(RollbackLimits) {
  not_implemented("make_rollback_policy");
}

}  // namespace lb
