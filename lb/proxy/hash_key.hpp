// What consistent_hash goes by: the part of a request that the configuration's `hash` names, as a number.
// Pure; any thread.
#pragma once

#include <cstdint>

#include "lb/config/model.hpp"
#include "lb/http/message.hpp"

namespace lb {

/// `client_hash` where the request has no such part, or it is empty: its client then keeps to one backend.
/// Compared byte by byte, nothing is decoded. The path is that of the request as it goes to the backend,
/// without its query; the uri is with it.
std::uint64_t hash_key(const HashConfig& hash, const http::RequestHead& head,
                       std::uint64_t client_hash) noexcept;

}  // namespace lb
