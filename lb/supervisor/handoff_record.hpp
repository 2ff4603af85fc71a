// Handoff records: a HandedConnection as bytes and descriptors, in a version that its reader understands. The
// layout of a version never changes; a new field is a new version, and whoever does not know it is sent the
// older one. Every length is checked; what is short, long or out of range is an error and never a wrong
// value. Times are absolute: both ends are on one machine, and read the same monotonic clock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lb/base/result.hpp"
#include "lb/proxy/handed_connection.hpp"
#include "lb/reload/handoff.hpp"

namespace lb {

/// What this program writes and reads.
handoff::Skills handoff_skills();
handoff::Kind kind_of(const HandedConnection& connection) noexcept;

/// About the size of its record.
std::size_t record_bytes(const HandedConnection& connection) noexcept;
/// `version`: at most that of handoff_skills().
std::string encode_record(const HandedConnection& one, std::uint16_t version);
/// The descriptors that belong to it, in order; borrowed.
std::vector<int> record_fds(const HandedConnection& connection);

/// How many descriptors a record of that kind has.
std::size_t record_fd_count(handoff::Kind kind) noexcept;
/// The connection without its descriptors (see attach_fds). Fails when `bytes` is no record of that kind and
/// version.
Result<HandedConnection> decode_record(handoff::Kind kind, std::uint16_t version, std::string_view bytes);
/// `fds`: record_fd_count() of them.
void attach_fds(HandedConnection& connection, std::vector<Fd> fds);

}  // namespace lb
