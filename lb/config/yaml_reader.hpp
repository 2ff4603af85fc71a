// Reads YAML (1.2, core schema) into the same tree as JSON, so that everything after it, the meaning of keys,
// the ranges, the messages and their positions, is the same. Exercise 10.4 is to write it. Pure; any thread.
//
// What a configuration file may use of YAML, and what it may not:
//
//   plain, quoted and block scalars, block and flow collections, comments, a leading `---`     yes
//   true/false (True, TRUE), null (Null, NULL, ~, nothing), integers, reals                    as in JSON
//   no, yes, on, off, 12:30:00                                                                 texts
//   010, 0o10, 0x1F, 1_000, .inf, .nan       refused: readers of YAML differ about what they are, or JSON has none
//   duplicate keys                           kept, as from JSON: the decoder reports them
//   anchors and aliases                      yes, counted by what they expand to (kConfigValuesMax)
//   merge keys (<<), tags, several documents, keys that are no plain texts, tabs as indentation    refused
#pragma once

#include <expected>
#include <string_view>

#include "lb/config/config.hpp"
#include "lb/config/tree.hpp"

namespace lb {

/// The tree of `text`, each value and key at its position (1-based; a column counts code points). An alias's value
/// stands where the alias stands, and so do its parts. Scalars keep their spelling as in tree.hpp. The first fault
/// ends the reading. Limits as for JSON: kConfigBytesMax, kConfigNestingMax, kConfigValuesMax, UTF-8 only. Throws
/// NotImplemented where there is none, and nothing else.
std::expected<Node, ConfigError> read_yaml(std::string_view text);

}  // namespace lb
