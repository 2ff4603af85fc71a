// ControlServer: listens on the control socket, reads requests, writes answers (see control_protocol.hpp). It
// decides nothing: requests are handed out by poll(), answers come in by answer(). Aliases are symbolic links
// to the socket under other names, by which clients may find it. Lives on the supervisor's thread; never
// blocks.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lb/admin/control_protocol.hpp"
#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"
#include "lb/base/time.hpp"

namespace lb {

class ControlServer final {
 public:
  static constexpr std::size_t kClientsMax = 64;
  static constexpr auto kRequestTimeout = std::chrono::seconds{10};  // to send a request, to take an answer
  static constexpr auto kAcceptPause = std::chrono::seconds{1};      // when out of descriptors

  struct Event {
    enum class Kind : std::uint8_t { request, left };
    Kind kind = Kind::request;
    std::uint64_t caller = 0;
    ControlQuery query{};
    std::int64_t pid = 0;
  };

  /// Fails with os_error EADDRINUSE when somebody answers at `path`; a file nobody listens behind is
  /// replaced, anything that is not a socket is left alone.
  static Result<std::unique_ptr<ControlServer>> open(const std::string& path,
                                                     const std::vector<std::string>& aliases);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  [[nodiscard]] int fd() const noexcept { return epoll_.get(); }
  [[nodiscard]] Instant next_deadline() const;
  std::vector<Event> poll(Instant now);
  /// `json` is one line without its end.
  void answer(std::uint64_t caller, const std::string& json);
  void flush(Duration limit);

 private:
  struct Client {
    Fd fd;
    std::int64_t pid = 0;
    std::string in;
    std::string out;  // an answer, of which `sent` bytes have gone
    std::size_t sent = 0;
    std::uint64_t caller = 0;  // of the request being answered; 0: none
    bool input_ended = false;
    Instant deadline = kNever;
  };
  using ClientId = std::uint64_t;

  ControlServer(std::string path, Fd listener, Fd epoll);
  void accept_clients(Instant now);
  void read(ClientId id, Client& client, Instant now, std::vector<Event>& events);
  void next_request(ClientId id, Instant now, std::vector<Event>& events);
  /// False when the client is gone.
  bool write(Client& client);
  void watch(ClientId id, const Client& client);
  void drop(ClientId id, std::vector<Event>* events);
  void drop_finished(std::vector<Event>& events, Instant now);

  std::string path_;
  std::uint64_t file_device_ = 0;
  std::uint64_t file_inode_ = 0;
  std::vector<std::string> aliases_;
  Fd listener_;
  Fd epoll_;
  Instant accept_again_ = kNever;
  Instant now_{};
  std::map<ClientId, Client> clients_;
  ClientId next_client_ = 1;  // 0 is the listener
  std::uint64_t next_caller_ = 1;
};

}  // namespace lb
