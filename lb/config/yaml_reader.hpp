// Reads YAML (1.2, core schema) into the same tree as JSON, so that everything after it, the meaning of keys,
// the ranges, the messages and their positions, is the same. Exercise 10.4 is to write it. Pure; any thread.
//
// What a configuration file may use of YAML, and what it may not:
//
//   plain, quoted and block scalars, block and flow collections, comments, a leading `---`     yes
//   true/false (True, TRUE), null (Null, NULL, ~, nothing), integers, reals                    as in JSON
//   no, yes, on, off, 12:30:00                                                                 texts
//   010, 0o10, 0x1F, 0b11, 1_000, +5, .5, 5., .inf, .nan, 1e999
//                        refused: readers of YAML differ about what they are, or JSON does not spell them so
//   duplicate keys       kept, as from JSON: the decoder reports them
//   anchors and aliases  yes, counted by what they expand to: values, bytes of texts and keys, levels of
//   nesting merge keys (<<), tags, several documents, tabs as indentation       refused keys that are no
//   texts (80, true, null, an alias, [a]; "80" is one) refused a file with nothing in it refused, as from
//   JSON
#pragma once

#include <expected>
#include <string_view>

#include "lb/config/config.hpp"
#include "lb/config/tree.hpp"

namespace lb {

/// The tree of `text`, each value and key at its position (1-based; a column counts code points):
/// - a scalar or collection where it begins: at its quote, its bracket, its `|`; a block array at the first
/// dash, a
///   block object at its first key; with an anchor, at the `&`;
/// - an alias's value where the alias stands, and so all of its parts, and the keys inside it;
/// - nothing (`key:` and no more) where its key stands, in an array (`- `) where the array begins.
/// A null's text is "null"; other scalars keep their spelling as in tree.hpp.
///
/// The first fault ends the reading. What is read but refused is "found WHAT, expected ...", WHAT as the file
/// spells it, at its position and with the JSON pointer of the value (for a key: of its object); a fault of
/// the syntax has the position and the pointer of where it was noticed. Limits as for JSON: kConfigBytesMax,
/// kConfigNestingMax, kConfigValuesMax, UTF-8 only; none costs more time or memory than a file of that size.
/// Throws NotImplemented where there is no reader, and nothing else.
std::expected<Node, ConfigError> read_yaml(std::string_view text);

}  // namespace lb
