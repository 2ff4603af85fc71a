// Round robin, plain and weighted: one counter of turns, shared by all workers and generations, over a fixed
// schedule. A backend that cannot serve at its turn loses it and the next turn is drawn, so that the others
// keep their proportions.
#include <utility>

#include "lb/balance/algorithms.hpp"
#include "lb/balance/roster.hpp"
#include "lb/balance/smooth_schedule.hpp"
#include "lb/base/random.hpp"

namespace lb {
namespace {

class Rotation final : public Chooser {
 public:
  explicit Rotation(Roster roster)
      : roster_(std::move(roster)), schedule_(roster_.eligible(), roster_.all_traits()) {}

  Pick choose(const PickContext& context, Aside aside) noexcept override {
    if (schedule_.period() == 0) return {};
    // In a long schedule those of one weight stand close together: when many turns in a row are lost, looking
    // anywhere else in it is by weight as well, and finds somebody sooner.
    constexpr int kTurnsMax = kDrawsMax / 4;
    std::uint64_t turn = 0;
    for (int draw = 0; draw < kDrawsMax; ++draw) {
      turn = draw < kTurnsMax ? roster_.next_turn() : mix64(turn + context.random);
      const std::uint32_t backend = schedule_.at(turn);
      if (roster_.claim(backend, context, context.random + turn)) return {PickResult::picked, backend};
    }
    return roster_.pick_among_all(context, aside, turn);
  }

 private:
  Roster roster_;
  SmoothSchedule schedule_;
};

}  // namespace

std::unique_ptr<Chooser> make_rotation(Roster roster) {
  return std::make_unique<Rotation>(std::move(roster));
}

}  // namespace lb
