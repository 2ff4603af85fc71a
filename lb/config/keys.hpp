// The one description of every key of the configuration: where it stands, type, range, unit, help, and which
// member of the model it fills. Decoding, range checks, `lb check --print`, the JSON Schema and the reference
// table all walk it. A new key is one entry in keys.cpp and one member in model.hpp; its default is the
// member's initialiser. Immutable, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lb/config/model.hpp"

namespace lb {

inline constexpr std::uint32_t kListenersMax = 256;
inline constexpr std::uint32_t kNetworksMax = 1024;
inline constexpr std::uint32_t kCertificatesMax = 1000;  // of a listener
inline constexpr std::uint32_t kResponseHeadersMax = 64;
inline constexpr std::uint32_t kResponseHeadersBytesMax =
    32 * 1024;  // all together, beside a backend's 64 KiB
inline constexpr std::uint32_t kHeaderNameBytesMax = 256;
inline constexpr std::uint32_t kHeaderValueBytesMax = 8192;

enum class KeyType : std::uint8_t {
  integer,
  number,
  boolean,
  seconds,          // decimal in the file, Milliseconds in the model
  choice,           // one of a few texts, an enumeration in the model
  text,             // without control characters; min and max are bytes
  bytes,            // a text in which control characters may stand
  host,             // an address or name to connect to
  unix_path,        // fills a whole Endpoint
  listen_port,      // a port on every IPv4 address, put before the other listeners
  listen_address,   // fills a whole Endpoint
  listen,           // one listening address, an object with one and options, or an array of these
  networks,         // an array of address ranges
  headers,          // an object of header fields
  object,           // with keys of its own, always there
  optional_object,  // the same, absent or null when off
  object_or_bool,   // the same; true for all defaults, false when off
  objects,          // an array of such
  ignored,          // accepted, not kept
};

/// An enumeration member, seen as the index of its name in KeySpec::choices.
struct Choice {
  void* member = nullptr;
  std::size_t (*get)(const void* member) = nullptr;
  void (*set)(void* member, std::size_t index) = nullptr;
};

/// The model's member that a key fills.
using Slot = std::variant<std::monostate, bool*, std::uint16_t*, std::uint32_t*, std::uint64_t*, double*,
                          Milliseconds*, std::string*, Choice, Endpoint*, std::vector<ListenerConfig>*,
                          std::vector<Network>*, std::vector<HeaderField>*>;

/// The model's objects behind a key of an object type: exactly one, at most one, or any number.
struct Children {
  std::size_t (*size)(const void* owner) = nullptr;
  void* (*at)(void* owner, std::size_t index) = nullptr;
  void* (*append)(void* owner) = nullptr;  // creates one; for a plain object gives the one there is
};

struct Section;

struct KeySpec {
  std::string_view name{};
  KeyType type = KeyType::text;
  bool required = false;
  double min = 0;  // of the value; of the length in bytes for a text, of the count for an array
  double max = 0;
  std::span<const std::string_view> choices{};
  std::string_view default_words{};  // when the model's initial value does not speak for itself
  std::string_view example{};        // JSON
  std::string_view help{};
  Slot (*slot)(void* owner) = nullptr;
  bool (*printed)(const void* owner) = nullptr;  // null: always
  const Section* section = nullptr;              // of an object type
  Children children{};
};

/// An object of the file: its keys in the order in which they are printed and documented.
struct Section {
  std::string_view pointer{};  // "/pool", "/backends/*", "" for the document
  std::span<const KeySpec> keys{};
  std::string_view schema_rule{};  // JSON Schema members for what the keys alone do not say
};

/// The document. Owners of its keys are Config objects.
const Section& config_section();
/// An element of /backends; owners are BackendConfig objects.
const Section& backend_section();
/// An element of /listen that is not just an address; owners are ListenerConfig objects.
const Section& listener_section();

const KeySpec* find_key(const Section& section, std::string_view name);

/// "an integer from 1 to 65535": the tail of "found X, expected ...".
std::string expected_text(const KeySpec& key);

/// What is wrong with the value in `slot` ("found 0, expected an integer from 1 to 65535"), or "". Objects
/// and listeners have no fault here: their own parts are checked instead.
std::string value_fault(const KeySpec& key, const Slot& slot);

/// What is wrong with a header field for response_headers, as "expected ...", or "".
std::string header_name_fault(std::string_view name);
std::string header_value_fault(std::string_view value);
bool same_header_name(std::string_view a, std::string_view b);  // letter case ignored

/// The slot's value as it would stand in the file. A listener without options is its address.
std::string value_json(const KeySpec& key, const Slot& slot);

/// One listener as it would stand in the file: the text of its address, or an object when it has options.
std::string listener_json(ListenerConfig& listener);

/// The value of a key of `owner` as it would stand in the file, on one line, whatever the key's type.
std::string key_json(const KeySpec& key, void* owner);

/// {"host": "127.0.0.1", "port": 9001}: every key that is printed.
std::string members_json(const Section& section, void* owner);

}  // namespace lb
