"""Runs functions in processes of their own, some at a time: for callers that may not have threads because
what they call forks (cells). Results are JSON."""
import json
import os
import select
import signal
import sys
import traceback

from . import contain


def run_all(tasks, jobs, on_result=None):
    """`tasks`: [(name, function without arguments), ...]. Returns {name: result}; a function that raises, or
    whose process ends, gives {"broken": text}."""
    waiting, running, results = list(tasks), {}, {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name, function = waiting.pop(0)
                fd, pid = _start(function)
                running[fd] = (name, pid, b"")
            for fd in select.select(list(running), [], [])[0]:
                name, pid, text = running[fd]
                part = os.read(fd, 1 << 16)
                if part:
                    running[fd] = (name, pid, text + part)
                    continue
                del running[fd]
                os.close(fd)
                _, status = os.waitpid(pid, 0)
                results[name] = _result(text, status)
                if on_result:
                    on_result(name, results[name])
    finally:
        for _, pid, _ in running.values():
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
    return results


def _result(text, status):
    try:
        return json.loads(text)
    except ValueError:
        return {"broken": f"its process ended ({os.waitstatus_to_exitcode(status)})"}


def _start(function):
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return read_end, pid
    try:
        os.close(read_end)
        signal.signal(signal.SIGTERM, _end_all)
        contain.die_with_parent(signal.SIGTERM)
        try:
            result = function()
        except Exception:
            result = {"broken": traceback.format_exc(limit=-4)}
        text = json.dumps(result).encode()
        while text:
            text = text[os.write(write_end, text):]
    finally:
        sys.stderr.flush()
        os._exit(0)


def _end_all(_number, _frame):
    contain.end_below(os.getpid())
    os._exit(1)
