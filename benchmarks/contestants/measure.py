"""How a contestant measures and reports; imports nothing heavy, for the start of programs is measured with it too."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from workloads import WARM_UPDATES, Sizes, update_flop

SPAWNED = "BENCHMARK_SPAWNED"
"""Environment variable: `time.time()` just before the contestant's process was made."""


def report(value: float, **more: Any) -> None:
    """Print the result, one line of JSON.

    Args:
        value: the measure in the unit of the case.
        more: whatever else was seen; ``rss_mb`` is added unless given.
    """
    print(json.dumps({"value": value, "rss_mb": peak_rss_mb(), **more}), flush=True)


def since_spawn() -> float:
    """Seconds since the process was made."""
    return time.time() - float(os.environ[SPAWNED])


def first_step_hook(step: Callable[..., Any]) -> Callable[..., Any]:
    """A function that reports the seconds since the start after its first call, and ends the process."""

    def stepped(*args: Any, **kwargs: Any) -> None:
        step(*args, **kwargs)
        report(since_spawn())
        os._exit(0)

    return stepped


def peak_rss_mb() -> float:
    """Largest resident memory of this process, and of each process below it, added up."""
    return sum(_peak_kb(pid) for pid in (os.getpid(), *_descendants())) / 1024


def cpu_seconds() -> float:
    """CPU time of this process and of the living processes below it."""
    ticks = 0
    for pid in _descendants():
        fields = _stat(pid)
        ticks += int(fields[11]) + int(fields[12]) if fields else 0  # utime, stime
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def versions(*packages: str) -> dict[str, str]:
    """What is installed, and Python."""
    return {"python": sys.version.split()[0], **{name: metadata.version(name) for name in packages}}


def call_ms(call: Callable[[], Any], seconds: float, warm: int = 3) -> tuple[float, int]:
    """Median milliseconds of a call, and how often it was called."""
    for _ in range(warm):
        call()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - began < seconds:
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return median(times) * 1e3, len(times)


def gemm_gflops(seconds: float = 1.0, n: int = 2048) -> float:
    """Rate of the fp32 product of two square matrices by torch with its present threads: the best seen."""
    import torch

    a, b = torch.randn(n, n), torch.randn(n, n)
    rates: list[float] = []
    began = time.perf_counter()
    with torch.no_grad():
        torch.mm(a, b)
        while len(rates) < 3 or time.perf_counter() - began < seconds:
            before = time.perf_counter()
            torch.mm(a, b)
            rates.append(2 * n**3 / (time.perf_counter() - before) / 1e9)
    return max(rates)


def report_update(update: Callable[[], Any], sizes: Sizes, seconds: float, **more: Any) -> None:
    """Measure and report a learner's update, with its share of the rate of matrix products in this process."""
    peak = gemm_gflops()
    ms, n = call_ms(update, seconds)
    rate = update_flop(sizes) / ms / 1e6
    report(ms, calls=n, gflops=rate, peak_gflops=peak, share_of_peak=rate / peak, **more)


class Window:
    """The stretch of a training that is measured: from the first warm update on, for so many seconds.

    Args:
        seconds: how long at least; it ends with the iteration of the training loop that is under way.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._first: tuple[float, float, int, int] | None = None
        self._last = (0.0, 0.0, 0, 0)

    def over(self, steps: int, updates: int) -> bool:
        """Note the counts between two iterations of the training loop; says whether the window is closed."""
        if self._first is None:
            if updates >= WARM_UPDATES:
                self._first = (time.perf_counter(), cpu_seconds(), steps, updates)
            return False
        if time.perf_counter() - self._first[0] < self._seconds:
            return False
        self._last = (time.perf_counter(), cpu_seconds(), steps, updates)  # only now, for /proc is slow to read
        return True

    def result(self) -> dict[str, float]:
        """What was seen: ``value`` is environment steps per second."""
        assert self._first is not None
        wall, cpu, steps, updates = (b - a for a, b in zip(self._first, self._last, strict=True))
        return {
            "value": steps / wall,
            "updates_per_s": updates / wall,
            "steps_per_update": steps / max(updates, 1),
            "steps_per_cpu_s": steps / max(cpu, 1e-9),
            "cpu_share": cpu / wall,
            "wall_s": wall,
            "rss_mb": peak_rss_mb(),
        }


class Over(BaseException):
    """Raised inside a training loop that has no other way to be told that the window is closed."""


def _descendants() -> list[int]:
    """Ids of the processes below this one that are alive; none where there is no /proc."""
    parents = {int(p.name): int(f[1]) for p in Path("/proc").glob("[0-9]*") if (f := _stat(int(p.name)))}
    below, found = {os.getpid()}, set[int]()
    while below:
        below = {pid for pid, parent in parents.items() if parent in below}
        found |= below
    return sorted(found)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _peak_kb(pid: int) -> float:
    """VmHWM, which begins anew with a program, unlike getrusage's value."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return float(line.split()[1])
    own = pid == os.getpid()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1) if own else 0
