// lb_faulty: a balancer that is wrong on purpose, the positive control of the harness. See README.md.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <nlohmann/json.hpp>

#include "harness/traffic/faulty_balancer.hpp"
#include "harness/traffic/lines.hpp"
#include "lb/base/file.hpp"

namespace lb::traffic {
namespace {

using Json = nlohmann::json;

struct Options {
  std::string listen;
  std::string backends;
  std::string tls_listen;
  std::string certificate;
  std::string key;
  std::string control = "none";
  double window_ms = 200;
  double time_limit_s = 600;
};

constexpr Token kStdin = kOwnToken | 1U;
constexpr Token kSignals = kOwnToken | 2U;

Result<std::vector<Address>> read_backends(const std::string& given) {
  constexpr std::size_t kListBytesMax = 1U << 20U;
  if (!given.starts_with('@')) return parse_address_list(given);
  auto text = read_file(given.substr(1), kListBytesMax);
  if (!text) return std::unexpected(text.error());
  return parse_address_list(*text);
}

Json texts(const std::vector<Address>& addresses) {
  Json all = Json::array();
  for (const Address& address : addresses) all.push_back(address.text);
  return all;
}

void reload(FaultyBalancer& balancer, const Options& options, LineWriter& writer) {
  const Nanos begin = now_ns();
  Json event = {{"event", "reload"}, {"ok", true}};
  auto backends = read_backends(options.backends);
  Result<void> done;
  if (!backends) {
    done = std::unexpected(backends.error());
  } else {
    done = balancer.reload(std::move(*backends), begin);
  }
  if (!done) {
    event["ok"] = false;
    event["error"] = done.error().message;
  }
  event["generation"] = balancer.generation();
  event["backends"] = texts(balancer.backends());
  event["t_request_ns"] = begin;
  event["t_answer_ns"] = now_ns();
  writer.line(event.dump());
}

int run(Loop& loop, FaultyBalancer& balancer, const Options& options, int signal_fd, std::uint16_t port,
        std::uint16_t tls_port) {
  LineWriter writer(STDOUT_FILENO);
  LineReader reader;
  // Without a usable stdin (closed, or a file) only signals and the time limit end it.
  if (!loop.watch_readable(STDIN_FILENO, kStdin)) std::fprintf(stderr, "lb_faulty: stdin is not watched\n");
  if (!loop.watch_readable(signal_fd, kSignals)) return 2;
  writer.line(Json{{"event", "ready"},
                   {"pid", ::getpid()},
                   {"port", port},
                   {"tls_port", tls_port},
                   {"generation", balancer.generation()},
                   {"control", options.control},
                   {"backends", texts(balancer.backends())}}
                  .dump());
  const Nanos limit = now_ns() + static_cast<Nanos>(options.time_limit_s * 1e9);
  bool quit = false;
  while (!quit && now_ns() < limit) {
    loop.turn(
        std::min(limit, now_ns() + (writer.pending() ? 5 * kMilli : kSecond)),
        [&](Token token, std::uint32_t events) {
          if (token == kStdin) {
            quit = !reader.read_some(STDIN_FILENO, [](std::string_view) {}) || quit;
          } else if (token == kSignals) {
            const int signal = next_signal(signal_fd);
            if (signal == SIGHUP) reload(balancer, options, writer);
            quit = quit || (signal != 0 && signal != SIGHUP);
          } else {
            balancer.on_io(token, events);
          }
        },
        [&](Token token, std::uint32_t tag) { balancer.on_timer(token, tag); });
    balancer.end_turn();
    if (writer.pending()) writer.flush();
  }
  writer.line(
      Json{{"event", "end"}, {"generation", balancer.generation()}, {"faults", balancer.faults()}}.dump());
  writer.finish();
  return quit ? 0 : 3;
}

int main_checked(int argc, char** argv) {
  Options options;
  CLI::App app("A balancer that is wrong on purpose; SIGHUP reloads. See harness/traffic/README.md",
               "lb_faulty");
  app.add_option("--listen", options.listen, "address")->required();
  app.add_option("--backends", options.backends, "ADDR[,ADDR..] or @FILE, read again at SIGHUP")->required();
  app.add_option("--tls-listen", options.tls_listen, "a second address, for TLS");
  app.add_option("--certificate", options.certificate, "PEM file, for --tls-listen");
  app.add_option("--key", options.key, "PEM file with its key");
  app.add_option("--control", options.control, "what is wrong with it");
  app.add_option("--window-ms", options.window_ms, "for so long after SIGHUP")
      ->check(CLI::Range(1.0, 60000.0));
  app.add_option("--time-limit", options.time_limit_s, "exits by itself after so many seconds")
      ->check(CLI::Range(0.001, 86400.0));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const auto fail = [](const std::string& message) {
    std::fprintf(stderr, "lb_faulty: %s\n", message.c_str());
    return 2;
  };
  const auto control = control_named(options.control);
  if (!control) return fail("no control '" + options.control + "'");
  raise_fd_limit();
  auto signals = signal_descriptor({SIGHUP});
  if (!signals) return fail(signals.error().message);
  auto loop = Loop::make();
  if (!loop) return fail(loop.error().message);
  auto backends = read_backends(options.backends);
  if (!backends) return fail(backends.error().message);
  auto address = parse_address(options.listen);
  if (!address) return fail(address.error().message);
  const auto balancer = std::make_unique<FaultyBalancer>(
      *loop, *control, static_cast<Nanos>(options.window_ms * static_cast<double>(kMilli)));
  balancer->set_backends(std::move(*backends));
  auto port = balancer->listen(*address);
  if (!port) return fail(port.error().message);
  std::uint16_t tls_port = 0;
  if (!options.tls_listen.empty()) {
    auto tls_address = parse_address(options.tls_listen);
    if (!tls_address) return fail(tls_address.error().message);
    auto listening = balancer->listen_tls(*tls_address, options.certificate, options.key);
    if (!listening) return fail(listening.error().message);
    tls_port = *listening;
  }
  return run(*loop, *balancer, options, signals->get(), *port, tls_port);
}

}  // namespace
}  // namespace lb::traffic

int main(int argc, char** argv) {
  try {
    return lb::traffic::main_checked(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lb_faulty: %s\n", error.what());
    return 2;
  }
}
