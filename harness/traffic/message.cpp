#include "harness/traffic/message.hpp"

#include <charconv>
#include <cstring>

namespace lb::traffic {
namespace {

char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool is_token(std::string_view text) noexcept {
  if (text.empty()) return false;
  for (const char c : text) {
    if (c <= ' ' || c == 127 || std::strchr("()<>@,;:\\\"/[]?={}", c) != nullptr) return false;
  }
  return true;
}

}  // namespace

bool same_name(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

bool list_has(std::string_view list, std::string_view token) noexcept {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    if (same_name(trimmed(list.substr(0, comma)), token)) return true;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return false;
}

void Head::reset() noexcept {
  first_ = second_ = upgrade_ = nonce_ = backend_ = label_ = body_ok_ = {};
  size_ = count_ = 0;
  length_.reset();
  status_ = 0;
  minor_ = 1;
  chunked_ = close_ = keep_alive_ = expect_continue_ = connection_upgrade_ = false;
}

Head::Parsed Head::parse_request(std::string_view bytes) noexcept {
  return parse(bytes, true);
}
Head::Parsed Head::parse_response(std::string_view bytes) noexcept {
  return parse(bytes, false);
}

Head::Parsed Head::parse(std::string_view bytes, bool request) noexcept {
  reset();
  const void* end = ::memmem(bytes.data(), bytes.size(), "\r\n\r\n", 4);
  if (end == nullptr) {
    if (bytes.size() > kBytesMax) return Parsed::bad;
    // Something that cannot become a head is named at once, not after a timeout.
    if (!request && !bytes.empty() &&
        std::string_view("HTTP/1.").substr(0, bytes.size()) != bytes.substr(0, 7)) {
      return Parsed::bad;
    }
    return Parsed::incomplete;
  }
  size_ = static_cast<std::size_t>(static_cast<const char*>(end) - bytes.data()) + 4;
  std::string_view rest = bytes.substr(0, size_ - 2);
  bool first = true;
  while (!rest.empty()) {
    const std::size_t cr = rest.find("\r\n");
    const std::string_view line = rest.substr(0, cr);
    rest.remove_prefix(cr + 2);
    const bool good = !first    ? parse_field(line)
                      : request ? parse_request_line(line)
                                : parse_status_line(line);
    if (!good) return Parsed::bad;
    first = false;
  }
  return chunked_ && length_ ? Parsed::bad : Parsed::done;
}

bool Head::parse_request_line(std::string_view line) noexcept {
  const std::size_t a = line.find(' ');
  const std::size_t b = line.rfind(' ');
  if (a == std::string_view::npos || b == a) return false;
  first_ = line.substr(0, a);
  second_ = line.substr(a + 1, b - a - 1);
  const std::string_view version = line.substr(b + 1);
  minor_ = version == "HTTP/1.1" ? 1 : 0;
  return is_token(first_) && !second_.empty() && (minor_ == 1 || version == "HTTP/1.0");
}

bool Head::parse_status_line(std::string_view line) noexcept {
  if (line.size() < 12 || !line.starts_with("HTTP/1.") || line[8] != ' ') return false;
  if (line[7] != '0' && line[7] != '1') return false;
  minor_ = line[7] - '0';
  if (line.size() > 12 && line[12] != ' ') return false;
  const auto [end, error] = std::from_chars(line.data() + 9, line.data() + 12, status_);
  return error == std::errc{} && end == line.data() + 12 && status_ >= 100 && status_ <= 599;
}

bool Head::parse_field(std::string_view line) noexcept {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || count_ == kFieldsMax) return false;
  const Field field{line.substr(0, colon), trimmed(line.substr(colon + 1))};
  if (!is_token(field.name)) return false;
  fields_[count_++] = field;
  return note(field);
}

bool Head::note(const Field& field) noexcept {
  const std::string_view name = field.name;
  const std::string_view value = field.value;
  switch (lower(name.front())) {
    case 'c':
      if (same_name(name, "content-length")) {
        std::uint64_t length = 0;
        const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), length);
        if (error != std::errc{} || end != value.data() + value.size()) return false;
        if (length_ && *length_ != length) return false;
        length_ = length;
      } else if (same_name(name, "connection")) {
        close_ = close_ || list_has(value, "close");
        keep_alive_ = keep_alive_ || list_has(value, "keep-alive");
        connection_upgrade_ = connection_upgrade_ || list_has(value, "upgrade");
      }
      break;
    case 't':
      if (same_name(name, "transfer-encoding")) {
        if (!same_name(value, "chunked")) return false;
        chunked_ = true;
      }
      break;
    case 'e':
      if (same_name(name, "expect")) expect_continue_ = same_name(value, "100-continue");
      break;
    case 'u':
      if (same_name(name, "upgrade")) upgrade_ = value;
      break;
    case 'x':
      if (same_name(name, "x-nonce")) nonce_ = value;
      if (same_name(name, "x-backend")) backend_ = value;
      if (same_name(name, "x-config")) label_ = value;
      if (same_name(name, "x-body-ok")) body_ok_ = value;
      break;
    default:
      break;
  }
  return true;
}

const Field* Head::find(std::string_view name) const noexcept {
  for (std::size_t i = 0; i < count_; ++i) {
    if (same_name(fields_[i].name, name)) return &fields_[i];
  }
  return nullptr;
}

void BodyReader::start(Framing framing, std::uint64_t length) noexcept {
  *this = BodyReader{};
  framing_ = framing;
  left_ = framing == Framing::length ? length : 0;
  done_ = framing == Framing::none || (framing == Framing::length && length == 0);
}

void BodyReader::start_request(const Head& head) noexcept {
  if (head.chunked()) return start(Framing::chunked);
  if (head.content_length()) return start(Framing::length, *head.content_length());
  start(Framing::none);
}

void BodyReader::start_response(const Head& head, bool to_head) noexcept {
  const int status = head.status();
  if (to_head || status == 204 || status == 304 || status < 200) return start(Framing::none);
  if (head.chunked()) return start(Framing::chunked);
  if (head.content_length()) return start(Framing::length, *head.content_length());
  start(Framing::until_close);
}

std::size_t BodyReader::run_bytes(std::size_t available) const noexcept {
  if (framing_ == Framing::until_close) return available;
  if (framing_ == Framing::chunked && step_ != Step::data) return 0;
  return left_ < available ? static_cast<std::size_t>(left_) : available;
}

void BodyReader::took(std::size_t n) noexcept {
  bytes_ += n;
  if (framing_ == Framing::until_close) return;
  left_ -= n;
  if (left_ > 0) return;
  if (framing_ == Framing::length) done_ = true;
  step_ = Step::data_cr;
}

void BodyReader::step(char c) noexcept {
  constexpr std::uint32_t kDigitsMax = 15;
  constexpr std::uint32_t kTrailerBytesMax = 16U << 10U;
  const auto expect = [&](char wanted, Step next) {
    bad_ = c != wanted;
    step_ = next;
  };
  switch (step_) {
    case Step::size: {
      const char l = lower(c);
      const int digit = l >= '0' && l <= '9' ? l - '0' : l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
      if (digit >= 0) {
        left_ = left_ * 16 + static_cast<std::uint64_t>(digit);
        bad_ = ++digits_ > kDigitsMax;
      } else {
        bad_ = digits_ == 0 || (c != '\r' && c != ';');
        step_ = c == '\r' ? Step::size_lf : Step::extension;
      }
      break;
    }
    case Step::extension:
      bad_ = c == '\n';
      if (c == '\r') step_ = Step::size_lf;
      break;
    case Step::size_lf:
      expect('\n', left_ == 0 ? Step::trailer : Step::data);
      digits_ = 0;
      trailer_line_empty_ = true;
      break;
    case Step::data:
      bad_ = true;  // not reached: runs of data never come here
      break;
    case Step::data_cr:
      expect('\r', Step::data_lf);
      break;
    case Step::data_lf:
      expect('\n', Step::size);
      break;
    case Step::trailer:
      bad_ = c == '\n' || ++trailer_bytes_ > kTrailerBytesMax;
      if (c == '\r') {
        step_ = Step::trailer_lf;
      } else {
        trailer_line_empty_ = false;
      }
      break;
    case Step::trailer_lf:
      expect('\n', Step::trailer);
      done_ = trailer_line_empty_ && !bad_;
      trailer_line_empty_ = true;
      break;
  }
}

}  // namespace lb::traffic
