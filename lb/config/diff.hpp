// What differs between two configurations, in words an operator would use: by identity, never by position, on
// effective values, so that a default written out is no change. Exercise 10.2 is to write config_diff; the
// rest is in diff.cpp beside this. Pure; any thread.
//
//     path                     before, after          words
//   + /backends/b3             "", {...}              backend b3 added: 127.0.0.1:9003, weight 2
//   - /backends/b2             {...}, ""              backend b2 removed: 10.0.0.1:1, weight 1
//   ~ /backends/b1/weight      3, 5                   backend b1: weight 3 -> 5
//   ~ /backends/b1/address     "10.0.0.1:1", "..."    backend b1: address 10.0.0.1:1 -> unix:/run/b1.sock
//   + /listen/0.0.0.0:81       "", "0.0.0.0:81"       listener 0.0.0.0:81 added
//   - /listen/unix:~1run~1x    "unix:/run/x", ""      listener unix:/run/x removed
//   ~ /listen/0.0.0.0:81/mode  "http", "tcp"          listener 0.0.0.0:81: mode http -> tcp
//   + /listen/0.0.0.0:82       "", {...}              listener 0.0.0.0:82 added: mode tcp
//   ~ /drain_timeout           30, 0.25               drain_timeout: 30 -> 0.25
//   ~ /timeouts/idle           60, 30                 timeouts.idle: 60 -> 30
//   + /rate_limit              "", {...}              rate_limit added: per_ip 100, burst 20
//   - /rate_limit              {...}, ""              rate_limit removed: per_ip 100, burst 20
//   ~ /rate_limit/burst        20, 30                 rate_limit.burst: 20 -> 30
//   ~ /algorithm               "random", "ip_hash"    algorithm: random -> ip_hash
//   ~ /pid_file                "", "/run/lb.pid"      pid_file: none -> "/run/lb.pid"
//   + /response_headers/X-A    "", "1"                response_headers.X-A added: "1"
//   - /response_headers/X-A    "1", ""                response_headers.X-A removed: "1"
//   ~ /response_headers/X-A    "1", "2"               response_headers.X-A: "1" -> "2"
//   ~ /response_headers/Cookie "(secret)", "(secret)" response_headers.Cookie: (secret) -> (secret)
//
// Kind (+ added, - removed, ~ changed), then the members; in the columns an empty text, no JSON, is "".
//
// Identity. A backend is its name: where the file gives none that is its address, so a nameless backend that
// moves to another port is one removed and one added. A listener is its address (Endpoint::text()), a header
// field its name with letter case ignored: another spelling of the name alone is no change.
//
// before and after are JSON of any spelling, or the empty text where there was nothing. A backend or
// section is the object with every key as `lb check --print` shows it; a listener is its address when it has
// no option that differs from its default. path is a JSON pointer (RFC 6901: ~ is
// ~0, / is ~1) with identities in place of positions; a header field that changed stands under its new
// spelling.
//
// words. Names, addresses and choices stand bare (bare_words), other texts as shown_text (wording.hpp) shows
// them: quoted, escaped, cut after 60 characters; numbers as decimals without exponent (number_words),
// seconds as numbers; 0 is 0, true is true, an empty text of a key is none, an empty header value is "". A
// new or lost backend shows its address and weight, and its other keys where they differ from their defaults
// (", weight 1, max_connections 9"), a listener those of its options that differ; a section shows every key.
// An option of a listener that is an object, or off, stands as JSON.
//
// A secret, the value of a header field that is_secret_header, is nowhere: it is "(secret)" in before and
// after and (secret) in words, also where it changed.
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
  std::string words{};   // one line, without control characters
  friend bool operator==(const ConfigChange&, const ConfigChange&) = default;
};

/// The changes that make `after` of `before`, both valid (config_validate). In the order of the key table
/// (keys.cpp); within a list what is removed, in the order of `before`, then what has changed, then what is
/// added, both in the order of `after`; the keys of one backend in the order of the table, its address first.
/// Empty: nothing differs. Linear in the size of both: 100,000 backends take well under a second. Throws
/// NotImplemented where there is none.
std::vector<ConfigChange> config_diff(const Config& before, const Config& after);

/// Whether a header field's value must not be shown: Authorization, Proxy-Authorization, Cookie, Set-Cookie,
/// and names that contain "secret", "token", "password" or "api-key", letter case ignored.
bool is_secret_header(std::string_view name);

/// A name or an address as words show it: whole and without quotes, control characters escaped.
std::string bare_words(std::string_view text);

/// A number as words show it: the shortest decimal that reads back, never with an exponent (100000, 0.25).
std::string number_words(double value);

/// One line a change: "+ ", "- " or "~ " and its words.
std::string change_line(const ConfigChange& change);

/// A JSON array of {"kind", "path", "before", "after", "words"}, before and after as JSON values or null.
/// Control characters are escaped, whatever the changes hold.
std::string changes_json(const std::vector<ConfigChange>& changes);

}  // namespace lb
