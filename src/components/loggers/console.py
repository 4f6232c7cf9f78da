"""What a person watches: a progress bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Literal

from ...ranges import Seconds
from ...registry import register, suggest
from .base import Logger, Record, RunInfo, Status

if TYPE_CHECKING:
    from rich.progress import Progress

_RATE_WINDOW_S = 60.0


@register("logger")
class ConsoleLogger(Logger):
    """Steps, rate, remaining time and chosen values, on standard output, or in ``train.log`` if that is shared.

    Args:
        run: the run.
        progress: ``bar``, ``lines`` or ``none`` (messages and the end only); ``auto`` is a bar on a terminal and lines
            elsewhere.
        interval_s: least number of seconds between two lines.
        show: values to show as ``<table>/<name>``; those that a run does not have are left out, and it says so.
    """

    def __init__(
        self, run: RunInfo, *, progress: Literal["auto", "bar", "lines", "none"], interval_s: Seconds, show: list[str]
    ) -> None:
        self._total = run.total_steps
        self._show = show
        self._shown: dict[str, float] = {}
        self._rate = Rate(run.step)
        self._begin = time.monotonic()
        self._interval_s = interval_s
        self._next_line = self._begin
        self._file = None if run.alone else run.directory / "train.log"
        mode = progress
        if mode in ("auto", "bar") and not run.alone:
            mode = "lines"
        elif mode == "auto":
            mode = "bar" if on_terminal() else "lines"
        self._lines = mode == "lines"
        self._bar = _Bar(run.step, run.total_steps) if mode == "bar" else None
        for name in show:
            if run.columns and name not in run.columns:
                self._print(f"logger.console.show: this run has no {name!r}; {suggest(name, run.columns)}")

    def log(self, record: Record) -> None:
        """Take over step and values; draw the bar, or print a line if one is due."""
        now = time.monotonic()
        self._rate.add(now, record.step)
        names = {f"{record.table}/{name}": value for name, value in record.values.items()}
        self._shown |= {name: names[name] for name in self._show if not math.isnan(names.get(name, math.nan))}
        if self._bar:
            self._bar.update(self._rate.step, f"{self._speed()}  {self._values()}".rstrip())
        elif self._lines and now >= self._next_line:
            self._next_line = now + self._interval_s
            share = f"{min(1, self._rate.step / max(1, self._total)):4.0%}"  # the last collection may go beyond
            self._print(
                f"{self._rate.step:>{len(f'{self._total:,}')},} steps {share}  {self._speed()}  {self._values()}"
            )

    def message(self, text: str) -> None:
        """Print a line, above the bar if there is one; it is in ``train.log`` in any case."""
        if self._file is None:
            self._print(text)

    def finish(self, status: Status, reason: str | None) -> None:
        """Remove the bar and say how the run ended."""
        if self._bar:
            self._bar.stop()
            self._bar = None
        steps = f"{self._rate.step:,}" + ("" if status == "finished" else f" of {self._total:,}")
        because = f": {reason}" if reason else ""
        took = clock(time.monotonic() - self._begin)
        self._print(f"{status} after {steps} steps in {took}{because}  {self._values()}")

    def _print(self, text: str) -> None:
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as log:
                log.write(f"{text.rstrip()}\n")
        elif self._bar:
            self._bar.print(text.rstrip())
        else:
            print(text.rstrip(), flush=True)

    def _speed(self) -> str:
        rate = self._rate.per_second
        if not rate:
            return "- steps/s"
        left = max(0, self._total - self._rate.step) / rate
        return f"{rate:,.0f} steps/s  {clock(left)} left"

    def _values(self) -> str:
        return "  ".join(f"{_label(name)} {self._shown[name]:.4g}" for name in self._show if name in self._shown)


class Rate:
    """Environment steps per second over the last minute.

    Args:
        step: the last step before the first record.
    """

    def __init__(self, step: int) -> None:
        self._begin = step
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, step: int) -> None:
        """A record of ``step`` arrived at ``now``; of several of one step the first counts."""
        if not self._samples or step > self.step:
            self._samples.append((now, step))
        while len(self._samples) > 2 and now - self._samples[1][0] > _RATE_WINDOW_S:
            self._samples.popleft()

    @property
    def step(self) -> int:
        """The last step."""
        return self._samples[-1][1] if self._samples else self._begin

    @property
    def per_second(self) -> float | None:
        """None before two different steps were seen."""
        if len(self._samples) < 2 or self._samples[-1][0] <= self._samples[0][0]:
            return None
        (begin, first), (end, last) = self._samples[0], self._samples[-1]
        return (last - first) / (end - begin)


class _Bar:
    """A rich progress bar, on a console of its own so that runs of one process share nothing."""

    def __init__(self, step: int, total_steps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        self._console = Console(file=sys.stdout, force_terminal=True, highlight=False)
        self._progress: Progress = Progress(
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=6)),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[text]}", markup=False),
            console=self._console,
            refresh_per_second=4,
            transient=True,
            expand=True,
        )
        self._progress.start()
        self._task = self._progress.add_task("", completed=step, total=total_steps, text="")

    def update(self, step: int, text: str) -> None:
        """Move to ``step``."""
        self._progress.update(self._task, completed=step, text=text)

    def print(self, text: str) -> None:
        """Print above the bar."""
        self._console.print(text, markup=False, soft_wrap=True)

    def stop(self) -> None:
        """Remove the bar from the screen."""
        self._progress.stop()


def on_terminal() -> bool:
    """Whether standard output is a terminal that can show a bar."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _label(name: str) -> str:
    table, _, value = name.rpartition("/")
    return ("eval " if table == "evaluation" else "") + value.removesuffix("_mean")


def clock(seconds: float) -> str:
    """Seconds as ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
