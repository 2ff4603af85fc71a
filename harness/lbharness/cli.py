"""The command line of reload_zero_drop.py."""

import argparse
import os
import sys
import traceback
from pathlib import Path

from . import profiles, report, table
from .errors import HarnessError
from .faulty import CONTROLS
from .run import Options, ZeroDropRun, write_json
from .terminal import colour_wanted, make_view

EXIT_CANNOT_MEASURE = 2

_EPILOG = """\
examples:
  reload_zero_drop.py                               20 reloads of this tree's balancer, all kinds of traffic
  reload_zero_drop.py --reloads 1000 --interval 0.6 the long proof
  reload_zero_drop.py --profile blast               as many requests as the machine gives
  reload_zero_drop.py --target nginx --profile moderate --html nginx.html
  reload_zero_drop.py --profile long-lived --idle 10000 --websockets 1000 --tcp-tunnels 1000 --reloads 100
  reload_zero_drop.py --faults                      the same load while backends fail in all ways
  reload_zero_drop.py --target haproxy --target-option "option idle-close-on-response"
  reload_zero_drop.py --control close_idle          a balancer that is wrong on purpose: must end with 1
  reload_zero_drop.py --config /etc/lb.json         an operator's configuration, with fake backends

exit status: 0 nothing was dropped, 1 something was, 2 it could not be measured
"""


def parser():
    p = argparse.ArgumentParser(
        prog="reload_zero_drop.py",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EPILOG,
        description="Proves or refutes that a balancer reloads without dropping a request.",
    )
    what = p.add_argument_group("what is tested")
    what.add_argument(
        "--target", choices=("lb", "haproxy", "nginx"), default="lb", help="the balancer (default: lb)"
    )
    what.add_argument("--lb", metavar="PATH", default="", help="the binary (default: lb/lb, or LB_BIN)")
    what.add_argument(
        "--config",
        metavar="FILE",
        default="",
        help="a configuration to start from; its backends are replaced by fake ones of the same names",
    )
    what.add_argument(
        "--control",
        metavar="NAME",
        default="",
        choices=("", *CONTROLS),
        help="instead: a balancer that is wrong in a known way (" + ", ".join(CONTROLS) + ")",
    )
    what.add_argument(
        "--target-option",
        metavar="TEXT",
        action="append",
        default=[],
        help='haproxy: a line for its defaults section; nginx: "reuseport"',
    )
    load = p.add_argument_group("load and reloads")
    load.add_argument("--reloads", metavar="N", type=int, default=20, help="how many (default: 20)")
    load.add_argument(
        "--interval", metavar="S", type=float, default=1.0, help="seconds between reloads (default: 1)"
    )
    load.add_argument(
        "--duration",
        metavar="S",
        type=float,
        default=0.0,
        help="of the run; sets the interval (default: reloads x interval)",
    )
    load.add_argument(
        "--rate",
        metavar="N",
        type=float,
        default=None,
        help=f"requests per second, about (default: the profile's, {profiles.MODERATE_RATE}); 0: flat out",
    )
    load.add_argument(
        "--profile", choices=profiles.PROFILES, default="mixed", help="kinds of traffic (default: mixed)"
    )
    _add_long_lived(load)
    load.add_argument(
        "--seed", metavar="N", type=int, default=None, help="of plan and traffic (default: random, shown)"
    )
    load.add_argument(
        "--bad-every",
        metavar="K",
        type=int,
        default=0,
        help="every K-th reload has a bad configuration and must be rejected (lb only)",
    )
    load.add_argument(
        "--frozen",
        metavar="N",
        type=int,
        default=-1,
        help="reloads at the end with the serving process stopped, so that accept queues fill "
        "(lb only; default: 2 with the profiles mixed and quick)",
    )
    out = p.add_argument_group("output")
    out.add_argument("--json", metavar="FILE", default="", help="write the result")
    out.add_argument(
        "--html", metavar="FILE", default="", help="write a report with the timeline of the run"
    )
    out.add_argument("--quiet", action="store_true", help="no progress, only the table")
    out.add_argument("--keep", action="store_true", help="keep the run's files (ledgers, configurations)")
    p.add_argument(
        "--build-dir",
        metavar="DIR",
        default="",
        help="where the tools are (default: build/release, or LB_BUILD_DIR)",
    )
    return p


def _add_long_lived(load):
    """Options about connections that outlive reloads, and about backends that fail."""
    for option, what in (
        ("idle", "kept-alive connections that wake now and then"),
        ("websockets", "WebSockets that talk both ways"),
        ("tcp-tunnels", "connections through a listener in TCP mode that talk both ways"),
        ("events", "streams of server-sent events"),
        ("uploads", "uploads that take seconds"),
    ):
        load.add_argument(
            f"--{option}", metavar="N", type=int, default=None, help=f"{what} (default: the profile's)"
        )
    load.add_argument(
        "--linger-max",
        metavar="S",
        type=float,
        default=30.0,
        help="how long an old process may go on (drain_timeout, hard-stop-after, worker_shutdown_timeout; "
        "default: 30)",
    )
    load.add_argument(
        "--faults",
        action="store_true",
        help="backends fail in all ways while reloads go on (lb only); what a retry may rightly lose is "
        "excused",
    )


def _options(args):
    seed = args.seed if args.seed is not None else int.from_bytes(os.urandom(3), "big")
    return Options(
        target=args.target,
        control=args.control,
        lb=args.lb,
        config=args.config,
        reloads=args.reloads,
        interval=args.interval,
        duration=args.duration,
        rate=args.rate,
        profile=args.profile,
        seed=seed,
        bad_every=args.bad_every,
        frozen=args.frozen,
        target_options=args.target_option,
        keep=args.keep,
        idle=args.idle,
        websockets=args.websockets,
        tcp_tunnels=args.tcp_tunnels,
        events=args.events,
        uploads=args.uploads,
        linger_max=args.linger_max,
        faults=args.faults,
    )


def main(argv=None):
    args = parser().parse_args(argv)
    if args.build_dir:
        os.environ["LB_BUILD_DIR"] = args.build_dir
    for path in (args.json, args.html):
        if path and not Path(path).resolve().parent.is_dir():
            print(f"cannot write {path}: no such folder", file=sys.stderr)
            return EXIT_CANNOT_MEASURE
    view = make_view(args.quiet, args.reloads)
    run = None
    try:
        run = ZeroDropRun(_options(args), view)
        result = run.execute()
    except HarnessError as error:
        view.close()
        print(f"could not be measured: {error}", file=sys.stderr)
        return _kept(run)
    except KeyboardInterrupt:
        view.close()
        print("interrupted: nothing measured", file=sys.stderr)
        return _kept(run)
    except Exception:  # a fault of the harness must never look like "0 dropped" or "dropped"
        view.close()
        traceback.print_exc()
        print("could not be measured: the harness itself failed", file=sys.stderr)
        return _kept(run)
    view.close()
    print(table.render(result, colour_wanted(sys.stdout)))
    if args.json:
        write_json(args.json, result)
    if args.html:
        Path(args.html).write_text(report.render(result))
    for what, path in (("result", args.json), ("report", args.html)):
        if path:
            print(f"{what} written to {path}")
    if args.keep:
        print(f"the run's files are in {run.directory}")
    return result["exit_code"]


def _kept(run):
    if run is not None and run.directory.is_dir():
        if not any(run.directory.iterdir()):
            run.directory.rmdir()
            return EXIT_CANNOT_MEASURE
        print(f"the run's files are in {run.directory}", file=sys.stderr)
    return EXIT_CANNOT_MEASURE
