"""How often does the grader fail a right answer? make flake N=1000.

Runs all unit checks of the reference N times, each time with another seed, and a live check now and then,
while other processes keep every processor busy. Writes build/report/flake.json and flake.txt: the rate of
runs with a failure, and the upper end of its one-sided 95 % Clopper-Pearson interval. Exit status 0 when no
run failed.
"""
import argparse
import math
import os
import signal
import sys
import time

from . import building, contain, forked, grading
from .check import ROOT, SEAMS, TOGETHER, load_checks

REPORT = ROOT / "build" / "report"
BATCH = 8  # runs of one process between two reports


def clopper_pearson_upper(hits, trials, confidence=0.95):
    """The largest rate at which so few hits still have the probability 1 - confidence (Clopper and Pearson,
    Biometrika 26, 1934)."""
    if trials == 0 or hits >= trials:
        return 1.0

    def at_most_hits(rate):
        logs = (math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
                + k * math.log(rate) + (trials - k) * math.log1p(-rate) for k in range(hits + 1))
        return math.fsum(math.exp(value) for value in logs)

    low, high = 0.0, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        if at_most_hits(middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def reference(exercise, kind):
    seam = SEAMS[exercise]
    return ROOT / "build" / building.PRESETS[kind] / "labs" / f"lab_case_{seam}_{seam}_{kind}"


def one_run(exercise, seed, live):
    """Every check that did not pass."""
    bad = []
    for check in load_checks(exercise):
        if check.stage == "unit":
            fields = grading.run_check(check, seed, runner=reference(exercise, "runner"))
        elif check.stage == "live" and live:
            fields = grading.run_check(check, seed, balancer=reference(exercise, "lb"))
        else:
            continue
        if fields["verdict"] != "pass":
            bad.append({"check": check.name, "seed": seed, **{k: fields[k] for k in (
                "verdict", "blame", "expected", "seen", "log", "seconds")}})
    return bad


def batch(exercise, seeds, live_every):
    return {"failures": [bad for seed in seeds
                         for bad in one_run(exercise, seed, live_every and seed % live_every == 0)]}


def burn():
    """One process that computes, until we end."""
    pid = os.fork()
    if pid == 0:
        contain.die_with_parent()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while True:
            sum(range(10000))
    return pid


def main():
    parser = argparse.ArgumentParser(prog="flake", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--exercise", type=int, action="append", choices=[n for n in SEAMS if n != TOGETHER])
    parser.add_argument("--seed", type=int, default=1, help="the first of the seeds")
    parser.add_argument("--live-every", type=int, default=50,
                        help="the live checks in every n-th run; 0: never (50)")
    parser.add_argument("--burners", type=int, default=len(os.sched_getaffinity(0)),
                        help="processes that compute all the time (default: one a processor)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds-max", type=float, default=0, help="end early, with the runs that are done")
    options = parser.parse_args()
    exercises = options.exercise or [n for n in SEAMS if n != TOGETHER]
    building.build_targets("asan", [f"lab_case_{SEAMS[n]}_{SEAMS[n]}_runner" for n in exercises])
    if options.live_every:
        building.build_targets("release", [*building.TOOLS, *(f"lab_case_{SEAMS[n]}_{SEAMS[n]}_lb"
                                                              for n in exercises)])
    burners = [burn() for _ in range(options.burners)]
    began, done, failures = time.monotonic(), 0, []
    try:
        while done < options.runs:
            if options.seconds_max and time.monotonic() - began > options.seconds_max:
                break
            seeds = range(options.seed + done, options.seed + min(done + BATCH, options.runs))
            tasks = [(n, lambda n=n: batch(n, seeds, options.live_every)) for n in exercises]
            for number, result in forked.run_all(tasks, options.jobs).items():
                failures += result.get("failures", [{"check": f"10.{number}", "seed": seeds[0],
                                                     "verdict": "broken",
                                                     "seen": result.get("broken", "")}])
            done += len(seeds)
            print(f"\r{done}/{options.runs} runs, {len(failures)} failures, {time.monotonic() - began:.0f} s",
                  end="" if sys.stdout.isatty() else "\n", flush=True)
    finally:
        for pid in burners:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return publish(options, exercises, done, failures, time.monotonic() - began)


def publish(options, exercises, done, failures, seconds):
    bad_runs = len({failure["seed"] for failure in failures})
    upper = clopper_pearson_upper(bad_runs, done)
    checks = sum(1 for n in exercises for check in load_checks(n) if check.stage == "unit")
    last = options.seed + done - 1
    text = (f"{done} runs of {checks} unit checks of the reference (seeds {options.seed} to {last}; the live "
            f"checks in every {options.live_every}th),\n{options.burners} processes computing beside them, "
            f"{seconds:.0f} s: {bad_runs} runs with a failure, rate {bad_runs / max(1, done):.4%},\n"
            f"with 95 % confidence below {upper:.3%} (Clopper-Pearson)\n")
    grading.write_json(REPORT / "flake.json", {
        "runs": done, "bad_runs": bad_runs, "rate": bad_runs / max(1, done), "upper_95": upper,
        "method": "clopper_pearson", "unit_checks": checks, "exercises": exercises,
        "first_seed": options.seed,
        "live_every": options.live_every, "burners": options.burners, "seconds": round(seconds, 1),
        "failures": failures[:200]})
    text += "".join(f"  {f['check']} seed {f['seed']}: {f['seen'][:200]}\n" for f in failures[:20])
    (REPORT / "flake.txt").write_text(text)
    print(f"\n{text}", end="")
    return 1 if failures or not done else 0


if __name__ == "__main__":
    sys.exit(main())
