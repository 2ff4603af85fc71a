// The files of certificates and keys that a configuration names, judged before anything is done with it: what
// is wrong is told with the place in the configuration. Reads files, blocks: control plane.
#pragma once

#include <chrono>

#include "lb/config/config.hpp"
#include "lb/tls/certificate.hpp"

namespace lb::tls {

/// A certificate that is good for less than this is warned of.
inline constexpr std::chrono::hours kExpiresSoon{30 * 24};

/// For config_load: reads every certificate, key and authority that the configuration names. Errors: what
/// cannot be read or used, a key that does not match, a certificate that has expired at `now` or is not valid
/// yet, an unknown cipher. Warnings: what expires within kExpiresSoon, a private key that everybody may read.
ConfigCheck file_check(WallTime now);

}  // namespace lb::tls
