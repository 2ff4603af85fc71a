// A build without this ability: what is linked where there is no solution.
#include "lb/base/not_implemented.hpp"
#include "lb/watch/config_watcher.hpp"

namespace lb {

std::unique_ptr<ConfigWatcher> make_config_watcher(WatchOptions, FileEvents&) {
  not_implemented("make_config_watcher");
}

}  // namespace lb
