// The operational log: one line an event, for people (text) or machines (JSON lines), each with a stable
// `event` name, the generation and the configuration's hash. Control plane only, never per request.
// Thread-safe. spdlog carries the lines; a line is one write(2), so that processes sharing a file do not mix.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "lb/base/result.hpp"

namespace lb {

enum class LogFormat : std::uint8_t { text, json };
enum class LogLevel : std::uint8_t { debug, info, warning, error };

inline constexpr std::size_t kLogValueBytesMax = 8192;

struct LogField {
  std::string_view key;
  std::variant<std::string_view, std::int64_t, double, bool> value;
};

class EventLog final {
 public:
  struct Options {
    LogFormat format = LogFormat::text;
    LogLevel level = LogLevel::info;
    std::string path;                                 // empty: standard error
    std::string role = "lb";                          // "supervisor", "generation"
    std::uint64_t generation = 0;                     // 0: not part of a generation, the field is left out
    std::string config_hash;                          // empty: left out
    bool colour = false;                              // text only; the caller has checked isatty and NO_COLOR
    std::function<std::int64_t()> unix_time_us = {};  // the clock; empty: the system's. Must not throw
  };
  static Result<std::unique_ptr<EventLog>> open(Options options);
  ~EventLog();

  /// `event` is stable and dotted ("reload.applied"); `message` is for people. Text:
  ///   2026-11-23T10:00:00.123Z info  generation=3 reload.applied: message key=value ...
  /// Levels are debug, info, warn and error. A value with spaces, quotes or = is quoted. JSON:
  ///   {"time":..., "level":..., "event":..., "role":..., "pid":..., "generation":..., "config":...,
  ///    "message":..., fields}
  /// in this order, without spaces; levels are debug, info, warning and error; a number that is not finite is
  /// null. Control characters and what is not UTF-8 are escaped in both. A message or value longer than
  /// kLogValueBytesMax is cut and ends in "...".
  ///
  /// A failed write is counted, never fatal; the next line that can be written starts on a line of its own.
  /// The process must ignore SIGPIPE when `path` is empty and standard error may be a closed pipe.
  void write(LogLevel level, std::string_view event, std::string_view message,
             std::initializer_list<LogField> fields = {}) noexcept;
  void info(std::string_view event, std::string_view message,
            std::initializer_list<LogField> fields = {}) noexcept {
    write(LogLevel::info, event, message, fields);
  }
  void warn(std::string_view event, std::string_view message,
            std::initializer_list<LogField> fields = {}) noexcept {
    write(LogLevel::warning, event, message, fields);
  }
  void error(std::string_view event, std::string_view message,
             std::initializer_list<LogField> fields = {}) noexcept {
    write(LogLevel::error, event, message, fields);
  }

  /// Lines lost, in whole or in part, because writing failed (disk full, closed pipe) or memory ran out.
  [[nodiscard]] std::uint64_t failed_writes() const noexcept;

  /// SIGUSR1: opens `path` again (after a rotation). On failure the old file is kept and the error returned.
  Result<void> reopen();

 private:
  struct Impl;
  explicit EventLog(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lb
