// XXH3 (libxxhash) behind two functions: configuration identity and hash-based balancing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lb {

std::uint64_t hash_bytes(std::string_view bytes, std::uint64_t seed = 0) noexcept;

/// 16 lower-case hex digits: how a configuration's hash is shown everywhere.
std::string hash_text(std::uint64_t hash);

}  // namespace lb
