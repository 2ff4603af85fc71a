// A configuration file as read, before it means anything: values with their positions. The JSON reader makes
// it, another format may; decode.hpp turns it into a Config. A plain value, any thread. Scalars keep their
// spelling, so that an error can show what the file says.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lb {

/// 1-based; columns count code points.
struct Position {
  std::uint32_t line = 1;
  std::uint32_t column = 1;
  friend bool operator==(const Position&, const Position&) = default;
};

struct Node {
  enum class Kind : std::uint8_t { null, boolean, integer, real, text, array, object };
  Kind kind = Kind::null;
  Position at;      // of the value's first character
  Position key_at;  // of the key's, when this is a member of an object
  std::string key;
  std::string text;            // a text's content; any other scalar's spelling
  std::vector<Node> children;  // of an array, or an object's members in the order of the file, duplicates too
};

/// Where a value stands, as a list that grows towards the root; lives on the stack of the walk that made it.
struct Place {
  const Place* parent = nullptr;
  std::string_view key{};
  std::size_t index = 0;
  bool is_index = false;

  [[nodiscard]] Place member(std::string_view name) const { return {.parent = this, .key = name}; }
  [[nodiscard]] Place element(std::size_t i) const { return {.parent = this, .index = i, .is_index = true}; }
  /// RFC 6901 JSON pointer; "" for the document.
  [[nodiscard]] std::string pointer() const;
};

/// The position of the value at `pointer`, or of the nearest value around it that exists.
Position find_position(const Node& root, std::string_view pointer);

}  // namespace lb
