// KernelCounters: what the kernel says of lost and reset TCP connections: /proc/net/snmp and
// /proc/net/netstat. They are those of the whole network namespace, of every program in it, and so no proof
// against the balancer; but what did not grow over a reload was not lost by it. Values; any thread. The
// format: Linux, Documentation/networking/snmp_counter.rst: two lines a group, names and numbers, each behind
// "Group:".
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lb {

/// Name here and in JSON, group and name in the kernel's files.
#define LB_KERNEL_COUNTERS(X)                              \
  X(listen_overflows, "TcpExt", "ListenOverflows")         \
  X(listen_drops, "TcpExt", "ListenDrops")                 \
  X(abort_on_data, "TcpExt", "TCPAbortOnData")             \
  X(abort_on_close, "TcpExt", "TCPAbortOnClose")           \
  X(abort_on_memory, "TcpExt", "TCPAbortOnMemory")         \
  X(abort_on_timeout, "TcpExt", "TCPAbortOnTimeout")       \
  X(abort_on_linger, "TcpExt", "TCPAbortOnLinger")         \
  X(abort_failed, "TcpExt", "TCPAbortFailed")              \
  X(req_queue_full_drop, "TcpExt", "TCPReqQFullDrop")      \
  X(migrate_req_failure, "TcpExt", "TCPMigrateReqFailure") \
  X(resets_sent, "Tcp", "OutRsts")                         \
  X(established_resets, "Tcp", "EstabResets")

struct KernelCounters {
  /// Empty: this kernel does not tell.
#define X(name, group, kernel_name) std::optional<std::uint64_t> name{};
  LB_KERNEL_COUNTERS(X)
#undef X
  friend bool operator==(const KernelCounters&, const KernelCounters&) = default;

  /// f(std::string_view name, const std::optional<std::uint64_t>& value) for each.
  template <class F>
  void for_each(F&& f) const {
#define X(name, group, kernel_name) f(std::string_view{#name}, name);
    LB_KERNEL_COUNTERS(X)
#undef X
  }
  /// How much each grew since `before`; empty where either does not tell, 0 where it went back.
  [[nodiscard]] KernelCounters since(const KernelCounters& before) const;
};

/// Adds what `text` (of either file) tells. Lines that are not understood are passed over.
void parse_kernel_counters(std::string_view text, KernelCounters& counters);

/// Of this process's network namespace. `folder` is where "snmp" and "netstat" lie. A file that cannot be
/// read leaves its counters empty.
KernelCounters read_kernel_counters(const std::string& folder = "/proc/net");

}  // namespace lb
