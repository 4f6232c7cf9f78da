"""Signals that ask the program to stop: from Ctrl-C, from job schedulers, from a terminal that is closed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_FROM_A_TERMINAL = frozenset({"SIGINT", "SIGHUP"})
_Handler = Callable[[int, FrameType | None], None]


class Stopped(KeyboardInterrupt):
    """The program was asked to stop by a signal; ``args[0]`` is the exit code, 128 + the signal's number.

    Args:
        number: the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class StopRequest:
    """Whether training was asked to stop; a call of the object returns it.

    Attributes:
        number: the signal's number, None if there was none.
        by_callback: whether a callback asked for it.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.by_callback = False

    def __call__(self) -> bool:
        """Whether there was a signal, or a callback asked for it."""
        return self.by_callback or self.number is not None


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside the ``with`` block, each of the signals raises `Stopped`, a KeyboardInterrupt as from Ctrl-C."""
    with _handled(_stop):
        yield


@contextmanager
def stop_signal() -> Iterator[StopRequest]:
    """Inside the ``with`` block, the first signal only sets the `StopRequest`; the second raises `Stopped` at once."""
    request = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        if request.number is not None:
            _stop(number, frame)
        request.number = number

    with _handled(ask):
        yield request


def leave_to_parent() -> None:
    """In a process that another one of this program has started, ignore what a terminal sends to both of them.

    The other one hears it, too, and asks in its own way. Nothing changes where the signal is handled already.
    """
    if threading.current_thread() is threading.main_thread():
        for name in _FROM_A_TERMINAL & signal.Signals.__members__.keys():
            if signal.getsignal(signal.Signals[name]) in (signal.default_int_handler, signal.SIG_DFL):
                signal.signal(signal.Signals[name], signal.SIG_IGN)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


@contextmanager
def _handled(handler: _Handler) -> Iterator[None]:
    """Inside the ``with`` block, handle all signals not ignored before (as by ``nohup``); only in the main thread."""
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
