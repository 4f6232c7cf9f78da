"""Asking the program to stop: Ctrl-C, and the signals with which terminals and schedulers say goodbye."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_Handler = Callable[[int, FrameType | None], None]


class Stopped(KeyboardInterrupt):
    """The program was asked to stop by a signal; the argument is the exit code that says so.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class StopRequest:
    """Whether training was asked to stop: called, it says so.

    Attributes:
        number: the signal's, None before one came.
        by_callback: whether a callback asked.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.by_callback = False

    def __call__(self) -> bool:
        """Whether a signal came, or a callback asked."""
        return self.by_callback or self.number is not None


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, each of the signals ends what is going on as Ctrl-C does, by raising `Stopped`."""
    with _handled(_stop):
        yield


@contextmanager
def stop_signal() -> Iterator[StopRequest]:
    """Inside, the first of the signals asks to stop at the next good moment; the second raises `Stopped` at once."""
    request = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        if request.number is not None:
            _stop(number, frame)
        request.number = number

    with _handled(ask):
        yield request


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


@contextmanager
def _handled(handler: _Handler) -> Iterator[None]:
    """Inside, a handler gets the signals that are not ignored (as with ``nohup``); only in the main thread."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [signal.Signals[name] for name in _NAMES if name in signal.Signals.__members__]
        before = {number: signal.getsignal(number) for number in numbers}
        before = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
