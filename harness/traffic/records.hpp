// What each side writes down: one fixed-size record a request, kept in memory and written to a ledger file at
// the end. The layout is part of the interface (README.md) and read by other programs. One thread.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lb/base/result.hpp"

namespace lb::traffic {

static_assert(std::endian::native == std::endian::little, "ledger files are little endian");

inline constexpr std::uint16_t kNone16 = 0xffff;

enum BackendFlag : std::uint8_t {
  kBackendComplete = 1,
  kBackendBodyWrong = 2,
  kBackendBodyComplete = 4,
  kBackendUpgrade = 8,
  kBackendFaultScripted = 16,
  kBackendNotIdempotent = 32,
  kBackendSomeSent = 64,
  kBackendHung = 128,
};

struct BackendRecord {
  static constexpr std::string_view kMagic = "LBBACK01";
  std::uint64_t nonce = 0;
  std::uint64_t t_begin = 0;
  std::uint64_t t_end = 0;
  std::uint32_t connection = 0;
  std::uint32_t bytes_in = 0;
  std::uint32_t bytes_out = 0;
  std::uint16_t backend = 0;
  std::uint16_t status = 0;
  std::uint8_t flags = 0;
  std::uint8_t reserved[7] = {};
};
static_assert(sizeof(BackendRecord) == 48);

enum TrafficFlag : std::uint8_t {
  kTrafficSaidClose = 1,
  kTrafficKeptAlive = 2,
  kTrafficHadBody = 4,
  kTrafficNotIdempotent = 8,
  kTrafficTunneled = 16,
  kTrafficTls = 32,
  kTrafficResumed = 64,
};

struct TrafficRecord {
  static constexpr std::string_view kMagic = "LBTRAF01";
  std::uint64_t nonce = 0;
  std::uint64_t t_due = 0;
  std::uint64_t t_connect_begin = 0;
  std::uint64_t t_connected = 0;
  std::uint64_t t_send = 0;
  std::uint64_t t_first_byte = 0;
  std::uint64_t t_end = 0;
  std::uint32_t connection = 0;
  std::uint32_t bytes = 0;
  std::uint16_t local_port = 0;
  std::uint16_t status = 0;
  std::uint16_t backend = kNone16;
  std::uint16_t label = kNone16;
  std::uint16_t request_on_connection = 0;
  std::uint8_t stream = 0;
  std::uint8_t outcome = 0;
  std::uint8_t phase = 0;
  std::uint8_t os_error = 0;
  std::uint8_t detail = 0;
  std::uint8_t flags = 0;
};
static_assert(sizeof(TrafficRecord) == 80);

template <class To>
To saturated(std::uint64_t value) noexcept {
  constexpr To kMax = static_cast<To>(~To{0});
  return value > kMax ? kMax : static_cast<To>(value);
}

/// Append-only records in blocks: no copying while growing, stable addresses.
template <class Record>
class RecordStore final {
 public:
  static constexpr std::size_t kFull = ~std::size_t{0};

  explicit RecordStore(std::size_t records_max) : records_max_(records_max) {}

  /// The record's index, or kFull.
  std::size_t append(const Record& record) {
    if (size_ >= records_max_) return kFull;
    if (size_ % kBlock == 0 && size_ / kBlock == blocks_.size()) {
      blocks_.push_back(std::make_unique_for_overwrite<Record[]>(kBlock));
    }
    blocks_[size_ / kBlock][size_ % kBlock] = record;
    return size_++;
  }
  [[nodiscard]] Record& operator[](std::size_t i) noexcept { return blocks_[i / kBlock][i % kBlock]; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool full() const noexcept { return size_ >= records_max_; }
  void clear() noexcept { size_ = 0; }

  /// The contiguous runs that make up the whole, in order: f(const Record*, count).
  template <class F>
  void for_each_run(F&& f) const {
    for (std::size_t first = 0; first < size_; first += kBlock) {
      f(blocks_[first / kBlock].get(), size_ - first < kBlock ? size_ - first : kBlock);
    }
  }

 private:
  static constexpr std::size_t kBlock = std::size_t{1} << 15U;
  std::size_t records_max_;
  std::size_t size_ = 0;
  std::vector<std::unique_ptr<Record[]>> blocks_;
};

/// Writes a whole ledger beside `path` and renames it over. `tables` is JSON.
template <class Record>
Result<void> write_ledger(const std::string& path, const RecordStore<Record>& records,
                          std::string_view tables, std::uint64_t seed);

/// A ledger file, mapped. `records` and `tables` live as long as the object.
template <class Record>
class LedgerFile final {
 public:
  static Result<LedgerFile> open(const std::string& path);
  LedgerFile(LedgerFile&& other) noexcept;
  LedgerFile& operator=(LedgerFile&&) = delete;
  LedgerFile(const LedgerFile&) = delete;
  LedgerFile& operator=(const LedgerFile&) = delete;
  ~LedgerFile();

  [[nodiscard]] const Record* begin() const noexcept { return records_; }
  [[nodiscard]] const Record* end() const noexcept { return records_ + count_; }
  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  [[nodiscard]] std::string_view tables() const noexcept { return tables_; }
  [[nodiscard]] std::uint64_t seed() const noexcept { return seed_; }

 private:
  LedgerFile() = default;
  void* map_ = nullptr;
  std::size_t map_bytes_ = 0;
  const Record* records_ = nullptr;
  std::size_t count_ = 0;
  std::string_view tables_;
  std::uint64_t seed_ = 0;
};

}  // namespace lb::traffic
