// The fates a request can have, and the pure rules that decide which one a failure is. The numbers are part
// of the ledger's layout (README.md). No sockets here.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace lb::traffic {

enum class Outcome : std::uint8_t {
  ok,
  refused,
  connect_timeout,
  reset_before_first_byte,
  closed_under_request,
  truncated,
  timeout,
  wrong_body,
  unexpected_status,
  malformed,
  duplicated,
  removed_backend,
  lost,
  unserved,
  unfinished,
  local_error,
  closed_idle,
  excused,
};
inline constexpr std::size_t kOutcomes = 18;

enum class Phase : std::uint8_t { none, connect, send, wait, head, body, tunnel, after };

enum class Detail : std::uint8_t {
  none,
  eof,
  reset,
  byte_differs,
  length_differs,
  nonce_differs,
  no_nonce,
  extra_bytes,
  bad_head,
  bad_chunk,
  request_body_wrong,
  timeout_connect,
  timeout_send,
  timeout_wait,
  timeout_body,
  tls,
  bad_frame,
  message_missing,
  message_repeated,
  hash_differs,
};

enum class Kind : std::uint8_t {
  new_connection,
  keepalive,
  pipelined,
  race,
  slow_download,
  slow_upload,
  chunked,
  upgrade,
  halfopen,
  idle,
  websocket,
  tcp_tunnel,
  events,
  long_upload,
};
inline constexpr std::size_t kKinds = 14;

/// Connections that are meant to outlive reloads.
constexpr bool is_long_lived(Kind kind) noexcept {
  return kind == Kind::idle || kind == Kind::websocket || kind == Kind::tcp_tunnel || kind == Kind::events ||
         kind == Kind::long_upload;
}
/// A numbered conversation (flow.hpp) instead of a request's body.
constexpr bool is_flow(Kind kind) noexcept {
  return kind == Kind::websocket || kind == Kind::tcp_tunnel || kind == Kind::events;
}

std::string_view name_of(Outcome outcome) noexcept;
std::string_view name_of(Phase phase) noexcept;
std::string_view name_of(Detail detail) noexcept;
std::string_view name_of(Kind kind) noexcept;
std::optional<Kind> kind_named(std::string_view name) noexcept;

/// "ECONNRESET"; empty for 0 and for what has no name.
std::string_view errno_name(int os_error) noexcept;

/// unserved, unfinished, local_error, closed_idle and excused are neither ok nor a drop.
/// closed_idle is no request at all, but the close of a connection of kind idle while it was idle.
bool is_drop(Outcome outcome) noexcept;

/// A verdict with the circumstances that explain it.
struct Fate {
  Outcome outcome = Outcome::ok;
  Phase phase = Phase::none;
  int os_error = 0;
  Detail detail = Detail::none;
  friend bool operator==(const Fate&, const Fate&) = default;
};

/// A connect that failed with errno `os_error`.
Fate classify_connect(int os_error) noexcept;

/// The connection ended (`os_error` 0: FIN) under a request in `phase`. `close_announced`: an earlier answer
/// on this connection said Connection: close after this request had been sent (only pipelined requests).
Fate classify_end(Phase phase, int os_error, bool close_announced) noexcept;

/// Nothing moved for too long.
Fate classify_timeout(Phase phase) noexcept;

/// What is known of a complete response.
struct Answer {
  bool status_expected = true;
  bool nonce_present = true;
  bool nonce_matches = true;
  bool bytes_match = true;
  bool length_matches = true;
  bool request_body_ok = true;
};
Fate classify_answer(const Answer& answer) noexcept;

}  // namespace lb::traffic
