// Where the control socket is. A balancer that is told no path puts it into the user's private folder under
// the hash of its configuration file's path; one that is told a path leaves links there and beside its pid
// file. So `lb reload -c FILE` finds it without reading FILE, which may be the very file that is broken.
#pragma once

#include <string>
#include <vector>

#include "lb/base/result.hpp"

namespace lb {

/// $XDG_RUNTIME_DIR/lb-UID, or /tmp/lb-UID: created with mode 0700 when `create`. Fails when it is not a
/// folder of ours alone: somebody else may have put it there.
Result<std::string> control_folder(bool create);

/// The names under which a balancer of `config_path` is found: by the path as written (made absolute, so it
/// survives the switch of a symbolic link), then by the file it leads to now.
std::vector<std::string> control_names(const std::string& folder, const std::string& config_path);

/// Removes links in `folder` that lead nowhere: what killed balancers left.
void sweep_control_folder(const std::string& folder);

std::string control_beside(const std::string& pid_file);

}  // namespace lb
