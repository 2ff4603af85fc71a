// Generation: the process that runs one configuration from start to end. Its main thread talks to the
// supervisor over the channel (see messages.hpp) and handles signals; the data plane's threads do the work.
// It never changes its configuration, and never starts another generation.
//
//   START -> load -> LOADED -> PROCEED -> listeners, warm up -> READY -> serving --SUCCESSOR, DRAIN,-->
//   draining
//              |                              |                         |  ^      SIGUSR2, SIGTERM        |
//              +----------> FAILED, exit 1 <--+                  EOF of |  | HELLO to the next            |
//              drained
//                                                         the channel   v  | supervisor                   v
//                                                                      orphaned                    DRAINED,
//                                                                      exit 0
//
// When the supervisor is killed: a starting generation exits, a serving one serves on as an orphan and waits
// for the next supervisor, a draining one ends its drain. SIGINT, or a second SIGTERM: exit now.
#pragma once

#include <expected>
#include <functional>
#include <string>

#include "lb/config/config.hpp"
#include "lb/supervisor/data_plane.hpp"

namespace lb {

struct GenerationDeps {
  /// Load, validate, ask the backends: health's config_reload.
  std::function<std::expected<ReloadCandidate, ConfigErrors>(const std::string& path)> reload_config;
  MakeDataPlane make_data_plane;
};

/// Runs a generation on descriptors 3 (channel) and 4 (standard error once ready); returns the exit code.
int run_generation(const GenerationDeps& deps);

}  // namespace lb
