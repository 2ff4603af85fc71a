#!/usr/bin/env python3
"""Proves the grader of the labs against known answers; see lbgrader/verify.py. Exit status 0: all as
expected."""
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lbgrader.verify import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
