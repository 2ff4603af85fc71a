#!/usr/bin/env python3
"""Proves or refutes that a balancer reloads without dropping anything.

Starts fake backends and the balancer, drives continuous traffic of many kinds through it, reloads it again
and again with configurations that really differ, and compares what clients and backends wrote down.

Exit status: 0 nothing was dropped, 1 something was, 2 it could not be measured.
"""

import os
import sys

sys.dont_write_bytecode = True
_SYSTEM_PYTHON = "/usr/bin/python3"


def _find_interpreter():
    """Goes on in Debian's Python when the one first on PATH is too old or lacks a standard module."""
    missing = None
    if sys.version_info < (3, 10):
        missing = "Python 3.10 or newer"
    else:
        try:
            import argparse, concurrent.futures, ctypes, json, subprocess  # noqa: E401,F401
        except ImportError as error:
            missing = "the standard module %s" % error.name
    if missing is None:
        return
    if (
        os.path.exists(_SYSTEM_PYTHON)
        and os.path.realpath(sys.executable) != os.path.realpath(_SYSTEM_PYTHON)
        and not os.environ.get("LB_HARNESS_REEXEC")
    ):
        os.environ["LB_HARNESS_REEXEC"] = "1"
        os.execv(_SYSTEM_PYTHON, [_SYSTEM_PYTHON, *sys.argv])
    sys.stderr.write("%s lacks %s; try: apt-get install python3\n" % (sys.executable, missing))
    sys.exit(2)


_find_interpreter()
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from lbharness.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
