"""How long old processes live on after a reload. A thread looks at /proc; it is exact to its pause."""

import threading
import time

from .process import process_state

_PAUSE_S = 0.02


class LingerWatch:
    """`workers()`: the pids of the processes that carry connections now. Call `before` ahead of a reload and
    `after` with the time of its answer; whatever ran before is old from then on."""

    def __init__(self, workers):
        self._workers = workers
        self._lock = threading.Lock()
        self._old = {}  # pid -> number of the reload that made it old
        self._since = {}  # number -> ns of the answer
        self._gone = {}  # number -> [seconds]
        self._before = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def before(self):
        self._before = set(self._workers())

    def after(self, number, t_answer_ns):
        now = set(self._workers())
        with self._lock:
            self._since[number] = t_answer_ns
            for pid in self._before:
                # A process that went before we looked lingered for no time worth a word.
                if pid not in self._old:
                    self._old[pid] = number
                    if pid not in now:
                        self._note_gone(pid)

    def _note_gone(self, pid):
        number = self._old[pid]
        since = max(0.0, (time.monotonic_ns() - self._since[number]) / 1e9)
        self._gone.setdefault(number, []).append(since)
        self._old[pid] = None

    def _look(self):
        while not self._over.wait(_PAUSE_S):
            with self._lock:
                for pid, number in self._old.items():
                    if number is not None and process_state(pid) in (None, "Z"):
                        self._note_gone(pid)

    def alive(self):
        """Pids of old processes that are there still."""
        with self._lock:
            return [pid for pid, number in self._old.items() if number is not None]

    def finish(self):
        """{number: (seconds, whether it is gone)}; ends the watch."""
        self._over.set()
        self._thread.join()
        now = time.monotonic_ns()
        result = {number: (max(times), True) for number, times in self._gone.items()}
        for number in filter(None, self._old.values()):
            result[number] = ((now - self._since[number]) / 1e9, False)
        return result
