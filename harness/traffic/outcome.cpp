#include "harness/traffic/outcome.hpp"

#include <cerrno>
#include <cstring>

namespace lb::traffic {
namespace {

template <std::size_t N>
std::string_view at(const std::array<std::string_view, N>& names, std::size_t i) noexcept {
  return i < N ? names[i] : std::string_view("unknown");
}

constexpr std::array<std::string_view, kOutcomes> kOutcomeNames = {"ok",
                                                                   "refused",
                                                                   "connect_timeout",
                                                                   "reset_before_first_byte",
                                                                   "closed_under_request",
                                                                   "truncated",
                                                                   "timeout",
                                                                   "wrong_body",
                                                                   "unexpected_status",
                                                                   "malformed",
                                                                   "duplicated",
                                                                   "removed_backend",
                                                                   "lost",
                                                                   "unserved",
                                                                   "unfinished",
                                                                   "local_error",
                                                                   "closed_idle",
                                                                   "excused"};
constexpr std::array<std::string_view, 8> kPhaseNames = {"none", "connect", "send",   "wait",
                                                         "head", "body",    "tunnel", "after"};
constexpr std::array<std::string_view, 20> kDetailNames = {"none",
                                                           "eof",
                                                           "reset",
                                                           "byte_differs",
                                                           "length_differs",
                                                           "nonce_differs",
                                                           "no_nonce",
                                                           "extra_bytes",
                                                           "bad_head",
                                                           "bad_chunk",
                                                           "request_body_wrong",
                                                           "timeout_connect",
                                                           "timeout_send",
                                                           "timeout_wait",
                                                           "timeout_body",
                                                           "tls",
                                                           "bad_frame",
                                                           "message_missing",
                                                           "message_repeated",
                                                           "hash_differs"};
constexpr std::array<std::string_view, kKinds> kKindNames = {
    "new",     "keepalive", "pipelined", "race",      "slow_download", "slow_upload", "chunked",
    "upgrade", "halfopen",  "idle",      "websocket", "tcp_tunnel",    "events",      "long_upload"};

bool is_reset(int os_error) noexcept {
  return os_error == ECONNRESET || os_error == EPIPE || os_error == ECONNABORTED;
}

bool is_local(int os_error) noexcept {
  return os_error == EADDRNOTAVAIL || os_error == EMFILE || os_error == ENFILE || os_error == ENOBUFS ||
         os_error == ENOMEM || os_error == EADDRINUSE || os_error == EACCES || os_error == EPERM;
}

}  // namespace

std::string_view name_of(Outcome outcome) noexcept {
  return at(kOutcomeNames, static_cast<std::size_t>(outcome));
}
std::string_view name_of(Phase phase) noexcept {
  return at(kPhaseNames, static_cast<std::size_t>(phase));
}
std::string_view name_of(Detail detail) noexcept {
  return at(kDetailNames, static_cast<std::size_t>(detail));
}
std::string_view name_of(Kind kind) noexcept {
  return at(kKindNames, static_cast<std::size_t>(kind));
}

std::optional<Kind> kind_named(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kKinds; ++i) {
    if (kKindNames[i] == name) return static_cast<Kind>(i);
  }
  return std::nullopt;
}

std::string_view errno_name(int os_error) noexcept {
  if (os_error == 0) return {};
  const char* name = ::strerrorname_np(os_error);
  return name == nullptr ? std::string_view{} : std::string_view(name);
}

bool is_drop(Outcome outcome) noexcept {
  return outcome != Outcome::ok && outcome != Outcome::unserved && outcome != Outcome::unfinished &&
         outcome != Outcome::local_error && outcome != Outcome::closed_idle && outcome != Outcome::excused;
}

Fate classify_connect(int os_error) noexcept {
  if (is_local(os_error)) return {Outcome::local_error, Phase::connect, os_error, Detail::none};
  if (os_error == ETIMEDOUT)
    return {Outcome::connect_timeout, Phase::connect, os_error, Detail::timeout_connect};
  if (is_reset(os_error)) return {Outcome::reset_before_first_byte, Phase::connect, os_error, Detail::reset};
  return {Outcome::refused, Phase::connect, os_error, Detail::none};
}

Fate classify_end(Phase phase, int os_error, bool close_announced) noexcept {
  if (os_error == EPROTO) return {Outcome::malformed, phase, os_error, Detail::tls};
  const Detail detail = os_error == 0 ? Detail::eof : Detail::reset;
  const bool some_byte = phase == Phase::head || phase == Phase::body || phase == Phase::tunnel;
  if (some_byte) return {Outcome::truncated, phase, os_error, detail};
  if (close_announced) return {Outcome::unserved, phase, os_error, detail};
  // ETIMEDOUT: the kernel gave the connection up; nothing moved for far too long.
  if (os_error == ETIMEDOUT) return {Outcome::timeout, phase, os_error, Detail::timeout_wait};
  if (os_error == 0) return {Outcome::closed_under_request, phase, 0, detail};
  return {Outcome::reset_before_first_byte, phase, os_error, detail};
}

Fate classify_timeout(Phase phase) noexcept {
  switch (phase) {
    case Phase::connect:
      return {Outcome::connect_timeout, phase, 0, Detail::timeout_connect};
    case Phase::send:
      return {Outcome::timeout, phase, 0, Detail::timeout_send};
    case Phase::head:
    case Phase::body:
    case Phase::tunnel:
      return {Outcome::timeout, phase, 0, Detail::timeout_body};
    default:
      return {Outcome::timeout, phase, 0, Detail::timeout_wait};
  }
}

Fate classify_answer(const Answer& answer) noexcept {
  const auto wrong = [](Detail detail) { return Fate{Outcome::wrong_body, Phase::body, 0, detail}; };
  // A foreign answer explains everything else, whatever its status: it belongs to another request.
  if (answer.nonce_present && !answer.nonce_matches) return wrong(Detail::nonce_differs);
  if (!answer.status_expected) return {Outcome::unexpected_status, Phase::body, 0, Detail::none};
  if (!answer.nonce_present) return wrong(Detail::no_nonce);
  if (!answer.length_matches) return wrong(Detail::length_differs);
  if (!answer.bytes_match) return wrong(Detail::byte_differs);
  if (!answer.request_body_ok) return wrong(Detail::request_body_wrong);
  return {};
}

}  // namespace lb::traffic
