// The operational log: one line an event, for people (text) or machines (JSON lines), each with a stable
// `event` name, the generation and the configuration's hash. Control plane only, never per request.
// Thread-safe. spdlog carries the lines; a line is one write(2), so that processes sharing a file do not mix.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "lb/base/result.hpp"

namespace lb {

enum class LogFormat : std::uint8_t { text, json };
enum class LogLevel : std::uint8_t { debug, info, warning, error };

struct LogField {
  std::string_view key;
  std::variant<std::string_view, std::int64_t, double, bool> value;
};

class EventLog final {
 public:
  struct Options {
    LogFormat format = LogFormat::text;
    LogLevel level = LogLevel::info;
    std::string path;              // empty: standard error
    std::string role = "lb";       // "supervisor", "generation"
    std::uint64_t generation = 0;  // 0: not part of a generation, the field is left out
    std::string config_hash;       // empty: left out
    bool colour = false;           // text only; the caller has checked isatty and NO_COLOR
  };
  static Result<std::unique_ptr<EventLog>> open(Options options);
  ~EventLog();

  /// `event` is stable and dotted ("reload.applied"); `message` is for people. Text:
  ///   2026-11-23T10:00:00.123Z info  generation=3 reload.applied: message key=value ...
  /// JSON: {"time":..., "level":..., "event":..., "role":..., "pid":..., "generation":..., "config":..., "message":..., fields}
  /// Invalid UTF-8 and control characters in values are escaped. A failed write is counted, never fatal.
  void write(LogLevel level, std::string_view event, std::string_view message,
             std::initializer_list<LogField> fields = {}) noexcept;
  void info(std::string_view event, std::string_view message, std::initializer_list<LogField> fields = {}) noexcept {
    write(LogLevel::info, event, message, fields);
  }
  void warn(std::string_view event, std::string_view message, std::initializer_list<LogField> fields = {}) noexcept {
    write(LogLevel::warning, event, message, fields);
  }
  void error(std::string_view event, std::string_view message, std::initializer_list<LogField> fields = {}) noexcept {
    write(LogLevel::error, event, message, fields);
  }

  /// SIGUSR1: opens `path` again (after a rotation). On failure the old file is kept and the error returned.
  Result<void> reopen();

 private:
  struct Impl;
  explicit EventLog(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lb
