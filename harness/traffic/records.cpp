#include "harness/traffic/records.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "lb/base/fd.hpp"

namespace lb::traffic {
namespace {

struct FileHeader {
  char magic[8] = {};
  std::uint32_t record_bytes = 0;
  std::uint32_t header_bytes = 0;
  std::uint64_t records = 0;
  std::uint64_t tables_offset = 0;
  std::uint64_t seed = 0;
  std::uint64_t reserved[3] = {};
};
static_assert(sizeof(FileHeader) == 64);

bool write_all(int fd, const void* data, std::size_t size) noexcept {
  const auto* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = ::write(fd, at, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

std::unexpected<Error> damaged(const std::string& path, std::string_view why) {
  return std::unexpected(Error{Fault::environment, path + ": " + std::string(why), 0, false});
}

}  // namespace

template <class Record>
Result<void> write_ledger(const std::string& path, const RecordStore<Record>& records,
                          std::string_view tables, std::uint64_t seed) {
  const std::string temporary = path + ".writing";
  const Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd) return std::unexpected(system_error("open", temporary, errno));
  FileHeader header;
  std::memcpy(header.magic, Record::kMagic.data(), sizeof header.magic);
  header.record_bytes = sizeof(Record);
  header.header_bytes = sizeof header;
  header.records = records.size();
  header.tables_offset = sizeof header + records.size() * sizeof(Record);
  header.seed = seed;
  bool good = write_all(fd.get(), &header, sizeof header);
  records.for_each_run([&](const Record* first, std::size_t count) {
    good = good && write_all(fd.get(), first, count * sizeof(Record));
  });
  good = good && write_all(fd.get(), tables.data(), tables.size());
  if (!good || ::rename(temporary.c_str(), path.c_str()) != 0) {
    const int saved = errno;
    ::unlink(temporary.c_str());
    return std::unexpected(system_error("write", path, saved));
  }
  return {};
}

template <class Record>
Result<LedgerFile<Record>> LedgerFile<Record>::open(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return std::unexpected(system_error("open", path, errno));
  struct stat status = {};
  if (::fstat(fd.get(), &status) != 0) return std::unexpected(system_error("fstat", path, errno));
  const auto bytes = static_cast<std::uint64_t>(status.st_size);
  if (bytes < sizeof(FileHeader)) return damaged(path, "too short for a ledger");
  LedgerFile file;
  void* map = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (map == MAP_FAILED) return std::unexpected(system_error("mmap", path, errno));
  file.map_ = map;
  file.map_bytes_ = bytes;
  FileHeader header;
  std::memcpy(&header, map, sizeof header);
  if (std::string_view(header.magic, sizeof header.magic) != Record::kMagic) {
    return damaged(path, "not a ledger of this kind");
  }
  const bool sane = header.record_bytes == sizeof(Record) && header.header_bytes == sizeof header &&
                    header.records <= (bytes - sizeof header) / sizeof(Record) &&
                    header.tables_offset == sizeof header + header.records * sizeof(Record);
  if (!sane) return damaged(path, "the ledger is damaged or incomplete");
  const auto* base = static_cast<const char*>(map);
  file.records_ = reinterpret_cast<const Record*>(base + sizeof header);
  file.count_ = header.records;
  file.tables_ = std::string_view(base + header.tables_offset, bytes - header.tables_offset);
  file.seed_ = header.seed;
  return file;
}

template <class Record>
LedgerFile<Record>::LedgerFile(LedgerFile&& other) noexcept
    : map_(std::exchange(other.map_, nullptr)),
      map_bytes_(other.map_bytes_),
      records_(other.records_),
      count_(other.count_),
      tables_(other.tables_),
      seed_(other.seed_) {}

template <class Record>
LedgerFile<Record>::~LedgerFile() {
  if (map_ != nullptr) ::munmap(map_, map_bytes_);
}

template class LedgerFile<BackendRecord>;
template class LedgerFile<TrafficRecord>;
template Result<void> write_ledger(const std::string&, const RecordStore<BackendRecord>&, std::string_view,
                                   std::uint64_t);
template Result<void> write_ledger(const std::string&, const RecordStore<TrafficRecord>&, std::string_view,
                                   std::uint64_t);

}  // namespace lb::traffic
