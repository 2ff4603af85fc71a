#!/usr/bin/env python3
"""Compares what our HTTP parser and the whole balancer make of hostile requests with what Node reads.

  harness/oracle.py --cases 100000 --seed 7

Exit status: 0 they agree, 1 they do not, 2 it could not be measured (Node or a program is missing).
"""

import argparse
import os
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from lbharness import oracle  # noqa: E402
from lbharness.errors import HarnessError  # noqa: E402

SHOWN_MAX = 20


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=20_000, help="connections to make up (20000)")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    try:
        with tempfile.TemporaryDirectory() as directory, oracle.Oracle(
            directory, arguments.seed
        ) as compared:
            result = compared.run(arguments.cases)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 2
    for disagreement in result.disagreements[:SHOWN_MAX]:
        print(disagreement)
    print(result)
    return 1 if result.disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
