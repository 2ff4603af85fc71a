"""How often does the grader fail a right answer? make flake N=1000.

Runs all unit checks of the reference N times, each time with another seed, and the live checks now and then,
while other processes keep every processor busy. Each run is a line of build/report/flake.jsonl as soon as it
has ended, so that an interrupted command goes on where it was: runs of the same programs and checks count,
whenever they were made. Writes build/report/flake.json and flake.txt: the rate of runs with a failure, and
the upper end of its one-sided 95 % Clopper-Pearson interval. Exit status 0 when no run failed.
"""
import argparse
import contextlib
import functools
import hashlib
import json
import math
import os
import signal
import sys
import time

from . import building, contain, forked, grading
from .check import ROOT, SEAMS, TOGETHER, load_checks

REPORT = ROOT / "build" / "report"
RUNS = REPORT / "flake.jsonl"
BATCH = 8  # runs between two looks at the clock


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


def whole_run(exercises, seed, live_every):
    """One line of the file of runs."""
    began = time.monotonic()
    live = bool(live_every) and seed % live_every == 0
    failures = [bad for exercise in exercises for bad in one_run(exercise, seed, live)]
    return {"failures": failures, "live": live, "seconds": round(time.monotonic() - began, 2),
            "load": round(os.getloadavg()[0], 1)}


# ---- runs that are done ----------------------------------------------------------------------------


def tree_of(programs):
    """What a result is a result of: the programs, the checks and the grader, as one word."""
    digest = hashlib.sha256()
    folders = [ROOT / "harness" / "lbgrader", ROOT / "harness" / "lbharness", ROOT / "exercises" / "ch10",
               ROOT / "solutions" / "ch10" / "hidden"]
    for path in [*programs, *(p for folder in folders for p in sorted(folder.rglob("*.py")))]:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def runs_done(key):
    """{seed: line} of what was run before with this key; a line that was cut off does not count."""
    done = {}
    with contextlib.suppress(OSError):
        for line in RUNS.read_text().splitlines():
            with contextlib.suppress(ValueError):
                run = json.loads(line)
                if run["key"] == key:
                    done[run["seed"]] = run
    return done


def note(run):
    """Appended, on a line of its own even if somebody was ended in the middle of the last one."""
    RUNS.parent.mkdir(parents=True, exist_ok=True)
    with open(RUNS, "a+b", buffering=0) as file:
        cut_off = file.seek(0, os.SEEK_END) and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n"
        file.write(b"\n" * bool(cut_off) + json.dumps(run).encode() + b"\n")


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
    parser.add_argument("--seconds-max", type=float, default=0,
                        help="end early, with the runs that are done; the next call goes on")
    options = parser.parse_args()
    exercises = options.exercise or [n for n in SEAMS if n != TOGETHER]
    contain.spaces()
    building.build_targets("asan", [f"lab_case_{SEAMS[n]}_{SEAMS[n]}_runner" for n in exercises])
    building.build_judges(SEAMS[n] for n in exercises)
    if options.live_every:
        building.build_targets("release", [*building.TOOLS, *(f"lab_case_{SEAMS[n]}_{SEAMS[n]}_lb"
                                                              for n in exercises)])
    kinds = ("runner", "lb") if options.live_every else ("runner",)
    programs = [reference(n, kind) for n in exercises for kind in kinds]
    key = [tree_of(programs), exercises, options.live_every, options.burners]
    done = runs_done(key)
    last = options.seed + options.runs
    waiting = [seed for seed in range(options.seed, last) if seed not in done]
    done = {seed: run for seed, run in done.items() if options.seed <= seed < last}
    if done:
        print(f"{len(done)} of {options.runs} runs are in {RUNS.relative_to(ROOT)}", flush=True)
    run_them(options, exercises, key, waiting, done)
    return publish(options, exercises, done)


def run_them(options, exercises, key, waiting, done):
    """Adds the runs of `waiting` to `done`, and to the file."""

    def ended(seed, result):
        if "broken" in result:
            broken = {"check": "flake", "seed": seed, "verdict": "broken", "seen": result["broken"]}
            result = {"failures": [broken], "seconds": 0.0, "load": os.getloadavg()[0]}
        done[seed] = {"key": key, "seed": seed, **result}
        note(done[seed])

    burners = [burn() for _ in range(options.burners if waiting else 0)]
    began = time.monotonic()
    try:
        while waiting and not (options.seconds_max and time.monotonic() - began > options.seconds_max):
            some, waiting = waiting[:BATCH], waiting[BATCH:]
            forked.run_all([(seed, functools.partial(whole_run, exercises, seed, options.live_every))
                            for seed in some], options.jobs, ended)
            bad = sum(bool(run["failures"]) for run in done.values())
            seconds = time.monotonic() - began
            print(f"\r{len(done)}/{options.runs} runs, {bad} with a failure, {seconds:.0f} s",
                  end="" if sys.stdout.isatty() else "\n", flush=True)
    finally:
        for pid in burners:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def publish(options, exercises, done):
    failures = [failure for _, run in sorted(done.items()) for failure in run["failures"]]
    runs, bad_runs = len(done), sum(bool(run["failures"]) for run in done.values())
    upper = clopper_pearson_upper(bad_runs, runs)
    checks = sum(1 for n in exercises for check in load_checks(n) if check.stage == "unit")
    loads = sorted(run["load"] for run in done.values()) or [0.0]
    often = f"the live checks in every {options.live_every}th" if options.live_every else "no live checks"
    text = (f"{runs} runs of {checks} unit checks of the reference ({often}), {options.burners} processes\n"
            f"computing beside them, load {loads[0]} to {loads[-1]} (median {loads[len(loads) // 2]}) on "
            f"{len(os.sched_getaffinity(0))} processors:\n{bad_runs} runs with a failure, rate "
            f"{bad_runs / max(1, runs):.4%}, with 95 % confidence below {upper:.3%} (Clopper-Pearson)\n")
    grading.write_json(REPORT / "flake.json", {
        "runs": runs, "bad_runs": bad_runs, "rate": bad_runs / max(1, runs), "upper_95": upper,
        "method": "clopper_pearson", "unit_checks": checks, "exercises": exercises,
        "first_seed": options.seed, "live_every": options.live_every, "burners": options.burners,
        "load_median": loads[len(loads) // 2], "seconds": round(sum(r["seconds"] for r in done.values()), 1),
        "failures": failures[:200]})
    text += "".join(f"  {f['check']} seed {f['seed']}: {f['seen'][:200]}\n" for f in failures[:20])
    (REPORT / "flake.txt").write_text(text)
    print(f"\n{text}", end="")
    return 1 if failures or not done else 0


if __name__ == "__main__":
    sys.exit(main())
