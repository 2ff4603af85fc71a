"""The hidden checks of exercise 10.3: the rules of the public ones, with other figures."""
import itertools

from lbgrader.check import check
from lbgrader.rollback_lab import all_histories, at, history, random_history
from lbgrader.rollback_model import Limits, backend, died, ended, rejected, sample, serving, tick
from lbgrader.rollback_random import long_history

ZERO, LARGE = 0, 2**64 - 1
BAD = backend("b1", after=(100, 40), before=(400, 4), old=(50, 0))


@check(20, "all short histories, with unusual hashes and a deadline that is met exactly", points=2,
       usually="every value of the hash is an ordinary one, also 0; the deadline itself is late enough")
def unusual(lab):
    history(lab, at(0, serving(ZERO)), at(8, tick()), at(12, serving(LARGE)), at(13, died(LARGE)),
            at(14, serving(ZERO)), limits=Limits(probation_ms=8000))
    letters = [serving(ZERO), serving(LARGE), sample(ZERO, BAD), sample(LARGE, BAD), died(ZERO), died(LARGE),
               rejected(ZERO), ended(False), tick()]
    all_histories(lab, letters, 4, Limits(probation_ms=8000, failed_max=1))


@check(21, "random histories of many configurations and a small memory", points=2,
       usually="go through lb/reload/rollback.hpp again, event by event")
def many(lab):
    configs = [ZERO, LARGE, *range(1, 9)]
    for failed_max in (0, 1, 3, 5):
        limits = Limits(probation_ms=lab.rng.choice([1, 2000, 60_000]), requests_min=64,
                        failed_max=failed_max)
        random_history(lab, long_history(lab.rng, limits, configs, 250), limits)


@check(22, "worse than before: a grid of figures", points=2,
       usually="a count of fewer than requests_min, or of none, is taken as without failures, wherever it "
               "stands")
def grid(lab):
    for requests_min in (0, 1, 64):
        limits = Limits(requests_min=requests_min, failure_increase=lab.rng.choice([0.0, 0.25, 0.5]))
        events = [at(0, serving(1)), at(10, tick())]
        for before, old, after in itertools.product(_counts(lab.rng, 5), _counts(lab.rng, 5),
                                                    _counts(lab.rng, 8)):
            now = len(events)
            fine = backend("b0", after=(1024, 0))
            events += [at(10 + now, serving(2)), at(10 + now, sample(2, fine, backend("b1", after, before,
                                                                                      old))),
                       at(10 + now, ended(False))]
        random_history(lab, events, limits)


def _counts(rng, number):
    """Shares exact in binary; always with nothing, and with too few."""
    fixed = [(0, 0), (32, 32)]
    return fixed + [(requests, requests * rng.randrange(9) // 8)
                    for requests in (rng.choice([8, 64, 128, 1024]) for _ in range(number - 2))]
