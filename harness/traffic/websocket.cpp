#include "harness/traffic/websocket.hpp"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "lb/base/random.hpp"

namespace lb::traffic {
namespace {

std::string base64(const unsigned char* bytes, std::size_t size) {
  std::string out((size + 2) / 3 * 4 + 1, '\0');
  const int n = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes, static_cast<int>(size));
  out.resize(static_cast<std::size_t>(n));
  return out;
}

}  // namespace

std::string websocket_key(std::uint64_t seed) {
  unsigned char bytes[16];
  for (int i = 0; i < 16; ++i) {
    bytes[i] = static_cast<unsigned char>(mix64(seed + static_cast<std::uint64_t>(i / 8)) >> (i % 8 * 8));
  }
  return base64(bytes, sizeof bytes);
}

std::string websocket_accept(std::string_view key) {
  const std::string text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  unsigned char digest[SHA_DIGEST_LENGTH];
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  return base64(digest, sizeof digest);
}

void append_frame(std::string& out, const FrameOut& frame, std::string_view payload) {
  out += static_cast<char>((frame.final ? 0x80U : 0U) | static_cast<unsigned>(frame.opcode));
  const unsigned mask_bit = frame.masked ? 0x80U : 0U;
  const std::size_t size = payload.size();
  int length_bytes = 0;
  if (size < 126) {
    out += static_cast<char>(mask_bit | size);
  } else if (size < 65536) {
    out += static_cast<char>(mask_bit | 126U);
    length_bytes = 2;
  } else {
    out += static_cast<char>(mask_bit | 127U);
    length_bytes = 8;
  }
  for (int i = length_bytes - 1; i >= 0; --i)
    out += static_cast<char>(static_cast<std::uint64_t>(size) >> (8 * i));
  if (!frame.masked) {
    out += payload;
    return;
  }
  unsigned char mask[4];
  for (int i = 0; i < 4; ++i) {
    mask[i] = static_cast<unsigned char>(frame.mask >> (8 * i));
    out += static_cast<char>(mask[i]);
  }
  const std::size_t start = out.size();
  out += payload;
  for (std::size_t i = 0; i < size; ++i) out[start + i] = static_cast<char>(out[start + i] ^ mask[i % 4]);
}

bool FrameReader::take_head(std::string_view& bytes) {
  while (!bytes.empty()) {
    head_[head_size_++] = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    if (head_size_ < 2) continue;
    const unsigned length = head_[1] & 0x7fU;
    const bool has_mask = (head_[1] & 0x80U) != 0;
    const std::size_t needed = 2U + (length == 126 ? 2U : length == 127 ? 8U : 0U) + (has_mask ? 4U : 0U);
    if (head_size_ < needed) continue;
    if (!parse_head()) return false;
    head_size_ = 0;
    in_payload_ = true;
    return true;
  }
  return true;
}

bool FrameReader::parse_head() {
  const bool final = (head_[0] & 0x80U) != 0;
  const unsigned code = head_[0] & 0x0fU;
  const unsigned length = head_[1] & 0x7fU;
  if ((head_[0] & 0x70U) != 0) return false;               // 5.2: no extension was negotiated
  if (((head_[1] & 0x80U) != 0) != masked_) return false;  // 5.1
  if (code > 10 || (code > 2 && code < 8)) return false;   // 5.2: reserved
  std::size_t at = 2;
  left_ = length;
  if (length >= 126) {
    const std::size_t end = length == 126 ? 4 : 10;
    for (left_ = 0; at < end; ++at) left_ = (left_ << 8U) | head_[at];
    if (left_ < (length == 126 ? 126U : 65536U)) return false;  // 5.2: the shortest form
  }
  if (left_ > kPayloadMax) return false;
  opcode_ = static_cast<Opcode>(code);
  if (is_control()) {
    control_.clear();
    if (!final || left_ > kControlMax) return false;  // 5.5
  } else {
    if ((opcode_ == Opcode::continuation) != in_message_) return false;  // 5.4
    in_message_ = !final;
  }
  mask_ = {};
  for (std::size_t i = 0; masked_ && i < 4; ++i) mask_[i] = head_[at + i];
  mask_at_ = 0;
  return true;
}

void FrameReader::unmask() noexcept {
  if (!masked_) return;
  for (char& c : piece_) c = static_cast<char>(c ^ mask_[mask_at_++ % 4]);
}

}  // namespace lb::traffic
