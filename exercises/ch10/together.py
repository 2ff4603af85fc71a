"""The joint stage: all four of a submission in one balancer, and the proof that its reloads drop nothing."""
import json
import pathlib
import re

from lbgrader.check import CheckFailed, check
from lbgrader.rollback_live import Load
from lbharness import Balancer, HarnessError, RawBackend
from lbharness import report as zero_drop_report
from lbharness.process import now_ns
from lbharness.run import Options, ZeroDropRun
from lbharness.target import ReloadAnswer, ReloadFailed
from lbharness.wire import fetch

WAIT_S = 15.0  # for what should take a second
DEBOUNCE_S = 0.1
RELOADS, INTERVAL_S = 5, 0.6


def yaml(value, indent=0):
    """A configuration as a person would write it in YAML: blocks, names without quotes."""
    space = "  " * indent
    if isinstance(value, dict):
        lines = []
        for key, inner in value.items():
            nested = isinstance(inner, (dict, list)) and inner
            lines.append(f"{space}{key}:" + (f"\n{yaml(inner, indent + 1)}" if nested
                                             else f" {_scalar(inner)}"))
        return "\n".join(lines)
    lines = []
    for inner in value:
        text = yaml(inner, indent + 1).lstrip() if isinstance(inner, dict) else _scalar(inner)
        lines.append(f"{space}- {text}")
    return "\n".join(lines)


def _scalar(value):
    plain = isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9_]*", value)
    if plain and value not in ("no", "yes", "on", "off"):
        return value
    return json.dumps(value)


class WatchedBalancer(Balancer):
    """Nobody asks it to reload: it watches its file, which is YAML."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.config_path = self.config_path.with_name("lb.yaml")

    def write(self, config):
        super().write("# written by the joint stage\n" + yaml(config) + "\n" if isinstance(config, dict)
                      else config)

    def reload(self, planned):
        since, began = self.log_position(), now_ns()
        self.write(self.config(planned.state))
        try:
            event = self.wait_event("reload.applied", "reload.rejected", since=since, timeout=WAIT_S)
        except HarnessError as error:
            raise ReloadFailed(f"lb.yaml was replaced, and nothing happened: {error}") from error
        if event["event"] == "reload.rejected":
            said = event.get("message", "")
            raise ReloadFailed(f"reload {planned.number} ({planned.text}) was refused: {said}")
        return ReloadAnswer(True, began, event["seen_at_ns"], event.get("message", ""), event)


class WatchedRun(ZeroDropRun):
    def _make_target(self, base):
        where = self.directory / "target"
        where.mkdir()
        return WatchedBalancer(self.backends.address, where, binary=self.options.lb, seed=self.options.seed,
                               base={"reload": {"watch": True, "debounce": DEBOUNCE_S}})


class Story:
    """The balancer of check 1: saves its file and says what it did."""

    def __init__(self, lab, balancer):
        self.lab, self.lb, self.since = lab, balancer, 0

    def save(self, text, config):
        self.lab.step(text)
        self.since = self.lb.log_position()
        self.lb.write(config)

    def wait(self, *names, expected, usually):
        try:
            return self.lb.wait_event(*names, since=self.since, timeout=WAIT_S)
        except HarnessError:
            raise CheckFailed(expected, f"nothing of the kind within {WAIT_S:g} s", self.log(),
                              usually) from None

    def log(self):
        return "\n".join(f"{e['event']}: {e.get('message', '')}"
                         for e in self.lb.events(since=self.since)[-12:])

    def expect(self, condition, expected, seen, usually=""):
        self.lab.expect(condition, expected=expected, seen=seen, log=[self.log()], usually=usually)


def _config(label, backend, weight, probation_s=1):
    return {"listen": "127.0.0.1:0", "workers": 1,
            "backends": [{**backend.config(name="shop"), "weight": weight}],
            "reload": {"watch": True, "debounce": DEBOUNCE_S, "probation": probation_s, "requests_min": 20},
            "response_headers": {"X-Config": label}}


@check(1, "one file in YAML: saved, told, proved, refused and undone", points=4, stage="live", seconds_max=90)
def one_file(lab):
    well = RawBackend(lambda exchange: exchange.reply())
    ill = RawBackend(lambda exchange: exchange.reply(500, reason="Internal Server Error"))
    lb = WatchedBalancer(directory=pathlib.Path(lab.folder), binary=lab.balancer())
    try:
        lab.step("start lb with lb.yaml and reload.watch    generation 1 is serving")
        lb.start(_config("one", well, 2))
        _play(lab, lb, well, ill)
    finally:
        lb.stop()
        well.stop()
        ill.stop()


def _play(lab, lb, well, ill):
    story = Story(lab, lb)
    watching = story.wait("watch.on", "watch.off", expected="watching begins", usually="10.1: start()")
    story.expect(watching["event"] == "watch.on", "watching begins", watching.get("message", ""),
                 "10.1: start()")

    story.save("save lb.yaml with weight 5 instead of 2", _config("one", well, 5))
    applied = story.wait("reload.applied", "reload.rejected", expected="generation 2 serves",
                         usually="10.1: poll() does not report the change")
    story.expect(applied["event"] == "reload.applied", "generation 2 serves", applied.get("message", ""),
                 "10.4: a good file is refused")
    story.wait("config.good", expected="it proves good after its probation of 1 s",
               usually="10.3: ProbationTick")
    words = [event.get("message", "") for event in lb.events("reload.change", since=story.since)]
    story.expect(any("backend shop: weight 2 -> 5" in text for text in words),
                 "the log says: backend shop: weight 2 -> 5", "; ".join(words) or "no change in the log",
                 "10.2: config_diff")

    story.save("save lb.yaml with a key twice", yaml(_config("two", well, 5)) + "\nworkers: 2\n")
    refused = story.wait("reload.applied", "reload.rejected", expected="the file is refused",
                         usually="10.1: poll() does not report the change")
    text = f"{refused.get('message', '')} {json.dumps(refused)}"
    story.expect(refused["event"] == "reload.rejected", "the file is refused", "it was applied",
                 "10.4: duplicate keys are kept, so that the decoder can report them")
    story.expect("lb.yaml:" in text, "an error with lb.yaml, line and column", refused.get("message", ""),
                 "10.4: positions of the tree")

    with Load(lb.address):
        story.save("save lb.yaml with a backend that answers 500, under traffic", _config("ill", ill, 5, 30))
        story.wait("reload.applied", expected="generation 3 serves",
                   usually="10.1: poll() after a refused file")
        story.wait("reload.rolled_back", expected="it is worse than before, and the last good one comes back",
                   usually="10.3: TrafficSample")
    response = fetch(lb.address)
    story.expect(response.status == 200 and response.label == "one", "200 from the last good configuration",
                 f"{response.status} from {response.label}", "10.3: which one to go back to")


@check(2, "zero drop: traffic goes on while the watched file changes", points=6, stage="zero-drop",
       seconds_max=150,
       usually="a reload that is noticed late, or not at all; the report shows every connection")
def zero_drop(lab):
    lab.step(f"traffic of every kind; lb.yaml is replaced {RELOADS} times, each time with a real change")
    lab.step("once more with the serving process stopped, so that connections pile up")
    run = WatchedRun(Options(lb=str(lab.balancer()), reloads=RELOADS, interval=INTERVAL_S, profile="quick",
                             seed=lab.seed, frozen=1))
    result = run.execute()
    totals = result["ledger"]["totals"]
    lab.attach(page=zero_drop_report.render(result),
               figures={"requests": totals["attempts"], "dropped": totals["drops"],
                        "drop_rate_upper_95": result["ledger"]["drop_rate"]["upper_95"]})
    seen = "; ".join(str(problem).splitlines()[0] for problem in result["problems"]) or result["sentence"]
    lab.expect(result["exit_code"] == 0, expected=f"{RELOADS + 1} reloads, and no request dropped", seen=seen,
               log=result["log"].splitlines()[-12:])
