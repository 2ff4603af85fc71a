// What differs between two configurations, in words an operator would use: by identity (a backend's name, a
// listener's address, a header's name), never by position, on effective values, so that a default written out is
// no change. Exercise 10.2 is to write it. Pure; any thread.
//
//   change                              kind     path                     before, after          words
//   a backend is new                    added    /backends/b3             "", {...}              backend b3 added: 127.0.0.1:9003, weight 2
//   a backend is gone                   removed  /backends/b2             {...}, ""              backend b2 removed: 127.0.0.1:9002, weight 2
//   one key of a backend                changed  /backends/b1/weight      3, 5                   backend b1: weight 3 -> 5
//   the address of a backend            changed  /backends/b1/address     "127.0.0.1:1", "..."   backend b1: address 127.0.0.1:1 -> 127.0.0.1:2
//   a listener                          added    /listen/0.0.0.0:81       "", "0.0.0.0:81"       listener 0.0.0.0:81 added
//   a key of a section, or of the file  changed  /timeouts/idle           60, 30                 timeouts.idle: 60 -> 30
//   an optional section                 added    /rate_limit              "", {...}              rate_limit added: per_ip 100, burst 20
//   a header field                      changed  /response_headers/Server "a", "b"               response_headers.Server: "a" -> "b"
//
// before and after are JSON; path is a JSON pointer (RFC 6901: ~ is ~0, / is ~1) with identities in place of
// positions. In words a text stands without quotes where it is a name or an address, with them elsewhere.
// A secret (is_secret_header) is shown as "(secret)" everywhere, also where it changed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lb/config/config.hpp"

namespace lb {

struct ConfigChange {
  enum class Kind : std::uint8_t { added, removed, changed };
  Kind kind = Kind::changed;
  std::string path{};
  std::string before{};  // JSON; empty when added
  std::string after{};   // JSON; empty when removed
  std::string words{};   // one line, no control characters (shown_text of wording.hpp)
  friend bool operator==(const ConfigChange&, const ConfigChange&) = default;
};

/// In the order of the key table (keys.cpp); within a list what is removed, then changed, then added, each in the
/// order of the list it stands in. Empty: nothing differs. Throws NotImplemented where there is none.
std::vector<ConfigChange> config_diff(const Config& before, const Config& after);

/// Whether a header field's value must not be shown: Authorization, Proxy-Authorization, Cookie, Set-Cookie, and
/// names that contain "secret", "token", "password" or "api-key", letter case ignored.
bool is_secret_header(std::string_view name);

/// One line a change: "+ ", "- " or "~ " and its words.
std::string change_line(const ConfigChange& change);

/// A JSON array of {"kind", "path", "before", "after", "words"}, before and after as JSON values or null.
std::string changes_json(const std::vector<ConfigChange>& changes);

}  // namespace lb
