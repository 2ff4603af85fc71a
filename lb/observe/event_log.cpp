#include "lb/observe/event_log.hpp"

#include <fcntl.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <mutex>
#include <utility>

#include "lb/base/fd.hpp"
#include "lb/observe/escape.hpp"
#include "lb/observe/line_format.hpp"

namespace lb {
namespace {

Result<Fd> open_log(const std::string& path) {
  Fd fd{::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644)};
  if (!fd) return std::unexpected(system_error("open log", path, errno));
  return fd;
}

/// One write(2) a line. spdlog's own file sinks write through stdio, which may split a line.
class LineSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  /// An empty `fd` means standard error.
  explicit LineSink(Fd fd) : fd_(std::move(fd)) {}

  /// Waits for a line that is being written.
  void replace(Fd fd) {
    const std::lock_guard lock{mutex_};
    std::swap(fd_, fd);
    torn_ = false;
  }
  void count_failure() noexcept { failed_writes_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t failed_writes() const noexcept {
    return failed_writes_.load(std::memory_order_relaxed);
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    std::string_view line{message.payload.data(), message.payload.size()};
    // After a line that was written in part this one must not continue it.
    std::string with_newline;
    if (torn_) line = with_newline.append("\n").append(line);
    const int fd = fd_ ? fd_.get() : STDERR_FILENO;
    ssize_t written = 0;
    do {
      written = ::write(fd, line.data(), line.size());
    } while (written < 0 && errno == EINTR);
    if (written == static_cast<ssize_t>(line.size())) {
      torn_ = false;
      return;
    }
    if (written > 0) torn_ = true;
    count_failure();
  }
  void flush_() override {}

 private:
  Fd fd_;
  bool torn_ = false;
  std::atomic<std::uint64_t> failed_writes_{0};
};

constexpr std::size_t index_of(LogLevel level) noexcept {
  return static_cast<std::size_t>(level);
}
constexpr std::array<std::string_view, 4> kTextLevels{"debug", "info ", "warn ", "error"};
constexpr std::array<std::string_view, 4> kJsonLevels{"debug", "info", "warning", "error"};
constexpr std::array<std::string_view, 4> kColours{"\x1b[2m", "\x1b[32m", "\x1b[33m", "\x1b[1;31m"};
constexpr std::string_view kPlain = "\x1b[0m";
constexpr std::array<spdlog::level::level_enum, 4> kSpdlogLevels{spdlog::level::debug, spdlog::level::info,
                                                                 spdlog::level::warn, spdlog::level::err};

/// `text`, or its beginning when it is too long: cut between characters where it is UTF-8.
struct Clipped {
  explicit Clipped(std::string_view whole) : text(whole) {
    if (whole.size() <= kLogValueBytesMax) return;
    text = whole.substr(0, kLogValueBytesMax);
    for (std::size_t back = 1; back <= 3; ++back) {
      const std::size_t start = text.size() - back;
      const auto byte = static_cast<unsigned char>(text[start]);
      if ((byte & 0xc0U) == 0x80U) continue;
      const std::size_t length = utf8_sequence_length(whole.substr(start));
      if (length > back) text = text.substr(0, start);
      break;
    }
    cut = true;
  }
  std::string_view text;
  bool cut = false;
};

void append_json_value(std::string& out, std::string_view value) {
  const Clipped clipped{value};
  out.push_back('"');
  append_json_escaped(out, clipped.text);
  out.append(clipped.cut ? "...\"" : "\"");
}

void append_json_key(std::string& out, std::string_view key) {
  out.append(",\"");
  append_json_escaped(out, key);
  out.append("\":");
}

void append_text_value(std::string& out, std::string_view value) {
  const Clipped clipped{value};
  const bool quoted = value.empty() || clipped.cut || value.find_first_of(" =\"\\") != std::string_view::npos;
  if (!quoted) return append_text_escaped(out, value, TextContext::word);
  out.push_back('"');
  append_text_escaped(out, clipped.text, TextContext::quoted);
  out.append(clipped.cut ? "...\"" : "\"");
}

void append_bool(std::string& out, bool value) {
  out.append(value ? "true" : "false");
}

struct TextValue {
  std::string& out;
  void operator()(std::string_view value) const { append_text_value(out, value); }
  void operator()(std::int64_t value) const { append_number(out, value); }
  void operator()(double value) const { append_number(out, value); }
  void operator()(bool value) const { append_bool(out, value); }
};

struct JsonValue {
  std::string& out;
  void operator()(std::string_view value) const { append_json_value(out, value); }
  void operator()(std::int64_t value) const { append_number(out, value); }
  void operator()(double value) const { append_number(out, value); }
  void operator()(bool value) const { append_bool(out, value); }
};

struct Event {
  LogLevel level;
  std::string_view name;
  std::string_view message;
  std::initializer_list<LogField> fields;
  std::int64_t unix_time_us;
};

std::string text_line(const EventLog::Options& options, const Event& event) {
  std::string out;
  append_time(out, event.unix_time_us, 3);
  out.push_back(' ');
  if (options.colour) out.append(kColours[index_of(event.level)]);
  out.append(kTextLevels[index_of(event.level)]);
  if (options.colour) out.append(kPlain);
  out.push_back(' ');
  if (options.generation != 0) {
    out.append("generation=");
    append_number(out, options.generation);
    out.push_back(' ');
  }
  append_text_escaped(out, event.name, TextContext::word);
  out.append(": ");
  const Clipped message{event.message};
  append_text_escaped(out, message.text, TextContext::message);
  if (message.cut) out.append("...");
  for (const LogField& field : event.fields) {
    out.push_back(' ');
    append_text_escaped(out, field.key, TextContext::word);
    out.push_back('=');
    std::visit(TextValue{out}, field.value);
  }
  out.push_back('\n');
  return out;
}

std::string json_line(const EventLog::Options& options, const Event& event) {
  std::string out = "{\"time\":\"";
  append_time(out, event.unix_time_us, 3);
  out.append("\",\"level\":\"").append(kJsonLevels[index_of(event.level)]).append("\"");
  append_json_key(out, "event");
  append_json_value(out, event.name);
  append_json_key(out, "role");
  append_json_value(out, options.role);
  append_json_key(out, "pid");
  append_number(out, ::getpid());
  if (options.generation != 0) {
    append_json_key(out, "generation");
    append_number(out, options.generation);
  }
  if (!options.config_hash.empty()) {
    append_json_key(out, "config");
    append_json_value(out, options.config_hash);
  }
  append_json_key(out, "message");
  append_json_value(out, event.message);
  for (const LogField& field : event.fields) {
    append_json_key(out, field.key);
    std::visit(JsonValue{out}, field.value);
  }
  out.append("}\n");
  return out;
}

std::int64_t system_time_us() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

}  // namespace

struct EventLog::Impl {
  Impl(Options options_, std::shared_ptr<LineSink> sink_)
      : options(std::move(options_)), sink(std::move(sink_)), logger(options.role, sink) {
    logger.set_level(kSpdlogLevels[index_of(options.level)]);
    // spdlog catches what a sink throws and would report it on standard error, once a second.
    logger.set_error_handler([counted = sink](const std::string&) { counted->count_failure(); });
  }

  Options options;
  std::shared_ptr<LineSink> sink;
  spdlog::logger logger;
};

EventLog::EventLog(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EventLog::~EventLog() = default;

Result<std::unique_ptr<EventLog>> EventLog::open(Options options) {
  Fd fd;
  if (!options.path.empty()) {
    Result<Fd> opened = open_log(options.path);
    if (!opened) return std::unexpected(std::move(opened.error()));
    fd = std::move(*opened);
  }
  if (!options.unix_time_us) options.unix_time_us = system_time_us;
  auto impl = std::make_unique<Impl>(std::move(options), std::make_shared<LineSink>(std::move(fd)));
  return std::unique_ptr<EventLog>{new EventLog{std::move(impl)}};
}

void EventLog::write(LogLevel level, std::string_view event, std::string_view message,
                     std::initializer_list<LogField> fields) noexcept {
  const spdlog::level::level_enum spdlog_level = kSpdlogLevels[index_of(level)];
  if (!impl_->logger.should_log(spdlog_level)) return;
  try {
    const Options& options = impl_->options;
    const Event record{level, event, message, fields, options.unix_time_us()};
    const std::string line =
        options.format == LogFormat::json ? json_line(options, record) : text_line(options, record);
    impl_->logger.log(spdlog_level, spdlog::string_view_t{line});
  } catch (...) {  // memory ran out
    impl_->sink->count_failure();
  }
}

std::uint64_t EventLog::failed_writes() const noexcept {
  return impl_->sink->failed_writes();
}

Result<void> EventLog::reopen() {
  if (impl_->options.path.empty()) return {};
  Result<Fd> opened = open_log(impl_->options.path);
  if (!opened) return std::unexpected(std::move(opened.error()));
  impl_->sink->replace(std::move(*opened));
  return {};
}

}  // namespace lb
