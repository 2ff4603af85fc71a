"""What can go wrong in the harness itself, apart from what it measures."""


class HarnessError(Exception):
    """The harness cannot go on: nothing is said about the balancer under test."""


class CannotMeasure(HarnessError):
    """No verdict is possible; the message says why and what to do. Exit status 2."""


class ChildDied(HarnessError):
    """A process that should be running has ended. The message carries the end of its log."""


class NotReady(HarnessError):
    """A process did not become ready within its deadline. The message carries the end of its log."""
