"""Where things are: the tree, the binaries under test, the tools."""

import os
from pathlib import Path

from .errors import CannotMeasure

ROOT = Path(__file__).resolve().parents[2]
BUILD_HINT = "build it with `make` (or set LB_BUILD_DIR to a build folder, LB_BIN to a balancer)"


def build_dir():
    return Path(os.environ.get("LB_BUILD_DIR") or ROOT / "build" / "release").resolve()


def tool(name):
    """A native tool of harness/traffic."""
    path = build_dir() / "harness" / "traffic" / name
    if not path.is_file():
        raise CannotMeasure(f"{path} is not there: {BUILD_HINT}")
    return path


def lb_binary():
    """The balancer: LB_BIN, else the one of LB_BUILD_DIR when set, else lb/lb of this tree."""
    if os.environ.get("LB_BIN"):
        path = Path(os.environ["LB_BIN"])
    elif os.environ.get("LB_BUILD_DIR") and (build_dir() / "lb" / "main" / "lb").is_file():
        path = build_dir() / "lb" / "main" / "lb"
    else:
        path = ROOT / "lb" / "lb"
    return executable(path)


def executable(path):
    path = Path(path)
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise CannotMeasure(f"{path} is not there or not executable: {BUILD_HINT}")
    return path.resolve()
