// Channel: one end of the Unix socket between supervisor and generation (SOCK_SEQPACKET, so that a frame is
// one packet). Carries whole messages with file descriptors; never blocks. Owned by one thread.
//
// Wire format. A message is one or more frames; a frame is a 16-byte header, then its part of the body:
//   u32 magic "LBch" | u16 version | u16 type | u32 body bytes in this frame | u16 descriptors | u16 flags
// in the machine's byte order (both ends are on one machine), with the descriptors as SCM_RIGHTS.
//   flag 1 "more":    the message goes on; this frame only brings descriptors, at most kFdsPerFrame
//   flag 2 "in file": the body did not fit; it is the content of the last descriptor, a sealed memory file
// Anything else - another magic or version, a length that does not match - breaks the channel for good: what
// was received is closed, and the reason told. So do descriptors lost because this process ran out of them,
// in a message of several frames; one of a single frame is short_of_fds.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"

namespace lb {

inline constexpr std::uint16_t kChannelVersion = 6;
inline constexpr std::size_t kFdsPerFrame = 200;  // the kernel's limit is 253
inline constexpr std::size_t kFdsPerMessageMax = 16'384;
inline constexpr std::size_t kBodyInlineMax = 32 * 1024;  // beyond it the body travels as a memory file
inline constexpr std::size_t kBodyBytesMax = 64U << 20U;
inline constexpr std::size_t kFramesQueuedMax = 1024;

struct ChannelMessage {
  std::uint16_t type = 0;
  std::string body{};
  std::vector<Fd> fds{};
};

struct Received {
  enum class Kind : std::uint8_t {
    message,
    nothing,
    closed,
    broken,
    short_of_fds  // a message without its last descriptors (without its body, if that was in a file)
  };
  Kind kind = Kind::nothing;
  ChannelMessage message{};
  std::string reason{};  // broken, short_of_fds: why
};

class Channel final {
 public:
  Channel() = default;
  /// Takes a connected SOCK_SEQPACKET socket and makes it non-blocking. `version`: of the messages, at both
  /// ends.
  explicit Channel(Fd socket, std::uint16_t version = kChannelVersion);

  static Result<std::pair<Channel, Channel>> make_pair();

  [[nodiscard]] int fd() const noexcept { return socket_.get(); }
  [[nodiscard]] bool open() const noexcept { return static_cast<bool>(socket_); }
  void close() noexcept;

  /// Sends, or queues what the socket does not take now. The caller keeps its descriptors: those of a queued
  /// message are duplicated. Fails when the peer is gone, a limit is exceeded, or there are no descriptors
  /// left.
  Result<void> send(std::uint16_t type, std::string_view body, std::span<const int> fds = {});
  /// Sends what is queued, as far as the socket takes it. Call when the socket is writable.
  Result<void> flush();
  [[nodiscard]] bool wants_write() const noexcept { return !queue_.empty(); }

  /// The next whole message, if one is there. Once closed or broken it stays so.
  Received receive();

 private:
  struct Frame {
    std::string bytes;
    std::vector<Fd> fds;
  };
  int flush_frames();
  Received broken(std::string reason);
  Received take_frame(std::string_view bytes, std::vector<Fd> fds, bool truncated);
  Received take_short_frame(std::string_view bytes, std::vector<Fd> fds);

  Fd socket_;
  std::uint16_t version_ = kChannelVersion;
  bool reset_seen_ = false;
  std::deque<Frame> queue_;
  std::vector<Fd> collected_;  // of a message whose last frame has not come yet
  std::uint16_t collecting_type_ = 0;
  bool collecting_ = false;
  Received::Kind ended_ = Received::Kind::nothing;
  std::string reason_;
};

}  // namespace lb
