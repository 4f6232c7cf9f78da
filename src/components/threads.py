"""How many threads a run uses: decided once, at its start."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeVar

T = TypeVar("T")

_second: ContextVar[ThreadPoolExecutor | None] = ContextVar("second thread", default=None)
_LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Threads(NamedTuple):
    """How many threads a run uses for what.

    Attributes:
        torch: threads of one torch operation.
        second: whether updates use a second Python thread, for target networks and gradients of weights.
    """

    torch: int
    second: bool

    def __str__(self) -> str:
        second = f"{'a' if self.second else 'no'} second one for targets and gradients"
        return f"{self.torch} for torch, {second}, 1 for other libraries"


def decide(asked: int | None, jobs: int, collecting: bool) -> Threads:
    """Threads of one run.

    More threads for one torch operation change the last bits of results, and on few or shared cores they are slower; so
    unless told otherwise there is one, on every machine. The second Python thread changes no bit.

    Args:
        asked: threads that learning may use; ``None``: 2 where this run has so many cores for itself, else 1.
        jobs: runs at the same time, which share the cores.
        collecting: whether episodes are collected while the learner updates, which takes a core.
    """
    if asked is None:
        asked = 2 if available_cores() // jobs - collecting >= 2 else 1
    return Threads(torch=max(1, asked // 2), second=asked > 1)


@contextmanager
def second_thread(second: ThreadPoolExecutor | None) -> Iterator[None]:
    """Inside, `in_background` uses this thread; ``None``: no thread."""
    token = _second.set(second)
    try:
        yield
    finally:
        _second.reset(token)


def in_background(call: Callable[[], T]) -> Callable[[], T]:
    """Start a call whose result is needed later; calling what is returned waits for the result.

    The call is made at once in the second thread, if there is one (`second_thread`), else when its result is needed.
    Whether gradients are recorded is a property of a thread, so the call must say so itself (`torch.no_grad`).
    """
    second = _second.get()
    return call if second is None else second.submit(call).result


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def restrain_libraries() -> None:
    """Give BLAS, OpenMP and numba one thread each in this process and those it starts, unless told otherwise.

    Their small products gain nothing from more, and many waiting threads take cores from each other. To be called
    before NumPy is imported.
    """
    for name in _LIBRARIES:
        os.environ.setdefault(name, "1")


@contextmanager
def restrained_processes() -> Iterator[None]:
    """Inside, processes that are started restrain their libraries, see `restrain_libraries`; this one is as it was."""
    added = [name for name in _LIBRARIES if name not in os.environ]
    restrain_libraries()
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
