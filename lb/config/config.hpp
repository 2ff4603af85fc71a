// Reading, checking and comparing configuration files. Pure but for reading the file itself. Any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lb/base/result.hpp"
#include "lb/config/model.hpp"

namespace lb {

inline constexpr std::size_t kConfigBytesMax = 64U << 20U;
inline constexpr std::uint32_t kConfigNestingMax = 32;
/// A file of many small values costs some 130 bytes of memory for two of text; this bounds it. Enough for
/// 100,000 backends with every key given.
inline constexpr std::uint32_t kConfigValuesMax = 2'000'000;
inline constexpr std::uint32_t kBackendsMax = 100'000;
inline constexpr std::uint32_t kConfigErrorsMax = 100;  // further ones are counted, not listed

/// One fault of a configuration, to be shown as "FILE:LINE:COLUMN: /json/path: message".
struct ConfigError {
  std::uint32_t line = 0;    // 1-based; 0 when there is no position (a Config built in code)
  std::uint32_t column = 0;  // 1-based, in code points; a tab is one, a byte order mark none
  std::string path{};        // JSON pointer, "" for the document
  std::string message{};     // what was found, what was expected, the nearest known key for a misspelt one
  friend bool operator==(const ConfigError&, const ConfigError&) = default;
};

struct ConfigErrors {
  enum class Kind : std::uint8_t { invalid, unreadable };  // unreadable: the file, not its content
  Kind kind = Kind::invalid;
  std::vector<ConfigError> errors{};  // in the order of the file; at least one
  std::uint64_t suppressed = 0;       // beyond kConfigErrorsMax
  /// One line an error, prefixed with `file`; the last says how many were suppressed. Lines are separated by
  /// '\n', none after the last. The document itself is shown as path "/"; control characters that the file
  /// put into a key are escaped, so that a hostile file cannot write to the operator's terminal.
  [[nodiscard]] std::string text(std::string_view file) const;
};

enum class ConfigFormat : std::uint8_t { json, yaml };

/// By the end of the file's name: ".yaml" and ".yml" in any letter case are YAML, everything else is JSON.
ConfigFormat config_format(std::string_view path);

/// What a ConfigCheck found; the position in the file is added by whoever asked.
struct ConfigFinding {
  std::string pointer{};
  std::string message{};
  bool warning = false;
};

/// A further look at a Config that is valid by itself: at files that it names, say, which this module does
/// not know how to read. `listen_pointers` as in RuleContext (rules.hpp).
using ConfigCheck =
    std::function<std::vector<ConfigFinding>(const Config&, std::span<const std::string> listen_pointers)>;

struct LoadedConfig {
  std::shared_ptr<const Config> config{};
  std::string text{};                        // the file's bytes as read
  std::uint64_t hash = 0;                    // of `text`; shown by hash_text()
  ConfigFormat format = ConfigFormat::json;  // what `text` is to be read as
  std::vector<ConfigError> warnings{};       // of the ConfigCheck
};

using ConfigResult = std::expected<LoadedConfig, ConfigErrors>;

/// Reads, parses (as config_format() says) and validates. All errors at once; those of `check` when there are
/// no others.
ConfigResult config_load(const std::string& path, const ConfigCheck& check = {});

/// The same from bytes already read. A build without a reader of YAML (lb/config/yaml_reader.hpp) says so
/// with Kind::unreadable.
ConfigResult config_parse(std::string_view text, ConfigFormat format = ConfigFormat::json,
                          const ConfigCheck& check = {});

/// The rules that hold between values (unique names, a sum of weights, ...), for a Config however made.
/// Empty: valid. config_load applies them too, with positions.
std::vector<ConfigError> config_validate(const Config& config);

/// The effective configuration, every key with its value, in the order of the key table; parses to an
/// equal Config.
std::string config_print(const Config& config);

/// JSON Schema (draft 2020-12) of the file, made from the key table.
std::string config_schema();

/// The reference table of every key (Markdown), made from the key table.
std::string config_reference();

/// Notices changes of one file's *content*: survives writes within one second, renames over it and symlink
/// swaps. Remembers the hash of what it saw last. One thread.
class ConfigWatchState {
 public:
  explicit ConfigWatchState(std::string path) : path_(std::move(path)) {}
  /// True when the content differs from that at the last call (the first call: from nothing, so true when
  /// readable). An unreadable file is an error and changes nothing.
  Result<bool> changed();

 private:
  std::string path_{};
  std::uint64_t hash_ = 0;
  bool seen_ = false;
};

/// The chapter's name: whether the file that `loaded` came from has other content now. A file that cannot be
/// read counts as unchanged. `path` is what config_load was given: a Config is a plain value and does not
/// remember where it came from.
bool config_changed(const std::string& path, const LoadedConfig& loaded);

/// Whether each backend answers a connection attempt: one text a backend, empty when it does, else why not.
/// Asked once for all backends, so that they can be tried side by side. Injected, because this module opens
/// no sockets; health/connectivity.hpp has the real one.
using ConnectivityProbe = std::function<std::vector<std::string>(std::span<const BackendConfig>)>;

struct ReloadCandidate {
  LoadedConfig loaded{};
  std::vector<std::string> warnings{};  // one a backend that does not answer; never a reason to fail
};

/// Load, validate, then test the backends with `probe`. The one-argument config_reload of
/// health/connectivity.hpp does this with real connections.
std::expected<ReloadCandidate, ConfigErrors> config_reload(const std::string& path,
                                                           const ConnectivityProbe& probe,
                                                           const ConfigCheck& check = {});

/// "FILE:LINE:COLUMN: /json/path: message", as ConfigErrors::text() writes an error.
std::string config_error_line(std::string_view file, const ConfigError& error);

}  // namespace lb
