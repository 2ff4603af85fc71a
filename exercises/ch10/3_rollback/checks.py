"""The public checks of exercise 10.3: the rollback policy. What is expected comes from lbgrader.rollback_model."""
from lbgrader.check import check
from lbgrader.rollback_lab import all_histories, at, history, random_history
from lbgrader.rollback_model import Limits, backend, died, ended, rejected, sample, serving, tick
from lbgrader.rollback_random import long_history

A, B, C, D = 1, 2, 3, 4
BAD = backend("b1", after=(100, 40), before=(400, 4), old=(50, 0))
GOOD = backend("b1", after=(100, 2), before=(400, 4), old=(50, 0))


def proven_a():
    """A has proved good at 10 s."""
    return [at(0, serving(A)), at(10, tick())]


def b_on_probation():
    """A has proved good, and B serves since 20 s."""
    return [*proven_a(), at(20, serving(B))]


@check(1, "a configuration proves good at the end of its probation", points=2,
       usually="only a ProbationTick at or after the deadline proves; then there is no deadline any more")
def proves(lab):
    history(lab, at(0, serving(A)), at(9.999, tick()), at(10, tick()), at(10, tick()))
    history(lab, at(3, serving(A)), at(6, sample(A, GOOD)), at(13.5, tick()), at(14, serving(B)),
            at(24, sample(B, GOOD)), at(24, tick()), at(30, sample(B, BAD)))
    history(lab, at(0, serving(A)), at(5, tick()), at(12, tick()), limits=Limits(probation_ms=12_000),
            usually="the length of the probation is in the limits")
    history(lab, *proven_a(), at(20, serving(A)), at(30, tick()),
            usually="the last proven configuration has no probation again when it serves again")


@check(2, "a generation that dies in its probation is a reason to go back", points=2,
       usually="ServingDied in a probation fails the configuration; without a proven one nothing is decided")
def crash(lab):
    reasons = history(lab, *b_on_probation(), at(21, died(B, "killed by SIGSEGV")), at(21, died(B)),
                      at(21.5, serving(A)), at(31.5, tick()))
    lab.expect("killed by SIGSEGV" in reasons[3], expected="a reason with the event's: killed by SIGSEGV",
               seen=reasons[3] or "no reason", usually="the operator reads the decision's reason")
    history(lab, at(0, serving(A)), at(2, died(A)), at(3, serving(A)), at(10, tick()), at(13, tick()),
            usually="nothing has ever proved good: there is nothing to go back to, and a new probation begins "
                    "when the same configuration serves again")
    history(lab, *proven_a(), at(60, died(A)), at(61, serving(A)), at(71, tick()),
            usually="who has proved good does not fail any more when it dies")
    history(lab, *b_on_probation(), at(21, died(A)), at(30, tick()),
            usually="a generation that does not serve any more died late: that says nothing about what serves")


@check(3, "worse than before, by one backend", points=3,
       usually="share(after) > max(share(before), share(meanwhile_old)) + failure_increase, of any one backend")
def worse(lab):
    reasons = history(lab, *b_on_probation(), at(22, sample(B, GOOD)), at(23, sample(B, GOOD, BAD._replace(name="b2"))))
    lab.expect(all(word in reasons[-1] for word in ("b2", "40", "100")),
               expected="a reason that names backend b2 and its 40 of 100", seen=reasons[-1] or "no reason",
               usually="the operator wants to know which backend, and how bad")
    limits = Limits(requests_min=64)  # figures that are exact in binary: nothing depends on rounding

    def judged(*backends, usually):
        history(lab, *b_on_probation(), at(25, sample(B, *backends)), at(30, tick()), limits=limits, usually=usually)

    judged(backend("b1", after=(128, 64), before=(128, 32)), usually="exactly at the limit is not worse: > and not >=")
    judged(backend("b1", after=(128, 65), before=(128, 32)), usually="one request above the limit is worse")
    judged(backend("b1", after=(64, 64), before=(128, 32)), usually="exactly requests_min requests count: >= and not >")
    judged(backend("b1", after=(63, 63), before=(128, 32)), usually="fewer than requests_min requests say nothing")
    judged(backend("b1", after=(1024, 300), before=(128, 0)), usually="shares are compared, not numbers of failures")
    judged(backend("b1", after=(50, 50)), backend("b2", after=(50, 50)),
           usually="requests_min is of one backend: two of them with too few do not add up to enough")
    judged(backend("b1", after=(1000, 0), before=(1000, 0)), backend("b2", after=(100, 90), before=(100, 0)),
           usually="one worse backend suffices, even if the sum over all of them looks well")
    judged(backend("new", after=(64, 32)), usually="a new backend is compared with one that never fails")
    judged(usually="a sample without backends says nothing")


@check(4, "an outage that hits both is no reason", points=2,
       usually="what fails on the connections of the configuration before as well is not the new one's fault")
def outage(lab):
    limits = Limits(requests_min=64)

    def judged(*backends, usually=""):
        history(lab, *b_on_probation(), at(25, sample(B, *backends)), at(30, tick()), limits=limits, usually=usually)

    judged(backend("b1", after=(200, 180), before=(400, 4), old=(100, 95)))
    judged(backend("b1", after=(200, 180), before=(400, 390), old=(100, 0)),
           usually="what failed before already is not the new one's fault; the larger of the two shares counts")
    judged(backend("b1", after=(128, 128), before=(512, 0), old=(128, 96)), usually="exactly at the limit")
    judged(backend("b1", after=(128, 120), before=(512, 0), old=(128, 64)),
           usually="twice as bad as on the old connections is worse")
    judged(backend("b1", after=(200, 180), before=(400, 4), old=(63, 63)),
           usually="fewer than requests_min on old connections say nothing, and count as without failures")
    judged(backend("b1", after=(200, 180), before=(63, 63), old=(100, 0)),
           usually="fewer than requests_min before say nothing, and count as without failures")
    judged(backend("b1", after=(200, 180), before=(400, 4), old=(100, 95)),
           backend("b2", after=(200, 180), before=(400, 4), old=(100, 1)),
           usually="the outage of one backend does not excuse another")


@check(5, "never two roll backs at once, and none twice", points=2,
       usually="from the decision until RollbackEnded nothing is decided; what was found worse is judged no more")
def once(lab):
    history(lab, *b_on_probation(), at(23, sample(B, BAD)), at(24, sample(B, BAD)), at(30, tick()),
            at(31, serving(A)), at(31, ended(True)), at(41, tick()))
    history(lab, *b_on_probation(), at(23, sample(B, BAD)), at(24, ended(False)), at(25, sample(B, BAD)),
            at(30, tick()), at(31, died(B)),
            usually="a roll back that was not applied is not decided again, and a failed one never proves so")
    history(lab, *b_on_probation(), at(23, sample(B, BAD)), at(24, ended(False)), at(25, serving(B)),
            at(26, sample(B, BAD)), at(27, ended(False)),
            usually="when the configuration serves anew its probation, too, is a new one")
    history(lab, *b_on_probation(), at(23, sample(B, BAD)), at(23.5, died(B)), at(24, serving(A)), at(24, ended(True)),
            usually="it dies while it is rolled back: that is decided already")
    history(lab, *b_on_probation(), at(23, sample(B, BAD)), at(24, serving(C)), at(25, sample(C, BAD)),
            at(34, tick()), at(35, ended(False)), at(35, tick()), at(36, sample(C, BAD)),
            usually="another configuration that serves meanwhile waits for the end; its deadline is then due at once")
    history(lab, *b_on_probation(), at(23, died(B)), at(24, serving(C)), at(25, sample(C, BAD)), at(26, ended(False)),
            usually="a roll_back after a death is not under way: it is only noted, and has no RollbackEnded")


@check(6, "superseded, served again, and late", points=2,
       usually="compare the event's configuration with the one that serves, and begin every probation anew")
def superseded(lab):
    history(lab, *b_on_probation(), at(25, serving(C)), at(26, sample(B, BAD)), at(27, died(B)), at(30, tick()),
            at(35, tick()), usually="what serves no more is judged no more, neither good nor failed")
    history(lab, *b_on_probation(), at(25, serving(B)), at(30, tick()), at(35, tick()),
            usually="the same configuration serves again: a probation of full length begins again")
    history(lab, *b_on_probation(), at(30, tick()), at(40, serving(A)), at(42, sample(A, BAD)), at(43, ended(True)),
            at(50, tick()), usually="A proved good once, but B is the last one that did: A is on probation again")
    history(lab, at(0, sample(A, BAD)), at(0, died(A)), at(0, tick()), at(0, ended(True)), at(1, serving(A)),
            at(1, ended(False)), at(11, tick()), usually="events before anything serves say nothing")
    history(lab, at(0, serving(A)), at(5, sample(A, BAD)), at(10, tick()),
            usually="while nothing has ever proved good a sample says nothing")
    history(lab, *b_on_probation(), at(30, sample(B, BAD)), at(30, tick()), at(31, serving(A)), at(31, ended(True)),
            usually="a sample at the instant of the deadline, but before the tick, is still judged")


@check(7, "what failed is not tried again, until it proves good by hand", points=2,
       usually="failed: in its probation by a death or a sample, or rejected; forgiven when it proves good")
def failed(lab):
    history(lab, *b_on_probation(), at(22, died(B)), at(23, serving(A)), at(30, serving(B)), at(40, tick()))
    history(lab, *b_on_probation(), at(22, sample(B, BAD)), at(23, serving(A)), at(23, ended(True)), at(30, serving(B)),
            at(35, serving(C)), usually="only the end of its probation forgives, not that it serves again")
    history(lab, *proven_a(), at(12, rejected(C, "lb.json:3:1: unknown key")), at(13, rejected(C)),
            at(20, serving(C)), at(30, tick()))
    history(lab, *b_on_probation(), at(24, rejected(C)), at(25, rejected(B)), at(26, sample(B, GOOD)), at(30, tick()),
            usually="a rejection does not touch what serves, nor its probation")
    history(lab, *proven_a(), at(12, rejected(A, "its generation did not become ready")),
            usually="a rejection says nothing against the last proven configuration")
    history(lab, at(0, serving(A)), at(2, died(A)), usually="it has failed, also without a proven one to go back to")


@check(8, "the memory of failures is bounded", points=1,
       usually="the one that failed longest ago is forgotten; failing again makes a configuration the newest")
def bounded(lab):
    limits = Limits(failed_max=2)
    history(lab, *[at(i, rejected(c)) for i, c in enumerate((A, B, C, D))], limits=limits)
    history(lab, *[at(i, rejected(c)) for i, c in enumerate((A, B, A, C))], limits=limits,
            usually="A failed again, so B is the one that failed longest ago")
    history(lab, at(0, rejected(A)), at(1, rejected(A)), at(2, rejected(A)), at(3, rejected(B)), limits=limits,
            usually="one configuration is one entry, however often it fails")
    history(lab, *[at(i, rejected(100 + i)) for i in range(40)], usually="the bound is in the limits")


# Every kind of event; every 4 s one of them, so that a probation of 10 s ends with the third.
LETTERS = [serving(A), serving(B), serving(C), sample(A, BAD), sample(B, BAD), sample(B, GOOD), died(A), died(B),
           rejected(B), ended(True), ended(False), tick()]
FEW_LETTERS = [serving(A), serving(B), sample(B, BAD), died(B), ended(False), tick()]


@check(9, "all short histories", points=3, usually="go through lb/reload/rollback.hpp again, event by event")
def all_short(lab):
    lab.step(f"all histories of up to 4 of {len(LETTERS)} events")
    all_histories(lab, LETTERS, 4)
    lab.step(f"all histories of up to 6 of {len(FEW_LETTERS)} events, probation 4 s")
    all_histories(lab, FEW_LETTERS, 6, Limits(probation_ms=4000, failed_max=1))


@check(10, "long random histories", points=2, usually="go through lb/reload/rollback.hpp again, event by event")
def random_histories(lab):
    for _ in range(20):
        limits = Limits(probation_ms=lab.rng.choice([1000, 5000, 10_000]), requests_min=64,
                        failed_max=lab.rng.choice([1, 2, 3, 32]))
        random_history(lab, long_history(lab.rng, limits, configs=[A, B, C, D], length=60), limits)
