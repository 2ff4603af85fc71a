// A small balancer that is wrong in one chosen way, so that a harness can prove that it notices. One thread
// and one process; a "reload" is SIGHUP: a new generation of the backend list. With Control::none it is
// correct: one listening socket for ever, connections of an older generation end with their next answer,
// which says so.
//
//   session:  idle -> active (one request relayed, its answer relayed back) -> idle ...
//             active -> tunnel (101)      active -> closing (FIN sent, reads to EOF)      active -> stuck
//             (hang)
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/traffic/address.hpp"
#include "harness/traffic/channel.hpp"
#include "harness/traffic/loop.hpp"
#include "harness/traffic/message.hpp"

namespace lb::traffic {

enum class Control : std::uint8_t {
  none,
  rebind,
  close_idle,
  truncate,
  answer_502,
  stale_backend,
  duplicate,
  hang,
  wrong_body,
  kill_tunnel,
  lose_tunnel,
  repeat_tunnel,
  reorder_tunnel,
  lose_event,
};
std::optional<Control> control_named(std::string_view name) noexcept;
std::string_view name_of(Control control) noexcept;

/// Addresses separated by commas or white space; at least one.
Result<std::vector<Address>> parse_address_list(std::string_view text);

class FaultyBalancer final {
 public:
  static constexpr Token kListenerToken = kOwnToken | (Token{1} << 32U);
  static constexpr Token kTlsListenerToken = kListenerToken | (Token{1} << 31U);
  static constexpr Token kShadowToken = Token{1} << 61U;
  static constexpr Token kUpstreamToken = Token{1} << 62U;

  FaultyBalancer(Loop& loop, Control control, Nanos window)
      : loop_(loop), control_(control), window_(window) {}

  Result<std::uint16_t> listen(const Address& address);
  /// A second listener, which speaks TLS with this certificate (PEM files); it is never closed.
  Result<std::uint16_t> listen_tls(const Address& address, const std::string& certificate,
                                   const std::string& key);
  void set_backends(std::vector<Address> backends);
  /// A new generation; `backends` is the list from now on.
  Result<void> reload(std::vector<Address> backends, Nanos now);

  void on_io(Token token, std::uint32_t events);
  void on_timer(Token token, std::uint32_t tag);
  void end_turn();

  [[nodiscard]] std::uint32_t generation() const noexcept { return generation_; }
  [[nodiscard]] const std::vector<Address>& backends() const noexcept { return backends_; }
  [[nodiscard]] std::uint64_t faults() const noexcept { return faults_; }

 private:
  enum class Stage : std::uint8_t { idle, active, tunnel, closing, stuck };
  enum class TimerKind : std::uint8_t { close_old_listener, close_doomed, closing };

  struct Side {
    Channel fd;
    std::string in;
    std::string out;
    std::size_t out_sent = 0;
    bool readable = false;
    bool hung_up = false;
    bool eof = false;
    bool shut = false;
    bool connected = false;
  };

  struct Session {
    Handle handle;
    std::uint32_t id = 0;
    std::uint32_t generation = 0;
    Stage stage = Stage::idle;
    bool closed = false;
    bool doomed = false;  // close_idle: chosen to be closed, no longer read
    Side client;
    Side upstream;
    std::string upstream_address;
    bool request_closes = false;
    bool to_head = false;
    bool upgrade = false;
    bool request_done = false;
    bool answering = false;  // the final head was relayed
    bool answer_done = false;
    bool close_after = false;
    bool upstream_closes = false;
    bool cut = false;       // truncate: close when what is queued is sent
    bool flip = false;      // wrong_body: flip a byte of the next piece
    bool at_event = false;  // what was relayed so far ends with an event
    BodyReader request_body;
    BodyReader answer_body;
  };

  struct Shadow {
    Fd fd;
    Handle handle;
    std::string out;
  };

  void accept_some(std::size_t listener);
  void accept_from(int listener, bool tls);
  void pump(Session& s);
  bool step(Session& s);
  bool read_side(Session& s, Side& side);
  bool write_side(Session& s, Side& side);
  bool begin_request(Session& s);
  bool relay_request_body(Session& s);
  bool relay_answer(Session& s);
  bool relay_head(Session& s);
  bool relay_tunnel(Session& s);
  void spoil(std::string& piece);
  bool end_exchange(Session& s);
  void upstream_ended(Session& s);
  bool ensure_upstream(Session& s);
  void write_request_head(Session& s);
  void write_answer_head(Session& s);
  void answer_self(Session& s, std::string_view status);
  void end_gracefully(Session& s);
  void close_now(Session& s);
  void close_all(const std::function<bool(const Session&)>& chosen);
  void send_shadow(const Session& s);
  void on_shadow(Token token, std::uint32_t events);
  [[nodiscard]] bool in_window() const noexcept;
  /// Whether the fault strikes now: in the window, each n-th time.
  bool strikes(Control control, std::uint32_t each);
  [[nodiscard]] const std::vector<Address>& backends_for(const Session& s) const noexcept;

  Loop& loop_;
  Control control_;
  Nanos window_;
  Nanos window_end_ = 0;
  Address address_;
  SslContextPtr tls_;
  Fd tls_listener_;
  std::vector<Fd> listeners_;  // an empty one was closed
  std::vector<Address> backends_;
  std::vector<Address> ever_;  // every backend there ever was
  std::uint32_t generation_ = 1;
  std::uint32_t next_id_ = 0;
  std::uint32_t next_backend_ = 0;
  std::uint64_t turn_ = 0;
  std::uint64_t faults_ = 0;
  Slab<Session> sessions_{kConnectionsMax};
  Slab<Shadow> shadows_{kConnectionsMax};
  Head head_;
  std::array<char, 64U << 10U> scratch_;
};

}  // namespace lb::traffic
