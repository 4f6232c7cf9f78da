"""Calls in a background thread that can be interrupted and closed at any moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """Makes calls one after another in one thread, which starts with the first call.

    Unlike an executor's, the thread is a daemon: a program that is interrupted a second time need not wait for it.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._calls: list[Future[Any]] = []
        self._thread: threading.Thread | None = None

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Make a call after those submitted before."""
        future: Future[T] = Future()
        # Noted before it is queued, so that `close` cancels it or waits for it, whenever an interrupt comes.
        self._calls = [*(earlier for earlier in self._calls if not earlier.done()), future]
        self._queue.put((future, call))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="hymarl-background", daemon=True)
            self._thread.start()
        return future

    def close(self) -> None:
        """Wait for the call under way, whatever comes of it; those after it are not made. May be called twice."""
        wait([future for future in reversed(self._calls) if not future.cancel()])
        self._calls = []
        if self._thread is not None:
            self._queue.put(None)  # ends the thread
            self._thread = None

    def _work(self) -> None:
        while (asked := self._queue.get()) is not None:
            future, call = asked
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
            del asked, future, call  # while it waits, the thread keeps nothing alive
