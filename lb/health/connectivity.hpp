// Does a backend answer? Connects and closes, many at once, within a budget of time. Blocks the calling
// thread; for the control plane: `lb check`-like tools and the start of a generation, never a worker. Says
// nothing about HTTP: a backend that accepts and then hangs answers here.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "lb/base/time.hpp"
#include "lb/config/config.hpp"
#include "lb/config/model.hpp"
#include "lb/health/name_lookup.hpp"

namespace lb {

inline constexpr std::size_t kProbesAtOnce = 256;       // sockets open at a time
inline constexpr Milliseconds kProbeAttemptMax{1'000};  // for one address, however large the budget
inline constexpr Milliseconds kProbeAttemptMin{100};    // even when the budget is short for so many
inline constexpr Milliseconds kReloadProbeBudget{2'000};

/// Empty when the backend accepts a connection within `timeout`, else why not: "connection refused",
/// "no answer within 1 s", "does not resolve (...)". Never throws.
std::string probe_backend(const BackendConfig& backend, Milliseconds timeout);

/// The same for many, side by side, in about `total_budget` at most. A backend whose turn did not come says
/// so.
std::vector<std::string> probe_backends(std::span<const BackendConfig> backends, Milliseconds total_budget,
                                        const LookupFunction& lookup = lookup_by_system);

/// The chapter's config_reload: load, validate, test each backend; a backend that does not answer is a
/// warning. Takes kReloadProbeBudget at most beyond loading.
std::expected<ReloadCandidate, ConfigErrors> config_reload(const std::string& path,
                                                           const ConfigCheck& check = {});

}  // namespace lb
