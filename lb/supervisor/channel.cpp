#include "lb/supervisor/channel.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "lb/base/file.hpp"

namespace lb {
namespace {

constexpr std::uint32_t kMagic = 0x68'63'42'4c;  // "LBch"
constexpr std::uint16_t kFlagMore = 1;
constexpr std::uint16_t kFlagInFile = 2;

struct Header {
  std::uint32_t magic = kMagic;
  std::uint16_t version = 0;
  std::uint16_t type = 0;
  std::uint32_t body_bytes = 0;
  std::uint16_t fds = 0;
  std::uint16_t flags = 0;
};
static_assert(sizeof(Header) == 16);

std::string frame_bytes(const Header& header, std::string_view body) {
  std::string bytes(sizeof header, '\0');
  std::memcpy(bytes.data(), &header, sizeof header);
  bytes.append(body);
  return bytes;
}

Result<std::vector<Fd>> duplicate_all(std::span<const int> fds) {
  std::vector<Fd> copies;
  copies.reserve(fds.size() + 1);
  for (const int fd : fds) {
    copies.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!copies.back()) return std::unexpected(system_error("duplicate a descriptor", "", errno));
  }
  return copies;
}

/// 0, or errno.
int send_frame(int socket, std::string_view bytes, std::span<const int> fds) {
  iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * (kFdsPerFrame + 1))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    for (std::size_t i = 0; i < fds.size(); ++i) {
      std::memcpy(CMSG_DATA(rights) + i * sizeof(int), &fds[i], sizeof fds[i]);
    }
  }
  for (;;) {
    if (::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

std::vector<Fd> take_fds(msghdr& message) {
  std::vector<Fd> fds;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

}  // namespace

Channel::Channel(Fd socket, std::uint16_t version) : socket_(std::move(socket)), version_(version) {
  const int flags = ::fcntl(socket_.get(), F_GETFL);
  if (flags >= 0) ::fcntl(socket_.get(), F_SETFL, flags | O_NONBLOCK);
}

Result<std::pair<Channel, Channel>> Channel::make_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    return std::unexpected(system_error("socketpair", "", errno));
  }
  return std::pair{Channel{Fd{ends[0]}}, Channel{Fd{ends[1]}}};
}

void Channel::close() noexcept {
  socket_.reset();
  queue_.clear();
  collected_.clear();
  if (ended_ == Received::Kind::nothing) ended_ = Received::Kind::closed;
}

Result<void> Channel::send(std::uint16_t type, std::string_view body, std::span<const int> fds) {
  if (!socket_) return std::unexpected(Error{.message = "the channel is closed", .os_error = EPIPE});
  const std::size_t frames = fds.size() / kFdsPerFrame + 1;
  if (body.size() > kBodyBytesMax || fds.size() > kFdsPerMessageMax ||
      queue_.size() + frames > kFramesQueuedMax) {
    return std::unexpected(
        Error{.fault = Fault::self, .message = "a message exceeds the limits of the channel"});
  }
  Header last{.version = version_, .type = type};
  if (queue_.empty() && body.size() <= kBodyInlineMax && fds.size() <= kFdsPerFrame) {
    last.body_bytes = static_cast<std::uint32_t>(body.size());
    last.fds = static_cast<std::uint16_t>(fds.size());
    const int error = send_frame(socket_.get(), frame_bytes(last, body), fds);
    if (error == 0) return {};
    if (error != EAGAIN && error != ENOBUFS)
      return std::unexpected(system_error("send on the channel", "", error));
  }
  auto copies = duplicate_all(fds);
  if (!copies) return std::unexpected(copies.error());
  if (body.size() > kBodyInlineMax) {
    auto file = memory_file("lb-message", body);
    if (!file) return std::unexpected(file.error());
    copies->push_back(std::move(*file));
    last.flags |= kFlagInFile;
    body = {};
  }
  auto next = copies->begin();
  while (copies->end() - next > static_cast<std::ptrdiff_t>(kFdsPerFrame)) {
    const auto end = next + static_cast<std::ptrdiff_t>(kFdsPerFrame);
    queue_.push_back(
        {frame_bytes({.version = version_, .type = type, .fds = kFdsPerFrame, .flags = kFlagMore}, {}),
         {std::make_move_iterator(next), std::make_move_iterator(end)}});
    next = end;
  }
  last.body_bytes = static_cast<std::uint32_t>(body.size());
  last.fds = static_cast<std::uint16_t>(copies->end() - next);
  queue_.push_back(
      {frame_bytes(last, body), {std::make_move_iterator(next), std::make_move_iterator(copies->end())}});
  return flush();
}

Result<void> Channel::flush() {
  const int error = flush_frames();
  if (error == 0) return {};
  queue_.clear();
  return std::unexpected(system_error("send on the channel", "", error));
}

/// 0, also when the socket takes no more now, or errno; then the frame is still queued.
int Channel::flush_frames() {
  while (!queue_.empty()) {
    const Frame& frame = queue_.front();
    std::vector<int> fds;
    fds.reserve(frame.fds.size());
    for (const Fd& fd : frame.fds) fds.push_back(fd.get());
    const int error = send_frame(socket_.get(), frame.bytes, fds);
    if (error == EAGAIN || error == ENOBUFS) return 0;
    if (error != 0) return error;
    queue_.pop_front();
  }
  return 0;
}

Received Channel::broken(std::string reason) {
  collected_.clear();
  ended_ = Received::Kind::broken;
  reason_ = std::move(reason);
  return {.kind = ended_, .reason = reason_};
}

Received Channel::receive() {
  for (;;) {
    if (ended_ != Received::Kind::nothing) return {.kind = ended_, .reason = reason_};
    std::string bytes(sizeof(Header) + kBodyInlineMax, '\0');
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 253)> control{};
    iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t n = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return {};
    // Told once when the other end was closed with something unread; what it had sent comes after that.
    if (n < 0 && errno == ECONNRESET && !std::exchange(reset_seen_, true)) continue;
    if (n < 0 && errno != ECONNRESET)
      return broken(system_error("receive on the channel", "", errno).message);
    if (n <= 0) {
      ended_ = Received::Kind::closed;
      return {.kind = ended_};
    }
    auto fds = take_fds(message);
    const std::string_view frame = std::string_view{bytes}.substr(0, static_cast<std::size_t>(n));
    if ((message.msg_flags & MSG_CTRUNC) != 0) return take_short_frame(frame, std::move(fds));
    auto received = take_frame(frame, std::move(fds), (message.msg_flags & MSG_TRUNC) != 0);
    if (received.kind != Received::Kind::nothing) return received;
  }
}

/// The kernel gave us the first of its descriptors, as many as we may have.
Received Channel::take_short_frame(std::string_view bytes, std::vector<Fd> fds) {
  const std::string reason = "descriptors were lost on the channel: too many open files (see ulimit -n)";
  Header header;
  if (bytes.size() < sizeof header) return broken("a frame is shorter than its header");
  std::memcpy(&header, bytes.data(), sizeof header);
  const bool whole = header.magic == kMagic && header.version == version_ && !collecting_ &&
                     header.body_bytes == bytes.size() - sizeof header && (header.flags & kFlagMore) == 0;
  if (!whole || fds.size() >= header.fds) return broken(reason);
  return {.kind = Received::Kind::short_of_fds,
          .message = {.type = header.type,
                      .body = std::string{bytes.substr(sizeof header)},
                      .fds = std::move(fds)},
          .reason = reason};
}

Received Channel::take_frame(std::string_view bytes, std::vector<Fd> fds, bool truncated) {
  Header header;
  if (bytes.size() < sizeof header) return broken("a frame is shorter than its header");
  std::memcpy(&header, bytes.data(), sizeof header);
  const std::string_view body = bytes.substr(sizeof header);
  if (header.magic != kMagic) return broken("a frame does not begin with the magic number");
  if (header.version != version_) {
    return broken("the other side speaks version " + std::to_string(header.version) +
                  " of the channel's protocol, this side version " + std::to_string(version_));
  }
  if (truncated || header.body_bytes != body.size())
    return broken("a frame's length does not match its header");
  if (header.fds != fds.size()) return broken("a frame's descriptors do not match its header");
  if ((header.flags & ~(kFlagMore | kFlagInFile)) != 0) return broken("a frame has unknown flags");
  if (collecting_ && header.type != collecting_type_) return broken("a message is cut short by another");
  if (collected_.size() + fds.size() > kFdsPerMessageMax + 1)
    return broken("a message has too many descriptors");
  std::move(fds.begin(), fds.end(), std::back_inserter(collected_));
  if ((header.flags & kFlagMore) != 0) {
    if (!body.empty() || (header.flags & kFlagInFile) != 0)
      return broken("a frame to be continued has a body");
    collecting_ = true;
    collecting_type_ = header.type;
    return {};
  }
  collecting_ = false;
  ChannelMessage message{
      .type = header.type, .body = std::string{body}, .fds = std::exchange(collected_, {})};
  if ((header.flags & kFlagInFile) != 0) {
    if (message.fds.empty() || !message.body.empty()) return broken("a body in a file has no file");
    auto content = read_fd(message.fds.back().get(), "the channel", kBodyBytesMax);
    if (!content) return broken(content.error().message);
    message.body = std::move(*content);
    message.fds.pop_back();
  }
  return {.kind = Received::Kind::message, .message = std::move(message)};
}

}  // namespace lb
