// For tests: wire_test_kit with TLS on either side. Certificates are made while the test runs.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "lb/proxy/wire_test_kit.hpp"
#include "lb/tls/certificate_factory.hpp"
#include "lb/tls/session.hpp"

namespace lb::wire {

/// An authority, and what it certified: the proxy as lb.example, the backend as 127.0.0.1.
struct TlsFiles {
  tls::testing::PemFolder folder;
  tls::testing::Issued ca = tls::testing::issue({.common_name = "Test CA", .authority = true});
  std::string ca_file = folder.write("ca.pem", ca.cert_pem);
  tls::testing::IssuedFiles front = make("front", {.common_name = "lb", .dns = {"lb.example"}});
  tls::testing::IssuedFiles back = make("back", {.common_name = "back", .ips = {"127.0.0.1"}});

  tls::testing::IssuedFiles make(const std::string& name, const tls::testing::Wish& wish) const {
    return save(folder, name, issue(wish, &ca));
  }
  [[nodiscard]] ListenerTlsConfig listener() const { return {.certificates = {{front.cert, front.key}}}; }
  [[nodiscard]] std::shared_ptr<tls::ClientContext> trust(tls::ClientOptions options = {}) const {
    options.ca_file = ca_file;
    auto made = tls::ClientContext::create(options);
    EXPECT_TRUE(made.has_value());
    return std::move(*made);
  }
};

/// A Wire with TLS on it; blocking.
class TlsWire final {
 public:
  TlsWire(Wire wire, tls::ClientTarget& target) : wire_(std::move(wire)) {
    session_ = tls::Session::connect(target, wire_.fd());
  }
  TlsWire(Wire wire, const tls::ServerContext& context) : wire_(std::move(wire)) {
    session_ = tls::Session::accept(context, wire_.fd());
  }

  bool shake() { return session_->handshake().status == tls::Status::ok; }
  bool send(std::string_view bytes) { return session_->write(bytes).status == tls::Status::ok; }
  std::string read_until(std::string_view mark) {
    while (buffer_.find(mark) == std::string::npos && fill()) {
    }
    const std::size_t at = buffer_.find(mark);
    return take(at == std::string::npos ? buffer_.size() : at + mark.size());
  }
  std::string read_exactly(std::size_t n) {
    while (buffer_.size() < n && fill()) {
    }
    return take(std::min(n, buffer_.size()));
  }
  std::string read_to_end() {
    while (fill()) {
    }
    return take(buffer_.size());
  }
  std::string read_message() {
    std::string message = read_until("\r\n\r\n");
    const std::size_t at = message.find("Content-Length: ");
    if (at == std::string::npos) return message;
    return message + read_exactly(std::stoul(message.substr(at + 16)));
  }
  /// How the last read ended.
  [[nodiscard]] tls::Status last() const { return last_; }
  tls::Session& session() { return *session_; }
  Wire& wire() { return wire_; }

 private:
  bool fill() {
    char bytes[16384];
    const tls::Io io = session_->read(bytes, sizeof bytes);
    last_ = io.status;
    buffer_.append(bytes, io.bytes);
    return io.status == tls::Status::ok;
  }
  std::string take(std::size_t n) {
    std::string taken = buffer_.substr(0, n);
    buffer_.erase(0, n);
    return taken;
  }
  Wire wire_;
  std::unique_ptr<tls::Session> session_;
  std::string buffer_;
  tls::Status last_ = tls::Status::ok;
};

/// A context for a backend of a test.
inline std::unique_ptr<tls::ServerContext> backend_context(const tls::testing::IssuedFiles& files) {
  tls::ServerOptions options;
  options.certificates.push_back(std::move(*tls::Certificate::load(files.cert, files.key)));
  return std::move(*tls::ServerContext::create(std::move(options)));
}

/// A backend's script behind TLS.
inline ScriptedBackend::Script with_tls(const tls::ServerContext& context,
                                        std::function<void(TlsWire&)> script) {
  return [&context, script = std::move(script)](Wire& wire) {
    TlsWire secured{std::move(wire), context};
    script(secured);
  };
}

inline std::function<void(TlsWire&)> tls_answering(std::function<std::string(const std::string&)> answer) {
  return [answer = std::move(answer)](TlsWire& wire) {
    for (;;) {
      const std::string request = wire.read_message();
      if (request.empty() || !wire.send(answer(request))) return;
    }
  };
}

}  // namespace lb::wire
