#include "lb/observe/kernel_counters.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <random>

namespace lb {
namespace {

constexpr const char* kSnmp =
    "Ip: Forwarding DefaultTTL\nIp: 1 64\n"
    "Tcp: RtoAlgorithm RtoMax EstabResets CurrEstab OutRsts\nTcp: 1 -1 7 3 250\n"
    "Udp: InDatagrams\nUdp: 9\n";
constexpr const char* kNetstat =
    "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPAbortOnData\nTcpExt: 0 12 13 "
    "18446744073709551615\n"
    "IpExt: InOctets\nIpExt: 5\n";

TEST(KernelCounters, AreFoundByNameInBothFiles) {
  KernelCounters found;
  parse_kernel_counters(kSnmp, found);
  parse_kernel_counters(kNetstat, found);
  EXPECT_EQ(found.established_resets, 7U);
  EXPECT_EQ(found.resets_sent, 250U);
  EXPECT_EQ(found.listen_overflows, 12U);
  EXPECT_EQ(found.listen_drops, 13U);
  EXPECT_EQ(found.abort_on_data, 18446744073709551615U);
  EXPECT_FALSE(found.abort_on_close) << "this kernel does not tell";
}

TEST(KernelCounters, WhatIsNotUnderstoodIsPassedOver) {
  const struct {
    const char* text;
    std::optional<std::uint64_t> drops;
  } cases[] = {
      {"", {}},
      {"TcpExt:", {}},
      {"TcpExt: ListenDrops", {}},
      {"TcpExt: ListenDrops\n", {}},
      {"TcpExt: ListenDrops\nTcpExt:", {}},
      {"TcpExt: ListenDrops\nTcpExt: \n", {}},
      {"TcpExt: ListenDrops\nTcp: 3\n", {}},
      {"Tcp: ListenDrops\nTcp: 3\n", {}},
      {"TcpExt: ListenDrops\nTcpExt: -3\n", {}},
      {"TcpExt: ListenDrops\nTcpExt: 3x\n", {}},
      {"TcpExt: ListenDrops\nTcpExt: 99999999999999999999\n", {}},
      {"TcpExt: ListenDrops\nTcpExt: 3", 3},
      {"TcpExt: A ListenDrops B\nTcpExt: 1 3\n", 3},
      {"TcpExt: A ListenDrops\nTcpExt: 1\n", {}},
      {"TcpExt:  A  ListenDrops \nTcpExt:   1   3 \n", 3},
      {"nonsense\nTcpExt: ListenDrops\nTcpExt: 3\n", 3},
      {"Half: line\nTcpExt: ListenDrops\nTcpExt: 3\n", 3},
  };
  for (const auto& c : cases) {
    KernelCounters found;
    parse_kernel_counters(c.text, found);
    EXPECT_EQ(found.listen_drops, c.drops) << c.text;
  }
}

TEST(KernelCounters, AnyBytesAreSurvived) {
  std::mt19937 random{7};
  const std::string base = std::string{kSnmp} + kNetstat;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = base.substr(random() % base.size());
    for (unsigned i = random() % 8; i > 0; --i) text[random() % text.size()] = static_cast<char>(random());
    KernelCounters found;
    parse_kernel_counters(text, found);
  }
}

TEST(KernelCounters, GrowthIsToldWhereBothTell) {
  KernelCounters before;
  KernelCounters after;
  before.listen_drops = 5;
  after.listen_drops = 9;
  before.resets_sent = 7;
  after.resets_sent = 3;
  after.listen_overflows = 1;
  const KernelCounters grown = after.since(before);
  EXPECT_EQ(grown.listen_drops, 4U);
  EXPECT_EQ(grown.resets_sent, 0U) << "the namespace is another";
  EXPECT_FALSE(grown.listen_overflows);
}

TEST(KernelCounters, AMissingFileLeavesItsCountersEmpty) {
  std::string folder = (std::filesystem::temp_directory_path() / "lb-kernel-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  EXPECT_EQ(read_kernel_counters(folder), KernelCounters{});
  std::ofstream{folder + "/netstat"} << kNetstat;
  EXPECT_EQ(read_kernel_counters(folder).listen_drops, 13U);
  EXPECT_FALSE(read_kernel_counters(folder).resets_sent);
  std::ofstream{folder + "/snmp"} << kSnmp;
  EXPECT_EQ(read_kernel_counters(folder).resets_sent, 250U);
  std::filesystem::remove_all(folder);
  EXPECT_TRUE(read_kernel_counters().resets_sent) << "of this machine";
}

}  // namespace
}  // namespace lb
