#!/usr/bin/env python3
"""An hour of reloads each second with everything on, every process watched: `make soak`, DURATION=seconds.

Exit status: 0 nothing was dropped and all resources are flat, 1 something was dropped or is not flat, 2 it
could not be measured.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lbharness import report, soak, table  # noqa: E402
from lbharness.errors import HarnessError  # noqa: E402
from lbharness.profiles import PROFILES  # noqa: E402
from lbharness.run import Options, ZeroDropRun, write_json  # noqa: E402
from lbharness.terminal import colour_wanted, make_view  # noqa: E402


CLIENT_TIMEOUT_S = 60.0  # in an hour any machine stalls once; what never comes is lost all the same


def main():
    p = argparse.ArgumentParser(prog="soak.py", description=__doc__.split("\n")[0])
    p.add_argument("--duration", metavar="S", type=float, default=3600.0, help="of the run (an hour)")
    p.add_argument("--interval", metavar="S", type=float, default=1.0, help="between reloads (1)")
    p.add_argument("--rate", metavar="N", type=float, default=1000.0, help="requests a second, about (1000)")
    p.add_argument("--bad-every", metavar="K", type=int, default=7, help="each K-th configuration is bad (7)")
    p.add_argument("--profile", choices=PROFILES, default="mixed", help="kinds of traffic (mixed)")
    p.add_argument("--faults", action="store_true", help="backends fail as well")
    p.add_argument("--seed", metavar="N", type=int, default=None, help="repeats a run (random, shown)")
    p.add_argument("--out", metavar="DIR", default="build/soak", help="for curves, samples and the report")
    p.add_argument("--sample", metavar="S", type=float, default=soak.SAMPLE_S, help="between samples (3)")
    p.add_argument("--quiet", action="store_true", help="no progress")
    p.add_argument("--build-dir", metavar="DIR", default="", help="where the tools are (build/release)")
    args = p.parse_args()
    if args.build_dir:
        os.environ["LB_BUILD_DIR"] = args.build_dir
    reloads = max(1, int(args.duration / args.interval))
    view = make_view(args.quiet, reloads)
    sampler = soak.Sampler(view, args.sample)
    try:
        options = Options(
            reloads=reloads, interval=args.interval, rate=args.rate, bad_every=args.bad_every, frozen=0,
            profile=args.profile, faults=args.faults, timeout_s=CLIENT_TIMEOUT_S,
            seed=args.seed if args.seed is not None else int.from_bytes(os.urandom(3), "big"),
        )  # fmt: skip
        # Reloads that take longer than their interval must not stretch the run: it ends by the clock.
        result = ZeroDropRun(options, sampler, time_s=args.duration).execute()
    except HarnessError as error:
        view.close()
        print(f"could not be measured: {error}", file=sys.stderr)
        return 2
    view.close()
    rows, flat = soak.judge(sampler.samples)
    print(table.render(result, colour_wanted(sys.stdout)))
    print(soak.text(rows, flat, sampler.samples))
    soak.write(args.out, sampler.samples, rows, flat, result)
    out = Path(args.out)
    write_json(out / "result.json", result)
    (out / "report.html").write_text(report.render(result))
    print(f"curves: {out / 'soak.html'}, samples: {out / 'soak.csv'}, the run: {out / 'report.html'}")
    if result["exit_code"]:
        return result["exit_code"]
    return 2 if flat is None else 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
