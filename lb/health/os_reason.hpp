// Why a connection to a backend could not be made, in words for a log line. Values; any thread.
#pragma once

#include <string>

namespace lb {

/// "connection refused". A full queue of a Unix socket (EAGAIN of connect(2)) is told as such.
std::string os_reason(int os_error);

/// The error says that this process, or the system, is out of descriptors, ports or memory.
bool is_our_shortage(int os_error) noexcept;

}  // namespace lb
