// What keys.hpp says about values: their ranges in words, their faults, their JSON.
#include <algorithm>
#include <cmath>
#include <limits>

#include "lb/base/overloaded.hpp"
#include "lb/config/address.hpp"
#include "lb/config/keys.hpp"
#include "lb/config/wording.hpp"

namespace lb {
namespace {

/// Lengths and counts are kept as double beside the ranges of numbers.
std::size_t as_size(double value) {
  return static_cast<std::size_t>(value);
}

std::string range_text(std::string_view what, const KeySpec& key) {
  // Plain digits also for round numbers, where the shortest text would be 1e+06.
  const auto plain = [](double value) {
    return value == std::floor(value) ? std::to_string(static_cast<std::int64_t>(value)) : number_text(value);
  };
  return std::string{what} + " from " + plain(key.min) + " to " + plain(key.max);
}

std::string length_text(const KeySpec& key) {
  const std::string most = std::to_string(as_size(key.max)) + " bytes";
  return key.min == 0 ? "a text of at most " + most
                      : "a text of " + std::to_string(as_size(key.min)) + " to " + most;
}

std::string choices_text(std::span<const std::string_view> choices) {
  std::string text;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (i > 0) text += i + 1 == choices.size() ? " or " : ", ";
    text += json_string(choices[i]);
  }
  return text;
}

std::string fault_of_number(const KeySpec& key, double value, const std::string& shown) {
  const bool good = std::isfinite(value) && value >= key.min && value <= key.max;
  return good ? "" : "found " + shown + ", expected " + expected_text(key);
}

std::string fault_of_string(const KeySpec& key, const std::string& value) {
  const auto report = [&](const Expected& expected) {
    return "found " + shown_text(value) + ", expected " + expected;
  };
  if (key.type == KeyType::host) {
    const auto host = parse_host(value);
    return host ? "" : report(host.error());
  }
  const bool control = key.type != KeyType::bytes && std::ranges::any_of(value, [](char c) {
                         return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
                       });
  if (value.size() > as_size(key.max)) {
    return "found a text of " + grouped(value.size()) + " bytes, expected " + expected_text(key);
  }
  return value.size() < as_size(key.min) || control ? report(expected_text(key)) : "";
}

std::string fault_of_headers(const std::vector<HeaderField>& fields) {
  for (const HeaderField& field : fields) {
    if (auto expected = header_name_fault(field.name); !expected.empty()) {
      return "found the header name " + shown_text(field.name) + ", " + expected;
    }
    if (auto expected = header_value_fault(field.value); !expected.empty()) {
      return "found " + shown_text(field.value) + " for " + shown_text(field.name) + ", " + expected;
    }
  }
  if (fields.size() <= kResponseHeadersMax) return {};
  return "found " + std::to_string(fields.size()) + " header fields, expected at most " +
         std::to_string(kResponseHeadersMax);
}

/// A fault of an Endpoint that was built in code: one that no file could have given.
std::string fault_of_endpoint(const KeySpec& key, const Endpoint& endpoint) {
  if (key.type == KeyType::listen_address) {
    const auto parsed = parse_listen_address(endpoint.text());
    if (!parsed) return "found " + shown_text(endpoint.text()) + ", expected " + parsed.error();
  }
  if (!endpoint.unix_socket) return {};
  const auto path = parse_unix_path(endpoint.host);
  if (!path) return "found " + shown_text(endpoint.host) + ", expected " + path.error();
  return endpoint.port == 0
             ? ""
             : "found port " + std::to_string(endpoint.port) + ", expected none on a Unix socket";
}

std::string headers_json(const std::vector<HeaderField>& fields) {
  std::string out = "{";
  for (const HeaderField& field : fields) {
    if (out.size() > 1) out += ", ";
    append_json_string(out, field.name);
    out += ": ";
    append_json_string(out, field.value);
  }
  return out + "}";
}

std::string listeners_json(std::vector<ListenerConfig>& listeners) {
  std::string out = "[";
  for (ListenerConfig& listener : listeners) {
    if (out.size() > 1) out += ", ";
    out += listener_json(listener);
  }
  return out + "]";
}

std::string networks_json(const std::vector<Network>& networks) {
  std::string out = "[";
  for (const Network& network : networks) out += (out.size() > 1 ? ", " : "") + json_string(network.text());
  return out + "]";
}

char lower_case(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_token_character(char c) {
  static constexpr std::string_view kSymbols = "!#$%&'*+-.^_`|~";
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || kSymbols.contains(c);
}

}  // namespace

std::string expected_text(const KeySpec& key) {
  switch (key.type) {
    case KeyType::integer:
    case KeyType::listen_port:
      return range_text("an integer", key);
    case KeyType::number:
      return range_text("a number", key);
    case KeyType::boolean:
      return "true or false";
    case KeyType::seconds:
      return range_text("a number of seconds", key);
    case KeyType::choice:
      return choices_text(key.choices);
    case KeyType::text:
      return length_text(key) + ", without control characters";
    case KeyType::bytes:
      return length_text(key);
    case KeyType::host:
      return "a host: an IPv4 or IPv6 address, or a DNS name";
    case KeyType::unix_path:
      return "an absolute path of a socket, at most " + std::to_string(kUnixPathBytesMax) + " bytes";
    case KeyType::listen_address:
      return "an address such as \"0.0.0.0:8080\"";
    case KeyType::listen:
      return "an address such as \"0.0.0.0:8080\", an object with one, or an array of these";
    case KeyType::networks:
      return "an array of networks such as \"10.0.0.0/8\"";
    case KeyType::headers:
      return "an object of header names and texts";
    case KeyType::object:
      return "an object";
    case KeyType::optional_object:
      return "an object or null";
    case KeyType::object_or_bool:
      return "an object, true, false or null";
    case KeyType::objects:
      return "an array of objects";
    case KeyType::ignored:
      return "a text";
  }
  return {};
}

std::string value_fault(const KeySpec& key, const Slot& slot) {
  return std::visit(
      Overloaded{
          [](std::monostate) { return std::string{}; },
          [](const bool*) { return std::string{}; },
          [&](const std::uint16_t* value) { return fault_of_number(key, *value, std::to_string(*value)); },
          [&](const std::uint32_t* value) { return fault_of_number(key, *value, std::to_string(*value)); },
          [&](const std::uint64_t* value) {
            return fault_of_number(key, static_cast<double>(*value), std::to_string(*value));
          },
          [&](const double* value) {
            return fault_of_number(key, *value,
                                   std::isfinite(*value) ? number_text(*value) : "no finite number");
          },
          [&](const Milliseconds* value) {
            return fault_of_number(key, static_cast<double>(value->count()) / 1000, seconds_text(*value));
          },
          [&](const std::string* value) { return fault_of_string(key, *value); },
          [&](const Choice& choice) {
            const std::size_t index = choice.get(choice.member);
            return index < key.choices.size() ? "" : "found no known value, expected " + expected_text(key);
          },
          [&](const Endpoint* value) { return fault_of_endpoint(key, *value); },
          [](const std::vector<ListenerConfig>*) { return std::string{}; },
          [](const std::vector<Network>*) { return std::string{}; },
          [](const std::vector<HeaderField>* value) { return fault_of_headers(*value); },
      },
      slot);
}

std::string value_json(const KeySpec& key, const Slot& slot) {
  return std::visit(Overloaded{
                        [](std::monostate) { return std::string{"null"}; },
                        [](const bool* value) { return std::string{*value ? "true" : "false"}; },
                        [](const std::uint16_t* value) { return std::to_string(*value); },
                        [](const std::uint32_t* value) { return std::to_string(*value); },
                        [](const std::uint64_t* value) { return std::to_string(*value); },
                        [](const double* value) { return number_text(*value); },
                        [](const Milliseconds* value) { return seconds_text(*value); },
                        [](const std::string* value) { return json_string(*value); },
                        [&](const Choice& choice) {
                          const std::size_t index = choice.get(choice.member);
                          return index < key.choices.size() ? json_string(key.choices[index]) : "null";
                        },
                        [&](const Endpoint* value) {
                          return json_string(key.type == KeyType::unix_path ? value->host : value->text());
                        },
                        [](std::vector<ListenerConfig>* value) { return listeners_json(*value); },
                        [](const std::vector<Network>* value) { return networks_json(*value); },
                        [](const std::vector<HeaderField>* value) { return headers_json(*value); },
                    },
                    slot);
}

std::string key_json(const KeySpec& key, void* owner) {
  if (key.section == nullptr || key.type == KeyType::listen) return value_json(key, key.slot(owner));
  const std::size_t count = key.children.size(owner);
  if (key.type != KeyType::objects) {
    return count == 0 ? "null" : members_json(*key.section, key.children.at(owner, 0));
  }
  std::string out = "[";
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0) out += ", ";
    out += members_json(*key.section, key.children.at(owner, i));
  }
  return out + "]";
}

std::string members_json(const Section& section, void* owner) {
  std::string out = "{";
  for (const KeySpec& key : section.keys) {
    if (key.printed != nullptr && !key.printed(owner)) continue;
    if (out.size() > 1) out += ", ";
    append_json_string(out, key.name);
    out += ": " + key_json(key, owner);
  }
  return out + "}";
}

std::string listener_json(ListenerConfig& listener) {
  const bool plain = listener == ListenerConfig{{static_cast<const Endpoint&>(listener)}};
  return plain ? json_string(listener.text()) : members_json(listener_section(), &listener);
}

/// RFC 9110 section 5.6.2 for the token. The refused names are those by which one hop frames its messages and
/// manages its connection (RFC 9112, RFC 9110 section 7.6.1): the balancer writes these itself.
std::string header_name_fault(std::string_view name) {
  static constexpr std::string_view kOwn[] = {
      "connection", "content-length", "keep-alive",        "proxy-connection",
      "te",         "trailer",        "transfer-encoding", "upgrade"};
  const bool token =
      !name.empty() && name.size() <= kHeaderNameBytesMax && std::ranges::all_of(name, is_token_character);
  if (!token) {
    return "expected 1 to " + std::to_string(kHeaderNameBytesMax) +
           " letters, digits or any of !#$%&'*+-.^_`|~";
  }
  const bool own =
      std::ranges::any_of(kOwn, [&](std::string_view reserved) { return same_header_name(reserved, name); });
  if (!own) return {};
  return "expected another; the balancer writes this one itself";
}

bool same_header_name(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, {}, lower_case, lower_case);
}

/// RFC 9110 section 5.5.
std::string header_value_fault(std::string_view value) {
  if (value.size() > kHeaderValueBytesMax) {
    return "expected at most " + std::to_string(kHeaderValueBytesMax) + " bytes";
  }
  const auto is_control = [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
  };
  if (std::ranges::any_of(value, is_control)) return "expected a text without control characters";
  const auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  if (!value.empty() && (is_blank(value.front()) || is_blank(value.back()))) {
    return "expected a text without blanks at its ends";
  }
  return {};
}

}  // namespace lb
