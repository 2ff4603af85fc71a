// Whatever bytes a message's body is made of, decoding is an error or a value that encodes to the same bytes.
#include <cstdint>
#include <string>

#include "lb/supervisor/messages.hpp"

namespace {

template <class M>
void round_trip(const lb::ChannelMessage& message) {
  const auto decoded = lb::decode<M>(message);
  LB_ASSERT(!decoded || lb::encode(*decoded) == message.body);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  lb::ChannelMessage message{.type = data[0], .body = {reinterpret_cast<const char*>(data) + 1, size - 1}};
  round_trip<lb::StartMessage>(message);
  round_trip<lb::LoadedMessage>(message);
  round_trip<lb::ProceedMessage>(message);
  round_trip<lb::FailedMessage>(message);
  round_trip<lb::ReadyMessage>(message);
  round_trip<lb::SuccessorMessage>(message);
  round_trip<lb::DrainMessage>(message);
  round_trip<lb::DrainingMessage>(message);
  round_trip<lb::DrainedMessage>(message);
  round_trip<lb::PredecessorMessage>(message);
  round_trip<lb::StatusRequestMessage>(message);
  round_trip<lb::StatusMessage>(message);
  round_trip<lb::HelloMessage>(message);
  round_trip<lb::TicketKeysMessage>(message);
  round_trip<lb::LedgerMessage>(message);
  round_trip<lb::ResumeMessage>(message);
  round_trip<lb::ResumedMessage>(message);
  round_trip<lb::ReleaseMessage>(message);
  round_trip<lb::ProbeMessage>(message);
  round_trip<lb::ProbedMessage>(message);
  return 0;
}
