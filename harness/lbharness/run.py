"""One zero-drop run: backends, a balancer, traffic, reloads by plan, the judgement. Knows no terminals."""

import concurrent.futures
import json
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import environment, profiles
from .balancer import Balancer, frozen, operator_base
from .certificates import Certificates
from .errors import CannotMeasure
from .faulty import CONTROLS, FaultyServer
from .faults import FAULTY_NAMES, FaultStorm
from .haproxy import HaproxyServer
from .linger import LingerWatch
from .nginx import NginxServer
from .plan import DesiredState, initial_state, make_plan
from .target import ReloadFailed
from .tools import Backends, Traffic, judge
from .wire import format_address

POOL = tuple(f"b{i}" for i in range(1, 7))
TLS_BACKENDS = ("b3", "b5")  # of lb with every kind of traffic
DESCRIPTORS_SPARE = 3000  # for all but the long-lived connections
WINDOW_S = 0.5  # a reload window ends so long after its answer, or half an interval if that is less
WARM_UP_MAX_S = 1.0  # before the first reload and after the last: two intervals, at most so long
TICK_S = 0.2
FROZEN_S = 0.15  # how long the serving generation is stopped, with a reload under way
RACE_AFTER_US = 20_000


@dataclass
class Options:
    target: str = "lb"
    control: str = ""
    lb: str = ""
    config: str = ""
    reloads: int = 20
    interval: float = 1.0
    duration: float = 0.0  # 0: reloads * interval
    rate: object = None  # requests per second; None: the profile's
    profile: str = "mixed"
    seed: int = 1
    bad_every: int = 0
    frozen: int = -1  # reloads with the serving generation stopped; -1: 2 for lb with all kinds, else 0
    target_options: list = field(default_factory=list)
    keep: bool = False
    idle: object = None  # of the long-lived kinds: how many; None: the profile's
    websockets: object = None
    tcp_tunnels: object = None
    events: object = None
    uploads: object = None
    linger_max: float = 30.0
    faults: bool = False
    timeout_s: float = 0.0  # after which a client gives up; 0: the profile's

    def settle(self):
        """Fills in what follows from the rest; CannotMeasure for combinations that make no sense."""
        if self.reloads < 1 or self.reloads > 100_000:
            raise CannotMeasure("--reloads must be between 1 and 100000")
        if self.duration:
            self.interval = (self.duration - 2 * WARM_UP_MAX_S) / self.reloads
        if self.interval < 0.02:
            raise CannotMeasure(
                f"{self.interval * 1000:.0f} ms between reloads is too little to tell them apart; "
                "give fewer --reloads or a longer --duration"
            )
        if self.control and self.control not in CONTROLS:
            raise CannotMeasure(f"no control {self.control!r}; there are {', '.join(CONTROLS)}")
        if self.control or self.target != "lb":
            if self.config or self.lb:
                raise CannotMeasure("--config and --lb are for --target lb without --control")
            if self.bad_every:
                raise CannotMeasure("--bad-every is for --target lb: the others do not answer a reload")
            self.frozen = 0
        if self.faults and (self.target != "lb" or self.control or self.config):
            raise CannotMeasure("--faults is for --target lb with a configuration of the harness")
        if self.linger_max < 0.1:
            raise CannotMeasure("--linger-max must be at least 0.1 s")
        wanted = {key: getattr(self, key) for key in profiles.LONG_LIVED["mixed"].__dataclass_fields__}
        if any(n is not None and not 0 <= n <= 100_000 for n in wanted.values()):
            raise CannotMeasure("--idle, --websockets and the like must be between 0 and 100000")
        self.long_lived = profiles.long_lived(self.profile, wanted)
        if self.faults:
            self.frozen = 0
        if self.frozen < 0:
            self.frozen = 2 if self.profile in ("mixed", "quick") else 0
        return self

    @property
    def margin(self):
        return min(WARM_UP_MAX_S, 2 * self.interval)


class Observer:
    """What a run tells while it goes on. All methods may be left as they are."""

    def phase(self, text):
        pass

    def started(self, run):
        pass

    def tick(self, run):
        pass

    def reload_begins(self, run, planned):
        pass

    def reload_ends(self, run, record):
        pass


class ZeroDropRun:
    """execute() returns the result as a dict that is JSON; `exit_code` in it is the verdict."""

    def __init__(self, options, observer=None, time_s=0.0):
        """`time_s`: no further reload begins after so many seconds of load; 0: all that were asked for."""
        self.options = options.settle()
        self.time_s = time_s
        self.observer = observer or Observer()
        self.directory = Path(tempfile.mkdtemp(prefix="lb-zero-drop-"))
        self.records, self.marks, self.problems, self.notes = [], [], [], []
        self.backends = self.target = self.traffic = None
        self.ledgers = []
        self.interrupted = False
        self.certificates = self.linger = self.storm = None

    # -- the whole ----------------------------------------------------------------------------------

    def execute(self):
        kernel_before = environment.kernel_counters()
        try:
            self.observer.phase("starting backends and the balancer")
            plan = self._start()
            versions = {"balancer": self.target.version()}
            self.environment = environment.describe(self.options, versions)
            reloads = self.options.reloads
            main, frozen_plan = plan[:reloads], plan[reloads:]
            self._measure(main)
            if frozen_plan and not self.problems and not self.interrupted:
                self._measure_frozen(frozen_plan)
            result = self._judge(kernel_before)
        except BaseException:
            self.options.keep = True
            raise
        finally:
            if self.storm is not None:
                self.storm.stop()
            if self.linger is not None:
                self.linger.finish()
            for part in (self.traffic, self.target, self.backends):
                if part is not None:
                    part.kill() if isinstance(part, Traffic) else part.stop()
            if not self.options.keep:
                shutil.rmtree(self.directory, ignore_errors=True)
        return result

    def _start(self):
        options = self.options
        pool, first, base = POOL, None, None
        if options.config:
            base, self.notes = operator_base(options.config, self.directory)
            pool, first = _operator_state(base)
        long_lived = options.long_lived.descriptors()
        if long_lived > 500:
            environment.need_descriptors(long_lived + DESCRIPTORS_SPARE, "so many long-lived connections")
        self.certificates = Certificates(self.directory)
        # Tunnels to a backend by TLS cannot move to another process; where they are to live on, all is plain.
        by_tls = self._all_kinds and options.target == "lb" and pool is POOL
        self.tls_backends = TLS_BACKENDS if by_tls else ()
        self.backends = Backends(
            pool,
            ledger=self.directory / "backend.ledger",
            directory=self.directory,
            listen={name: "tls:127.0.0.1:0" for name in self.tls_backends},
            certificates=self.certificates,
        )
        self.target = self._make_target(base)
        first = first or initial_state(pool)
        self.first_names = sorted(first.names)
        changes = self.target.changes
        if base is not None:
            changes = tuple(c for c in changes if c not in ("algorithm", "workers"))
        self.target.start(first)
        self.target.wait_ready(first)
        return make_plan(
            first,
            pool,
            options.reloads + options.frozen,
            options.seed,
            changes=changes,
            bad_every=options.bad_every,
            bad_until=options.reloads,
            signal_every=4 if options.target == "lb" else 0,
            keep=[name for name in pool if name not in FAULTY_NAMES] if options.faults else (),
        )

    @property
    def _all_kinds(self):
        return self.options.profile in ("mixed", "quick") and not self.options.control

    def _make_target(self, base):
        options, where = self.options, self.directory / "target"
        where.mkdir()
        addresses = self.backends.address
        if options.control:
            return FaultyServer(
                addresses, options.control, where, self._time_limit(), certificates=self.certificates
            )
        common = {"certificates": self.certificates, "linger_max": options.linger_max}
        if options.target == "haproxy":
            return HaproxyServer(addresses, where, options=options.target_options, **common)
        if options.target == "nginx":
            server = NginxServer(addresses, where, reuseport="reuseport" in options.target_options, **common)
            self.notes += server.notes()
            if "tcp" not in server.protocol_addresses():
                options.long_lived.tcp_tunnels = 0
            return server
        return Balancer(
            addresses,
            where,
            binary=options.lb or None,
            base={**(base or {}), **(FaultStorm.CONFIG if options.faults else {})} or None,
            keep_shape=base is not None,
            protocols=() if base is not None else tuple(profiles.PROTOCOLS),
            tls_backends=self.tls_backends,
            seed=options.seed,
            **common,
        )

    def _time_limit(self):
        """Nothing runs for longer than this, whatever happens: the tools end themselves."""
        each = self.options.interval + 5
        return 2 * WARM_UP_MAX_S + (self.options.reloads + self.options.frozen) * each + 180

    # -- traffic and reloads ------------------------------------------------------------------------

    def _open_traffic(self, spec, name):
        ledger = self.directory / f"{name}.ledger"
        self.traffic = Traffic(
            format_address(self.target.address),
            spec,
            ledger,
            seed=self.options.seed + len(self.ledgers),  # nonces follow from it and must never repeat
            time_limit_s=self._time_limit(),
            spec_path=self.directory / f"{name}.spec.json",
        )
        self.traffic.wait_ready()
        self.ledgers.append(ledger)
        self.traffic.start()
        self.traffic.wait_progress(lambda m: m["ok"] > 0, what="the first answers")

    def _measure(self, plan):
        options = self.options
        targets = {
            name: format_address(address) for name, address in self.target.protocol_addresses().items()
        }
        spec = profiles.profile(
            options.profile, options.rate, targets, options.long_lived, self.certificates.client
        )
        if options.timeout_s:
            spec["defaults"]["timeout_ms"] = int(options.timeout_s * 1000)
        if options.faults:
            FaultStorm.adapt(spec)
            self.storm = FaultStorm(self.backends, self.options.seed)
            self.storm.start()
        self.linger = LingerWatch(self.target.worker_pids)
        self.has_race = any(s["kind"] == "race" for s in spec["streams"])
        self.observer.phase("traffic")
        self._open_traffic(spec, "traffic")
        if options.profile == "long-lived":
            self.traffic.wait_open(spec)
        self.observer.started(self)
        begin = time.monotonic() + self.options.margin
        try:
            self._pace(begin)
            over = time.monotonic() + self.time_s if self.time_s else None
            for planned in plan:
                self._one_reload(planned)
                if self.problems or (over and time.monotonic() >= over):
                    break
                begin = max(begin + options.interval, time.monotonic())
                self._pace(begin)
            self._pace(time.monotonic() + self.options.margin)
        except KeyboardInterrupt:
            self.interrupted = True
            self.problems.append(f"interrupted after {len(self.records)} of {options.reloads} reloads")
        self.observer.phase("letting what is in flight finish")
        if self.storm is not None:
            self.storm.calm()
        self.lingering_at_end = len(self.linger.alive())
        self.summary = self.traffic.stop()
        for number, (seconds, gone) in self.linger.finish().items():
            for record in self.records:
                if record["number"] == number:
                    record.update(lingered_s=round(seconds, 3), lingers_still=not gone)

    def _pace(self, until):
        """Lets time pass until then. The load is what happens meanwhile; whoever dies is noticed."""
        while True:
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, TICK_S))
            for part in (self.backends, self.target, self.traffic):
                part.check_alive()
            self.observer.tick(self)

    def _one_reload(self, planned, measured=True):
        self.observer.reload_begins(self, planned)
        if measured and self.has_race:
            self.traffic.fire(offset_us=self._typical_reload_us())
        self.linger.before()
        try:
            answer = self.target.reload(planned)
        except ReloadFailed as error:
            self.problems.append(str(error))
            return
        if answer.applied:
            self.linger.after(planned.number, answer.t_answer_ns)
        if measured and self.has_race:
            self.traffic.fire(offset_us=RACE_AFTER_US)
        self._note(planned, answer, self.target.verify(planned, answer))

    def _note(self, planned, answer, wrong):
        names = self.records[-1]["backends_after"] if self.records else None
        now = sorted(planned.state.names)
        before = names if names is not None else self.first_names
        window_s = min(WINDOW_S, self.options.interval / 2)
        label = answer.details.get("label") if self.options.control else planned.state.label_text
        self.marks.append(
            {
                "name": f"reload {planned.number} ({planned.text})",
                "t_request_ns": answer.t_request_ns,
                "t_answer_ns": answer.t_answer_ns,
                "window_end_ns": answer.t_answer_ns + int(window_s * 1e9),
                "ok": answer.applied,
                "label": label,
                "removed": sorted(set(before) - set(now)),
                "added": sorted(set(now) - set(before)),
            }
        )
        record = {
            "number": planned.number,
            "text": planned.text,
            "bad": planned.bad,
            "applied": answer.applied,
            "by": "SIGHUP" if planned.by_signal else "command",
            "duration_ms": round(answer.duration_ms, 3),
            "label": label,
            "answer": answer.text[:2000],
            "wrong": wrong,
            "backends_after": now,
            "state": asdict(planned.state),
            "frozen": False,
        }
        self.records.append(record)
        self.problems += [f"reload {planned.number} ({planned.text}): {text}" for text in wrong]
        self.observer.reload_ends(self, record)

    def _typical_reload_us(self):
        """The race is fired over the time in which the drain will begin, judged by the reloads so far."""
        durations = sorted(r["duration_ms"] for r in self.records if r["applied"])[-20:]
        typical = durations[len(durations) // 2] if durations else 100.0
        return int(min(typical * 1.2, 2000.0) * 1000)

    def _measure_frozen(self, plan):
        """Reloads with the serving generation stopped, so that connections pile up in the accept queues. A
        load of its own: the pause is ours, and must not count as the balancer's latency."""
        self.observer.phase("reloads with full accept queues")
        self._open_traffic(profiles.frozen_profile(), "frozen")
        try:
            for planned in plan:
                self._pace(time.monotonic() + min(self.options.interval, 1.0))
                self.observer.reload_begins(self, planned)
                with concurrent.futures.ThreadPoolExecutor(1) as pool:
                    with frozen(self.target.serving_pids()):
                        self.traffic.burst()
                        pending = pool.submit(self.target.reload, planned)
                        self._pace(time.monotonic() + FROZEN_S)
                    answer = pending.result()
                self._note(planned, answer, self.target.verify(planned, answer))
                self.records[-1]["frozen"] = True
                if self.problems:
                    break
            self._pace(time.monotonic() + self.options.margin)
        except ReloadFailed as error:
            self.problems.append(str(error))
        except KeyboardInterrupt:
            self.interrupted = True
            self.problems.append("interrupted")
        self.traffic.stop()

    # -- judgement ----------------------------------------------------------------------------------

    def _judge(self, kernel_before):
        self.observer.phase("comparing what both sides wrote down")
        log = self.target.log_text() if self.problems else ""
        status = (
            self.target.status()
            if isinstance(self.target, Balancer) and self.target.child.alive()
            else None
        )
        self.target.stop()
        self.backends.flush()
        if self.storm is not None:
            self.notes.append(f"faults of backends: {self.storm.text()}")
        counted = "request" if self.target.promises_removal else "connection"
        lines = min(3000, 300 + 20 * len(self.records))  # of the timeline: a few for each configuration
        everything = judge(
            self.ledgers,
            [self.backends.ledger],
            self.marks,
            self.directory / "ledger.json",
            removed=counted,
            lines=lines,
            excuse=self.options.faults,
        )
        measured = everything
        if len(self.ledgers) > 1:
            measured = judge(
                self.ledgers[:1],
                [self.backends.ledger],
                [m for m, r in zip(self.marks, self.records) if not r["frozen"]],
                self.directory / "measured.json",
                removed=counted,
                excuse=self.options.faults,
            )
        kernel = {k: v - kernel_before.get(k, 0) for k, v in environment.kernel_counters().items()}
        result = {
            "version": 1,
            "options": asdict(self.options),
            "target": self.target.name,
            "title": self._title(),
            "environment": self.environment,
            "notes": self.notes,
            "reloads": self.records,
            "problems": self.problems,
            "log": log,
            "final_status": status,
            "kernel_counters": kernel,
            "lingering_at_end": self.lingering_at_end,
            "streams": self.summary["streams"],
            "ledger": everything,
            "latency": measured["latency"],
            "latency_by_kind": {k: v["latency"] for k, v in measured["kinds"].items()},
        }
        result.update(verdict(everything, self.problems))
        return result

    def _title(self):
        if self.options.control:
            return f"control {self.options.control}: {CONTROLS[self.options.control][0]}"
        more = "".join(f", {o}" for o in self.options.target_options)
        return f"{self.target.name}{more}"


def verdict(ledger, problems):
    """Drops outrank doubts: what was lost was lost, however the run went otherwise."""
    drops = ledger["totals"]["drops"]
    if drops:
        return {
            "exit_code": 1,
            "verdict": "drops",
            "sentence": f"{drops:,} dropped of {ledger['totals']['attempts']:,}",
        }
    reasons = [*problems, *(ledger.get("reasons") or [] if ledger["exit_code"] == 2 else [])]
    if reasons or ledger["exit_code"] != 0:
        return {
            "exit_code": 2,
            "verdict": "cannot_judge",
            "sentence": "could not be measured: "
            + (reasons[0].splitlines()[0] if reasons else "no verdict"),
        }
    return {
        "exit_code": 0,
        "verdict": "zero_drops",
        "sentence": f"0 dropped of {ledger['totals']['attempts']:,}",
    }


def _operator_state(base):
    """The pool and the first state that stand for the operator's backends."""
    entries = base.get("backends")
    if not isinstance(entries, list) or not entries:
        raise CannotMeasure("the configuration names no backends")
    if len(entries) > 200:
        raise CannotMeasure(f"{len(entries)} backends are more than the harness stands in for (200)")
    named = [(e["name"], e.get("weight", 1)) for e in entries if isinstance(e, dict) and "name" in e]
    extra = [f"harness-{i}" for i in range(1, 4)]
    return tuple(name for name, _ in named) + tuple(extra), DesiredState(0, tuple(named))


def write_json(path, result):
    Path(path).write_text(json.dumps(result, indent=1) + "\n")
