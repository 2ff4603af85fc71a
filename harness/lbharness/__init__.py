"""The harness: servers under test, fake backends, traffic, the judge, the report. See harness/README.md."""

from .balancer import Balancer, run_cli
from .errors import CannotMeasure, ChildDied, HarnessError, NotReady
from .faulty import FaultyServer
from .haproxy import HaproxyServer
from .nginx import NginxServer
from .raw_backend import RawBackend
from .tools import Backends, Traffic, judge

__all__ = [
    "Backends",
    "Balancer",
    "CannotMeasure",
    "ChildDied",
    "FaultyServer",
    "HaproxyServer",
    "HarnessError",
    "NginxServer",
    "NotReady",
    "RawBackend",
    "Traffic",
    "judge",
    "run_cli",
]
