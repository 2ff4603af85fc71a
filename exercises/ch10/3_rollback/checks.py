"""The public checks of exercise 10.3, rollback. What is expected comes from lbgrader.rollback_model."""
from lbgrader.check import check
from lbgrader.rollback_lab import all_histories, at, history, random_history
from lbgrader.rollback_live import LiveRollback
from lbgrader.rollback_model import Limits, backend, died, ended, rejected, sample, serving, tick
from lbgrader.rollback_random import long_history

A, B, C, D = 1, 2, 3, 4
BAD = backend("b1", after=(100, 40), before=(400, 4), old=(50, 0))
GOOD = backend("b1", after=(100, 2), before=(400, 4), old=(50, 0))

# Beginnings of histories: A has proved good; and then B is on probation; and B was found worse than before.
PROVEN_A = [at(0, serving(A)), at(10, tick())]
THEN_B = [*PROVEN_A, at(20, serving(B))]
WORSE_B = [*THEN_B, at(23, sample(B, BAD))]


@check(1, "a configuration proves good at the end of its probation", points=2,
       usually="only a ProbationTick at or after the deadline proves; then there is no deadline any more")
def proves(lab):
    history(lab, at(0, serving(A)), at(9.999, tick()), at(10, tick()), at(10, tick()))
    history(lab, at(3, serving(A)), at(6, sample(A, GOOD)), at(13.5, tick()), at(14, serving(B)),
            at(24, sample(B, GOOD)), at(24, tick()), at(30, sample(B, BAD)))
    history(lab, at(0, serving(A)), at(5, tick()), at(12, tick()), limits=Limits(probation_ms=12_000),
            usually="the length of the probation is in the limits")
    history(lab, *PROVEN_A, at(20, serving(A)), at(30, tick()),
            usually="the last proven configuration has no probation again when it serves again")


@check(2, "a generation that dies in its probation is a reason to go back", points=2,
       usually="ServingDied in a probation fails the configuration; without a proven one nothing is decided")
def crash(lab):
    reasons = history(lab, *THEN_B, at(21, died(B, "killed by SIGSEGV")), at(21, died(B)),
                      at(21.5, serving(A)), at(31.5, tick()))
    lab.expect("killed by SIGSEGV" in reasons[3], expected="a reason with the event's: killed by SIGSEGV",
               seen=reasons[3] or "no reason", usually="the operator reads the decision's reason")
    history(lab, at(0, serving(A)), at(2, died(A)), at(3, serving(A)), at(10, tick()), at(13, tick()),
            usually="nothing has ever proved good: there is nothing to go back to; and a new probation "
                    "begins when the same configuration serves again")
    history(lab, *PROVEN_A, at(60, died(A)), at(61, serving(A)), at(71, tick()),
            usually="who has proved good does not fail any more when it dies")
    history(lab, *THEN_B, at(21, died(A)), at(30, tick()),
            usually="a generation that does not serve any more died late: that is not about what serves")


@check(3, "worse than before, by one backend", points=3,
       usually="share(after) > max(share(before), share(meanwhile_old)) + failure_increase, of any backend")
def worse(lab):
    second = BAD._replace(name="b2")
    reasons = history(lab, *THEN_B, at(22, sample(B, GOOD)), at(23, sample(B, GOOD, second)))
    lab.expect(all(word in reasons[-1] for word in ("b2", "40", "100")),
               expected="a reason that names backend b2 and its 40 of 100", seen=reasons[-1] or "no reason",
               usually="the operator wants to know which backend, and how bad")

    def one(after, before, usually):
        judge(lab, backend("b1", after, before), usually=usually)

    one((1024, 200), (128, 0), "shares are compared, not numbers of failures")
    one((128, 64), (128, 32), "exactly at the limit is not worse: > and not >=")
    one((128, 65), (128, 32), "one request above the limit is worse")
    one((64, 64), (128, 32), "exactly requests_min requests count: >= and not >")
    one((63, 63), (128, 32), "fewer than requests_min requests say nothing")
    one((64, 32), (0, 0), "a new backend is compared with one that never fails")
    judge(lab, backend("b1", (50, 50)), backend("b2", (50, 50)),
          usually="requests_min is of one backend: two of them with too few do not add up to enough")
    judge(lab, backend("b1", (1000, 0), (1000, 0)), backend("b2", (100, 90), (100, 0)),
          usually="one worse backend suffices, even if the sum over all of them looks well")
    judge(lab, usually="a sample without backends says nothing")


@check(4, "an outage that hits both is no reason", points=2,
       usually="what fails on the connections of the configuration before as well is not the new one's fault")
def outage(lab):
    def one(after, before, old, usually=""):
        judge(lab, backend("b1", after, before, old), usually=usually)

    one((200, 180), (400, 4), (100, 95))
    one((200, 180), (400, 390), (100, 0),
        "what failed before already is not its fault either; the larger of the two shares counts")
    one((128, 128), (512, 0), (128, 96), "exactly at the limit is not worse")
    one((128, 120), (512, 0), (128, 64), "much worse than on the old connections is worse")
    one((200, 180), (400, 4), (63, 63),
        "fewer than requests_min on old connections say nothing, and count as without failures")
    one((200, 180), (63, 63), (100, 0),
        "fewer than requests_min before say nothing, and count as without failures")
    judge(lab, backend("b1", (200, 180), (400, 4), (100, 95)), backend("b2", (200, 180), (400, 4), (100, 1)),
          usually="the outage of one backend does not excuse another")


def judge(lab, *backends, usually=""):
    """One sample of B, and the end of its probation. Figures that are at the limit are exact in binary."""
    history(lab, *THEN_B, at(25, sample(B, *backends)), at(30, tick()), limits=Limits(requests_min=64),
            usually=usually)


@check(5, "never two roll backs at once, and none twice", points=2,
       usually="nothing is decided from a roll_back until RollbackEnded; what was worse is judged no more")
def once(lab):
    history(lab, *WORSE_B, at(24, sample(B, BAD)), at(30, tick()), at(31, serving(A)), at(31, ended(True)),
            at(41, tick()))
    history(lab, *WORSE_B, at(24, ended(False)), at(25, sample(B, BAD)), at(30, tick()), at(31, died(B)),
            usually="a roll back that was not applied is not decided again, and a failed one never proves so")
    history(lab, *WORSE_B, at(24, ended(False)), at(25, serving(B)), at(26, sample(B, BAD)),
            at(27, ended(False)), usually="when the configuration serves anew, its probation is a new one")
    history(lab, *WORSE_B, at(23.5, died(B)), at(24, serving(A)), at(24, ended(True)),
            usually="it dies while it is rolled back: that is decided already")
    history(lab, *WORSE_B, at(24, serving(C)), at(25, sample(C, BAD)), at(34, tick()), at(35, ended(False)),
            at(35, tick()), at(36, sample(C, BAD)),
            usually="what serves meanwhile waits until the roll back has ended; then its deadline is due")
    history(lab, *THEN_B, at(23, died(B)), at(24, serving(C)), at(25, sample(C, BAD)), at(26, ended(False)),
            usually="a roll_back after a death is not under way: it is only noted, and has no RollbackEnded")


@check(6, "superseded, served again, and late", points=2,
       usually="compare the event's configuration with the one that serves, and begin every probation anew")
def superseded(lab):
    history(lab, *THEN_B, at(25, serving(C)), at(26, sample(B, BAD)), at(27, died(B)), at(30, tick()),
            at(35, tick()), usually="what serves no more is judged no more, neither good nor failed")
    history(lab, *THEN_B, at(25, serving(B)), at(30, tick()), at(35, tick()),
            usually="the same configuration serves again: a probation of full length begins again")
    history(lab, *THEN_B, at(30, tick()), at(40, serving(A)), at(42, sample(A, BAD)), at(43, ended(True)),
            at(50, tick()), usually="A proved good once, but B is the last one that did: A has a probation")
    history(lab, at(0, sample(A, BAD)), at(0, died(A)), at(0, tick()), at(0, ended(True)), at(1, serving(A)),
            at(1, ended(False)), at(11, tick()), usually="events before anything serves say nothing")
    history(lab, at(0, serving(A)), at(5, sample(A, BAD)), at(10, tick()),
            usually="while nothing has ever proved good a sample says nothing")
    history(lab, *THEN_B, at(30, sample(B, BAD)), at(30, tick()), at(31, serving(A)), at(31, ended(True)),
            usually="a sample at the instant of the deadline, but before the tick, is still judged")


@check(7, "what failed is not tried again, until it proves good by hand", points=2,
       usually="failed: in its probation by a death or a sample, or rejected; forgiven when it proves good")
def failed(lab):
    history(lab, *THEN_B, at(22, died(B)), at(23, serving(A)), at(30, serving(B)), at(40, tick()))
    history(lab, *WORSE_B, at(24, serving(A)), at(24, ended(True)), at(30, serving(B)), at(35, serving(C)),
            usually="only the end of its probation forgives, not that it serves again")
    history(lab, *PROVEN_A, at(12, rejected(C, "lb.json:3:1: unknown key")), at(13, rejected(C)),
            at(20, serving(C)), at(30, tick()))
    history(lab, *THEN_B, at(24, rejected(C)), at(25, rejected(B)), at(26, sample(B, GOOD)), at(30, tick()),
            usually="a rejection does not touch what serves, nor its probation")
    history(lab, *PROVEN_A, at(12, rejected(A, "its generation did not become ready")),
            usually="a rejection says nothing against the last proven configuration")
    history(lab, at(0, serving(A)), at(2, died(A)),
            usually="it has failed, also without a proven one to go back to")


@check(8, "the memory of failures is bounded", points=1,
       usually="the one that failed longest ago is forgotten; failing again makes a configuration the newest")
def bounded(lab):
    def in_this_order(*configs, limits, usually=""):
        history(lab, *[at(i, rejected(config)) for i, config in enumerate(configs)], limits=limits,
                usually=usually)

    two = Limits(failed_max=2)
    in_this_order(A, B, C, D, limits=two)
    in_this_order(A, B, A, C, limits=two, usually="A failed again, so B is the one that failed longest ago")
    in_this_order(A, B, B, limits=two, usually="one configuration is one entry, however often it fails")
    in_this_order(*range(100, 140), limits=Limits(), usually="the bound is in the limits")


# Every kind of event; every 4 s one of them, so that a probation of 10 s ends with the third.
LETTERS = [serving(A), serving(B), serving(C), sample(B, GOOD), sample(B, BAD), sample(C, BAD),
           died(A), died(B), died(C), rejected(B), ended(True), ended(False), tick()]
FEW_LETTERS = [serving(A), serving(B), sample(B, BAD), died(B), ended(False), tick()]


@check(9, "all short histories", points=3, usually="go through lb/reload/rollback.hpp again, event by event")
def all_short(lab):
    lab.step("all histories from the start on, of up to 5 events")
    all_histories(lab, FEW_LETTERS, 5, Limits(probation_ms=4000, failed_max=1))
    lab.step("all histories of up to 4 events after A has proved good and B serves")
    all_histories(lab, LETTERS, 4, prefix=THEN_B)


@check(10, "long random histories", points=2,
       usually="go through lb/reload/rollback.hpp again, event by event")
def random_histories(lab):
    for _ in range(20):
        limits = Limits(probation_ms=lab.rng.choice([1000, 5000, 10_000]), requests_min=64,
                        failed_max=lab.rng.choice([1, 2, 3, 32]))
        random_history(lab, long_history(lab.rng, limits, configs=[A, B, C, D], length=60), limits)


@check(11, "the real balancer goes back when a new backend answers 500", points=3, stage="live",
       seconds_max=45, usually="in the balancer a sample comes every second of a probation, with totals")
def live(lab):
    with LiveRollback(lab) as balancer:
        balancer.prove_first()
        balancer.reload_bad_one()
        balancer.well_again()
        balancer.status_says_why()
