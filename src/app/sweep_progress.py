"""What a person watches of a sweep: one line over all jobs on a terminal, a line for each event elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..components.loggers.console import Rate, clock, on_terminal
from ..training.run_directory import read_status
from .jobs import STOP
from .names import one_line

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_POLL_S = 0.5
_TAIL_BYTES = 8192


@dataclass
class Watched:
    """A job as its files show it.

    Attributes:
        label: what it is called.
        directory: of its run.
        total_steps: at which it ends; 0 if it does not train.
        before: whether it had finished before.
        status: of its run, since the sweep began.
        step: reached.
        replaced: whether another job will be made in its place, so that it counts no more.
    """

    label: str
    directory: Path
    total_steps: int
    before: bool
    status: str | None = None
    step: int = 0
    replaced: bool = False
    first: int = field(default=0, repr=False)


class Progress:
    """Follows jobs by their files, wherever they run, and shows how far they are.

    Args:
        jobs: the jobs.

    Attributes:
        expected: the number of jobs that will be added, as far as is known.
    """

    def __init__(self, jobs: Sequence[Watched]) -> None:
        self._jobs = list(jobs)
        self.expected = 0
        self._began, self._rate = time.time(), Rate(0)
        self._bar: Bar | None = None
        for job in jobs:
            job.step = job.first = _last_step(job.directory)

    def add(self, jobs: Sequence[Watched], expected: int) -> None:
        """Follow further jobs; so many more are expected then."""
        for job in jobs:
            job.step = job.first = _last_step(job.directory)
        self._jobs += jobs
        self.expected = expected

    def replace(self, jobs: Sequence[Watched], expected: int) -> None:
        """So many more jobs are expected now; if that is more than before, these jobs are to be made again."""
        for job in jobs:
            job.replaced |= expected > self.expected
        self.expected = expected

    def settle(self, jobs: Sequence[Watched]) -> None:
        """Nothing more will be done about these jobs, though they have not finished."""
        for job in jobs:
            if job.status != "finished":
                job.status = "stopped"

    def announce(self, directory: Path) -> None:
        """Say how many jobs there are, and where."""
        done = sum(job.before for job in self._jobs)
        begun = sum(job.first > 0 and not job.before for job in self._jobs)
        found = f", {done} finished before" * bool(done) + f", {begun} to continue" * bool(begun)
        n = len(self._jobs)
        print(f"{n} job{'s' * (n > 1)}{found}: {directory}", flush=True)

    @contextmanager
    def shown(
        self, stopped: Callable[[], bool], stop_file: Path, look: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """Inside the ``with`` block the jobs are followed; when it is to stop, the file is made that tells them.

        Whatever goes wrong is said once, and tried again: no mistake here may end the thread that stops the jobs.

        Args:
            stopped: whether it is to stop.
            stop_file: the file.
            look: is called again and again, in another thread, to follow more than is shown.
        """
        ended, said = threading.Event(), set[str]()

        def stop() -> None:
            if stopped() and "stopping" not in said:
                stop_file.touch()
                said.add("stopping")
                self.say("stopping: the jobs save everything; once more ends them at once")

        def follow() -> None:
            while not ended.wait(_POLL_S):
                for act in (stop, self._look, look):
                    try:
                        act()
                    except Exception as error:
                        text = f"cannot follow the jobs: {one_line(error) or type(error).__name__}; it is tried again"
                        if text not in said:
                            said.add(text)
                            print(text, file=sys.stderr, flush=True)

        thread = threading.Thread(target=follow, daemon=True)
        with self._drawn():
            thread.start()
            try:
                yield
            finally:
                ended.set()
                thread.join()
                self._look()

    @contextmanager
    def _drawn(self) -> Iterator[None]:
        if not on_terminal():
            yield
            return
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        columns = BarColumn(bar_width=24), TextColumn("{task.percentage:3.0f}%  {task.fields[text]}", markup=False)
        with Bar(*columns, transient=True, refresh_per_second=2) as self._bar:
            self._bar.add_task("", total=max(1, sum(job.total_steps for job in self._jobs)), text="")
            yield

    def _look(self) -> None:
        """Read how far the jobs are, and show what is new."""
        for job in self._jobs:
            if job.before or job.status in ("finished", "failed", "stopped"):
                continue
            status = self._status(job)
            if status is not None and job.total_steps:
                with suppress(OSError, ValueError):
                    job.step = max(job.step, _last_step(job.directory))
            if status != job.status:
                job.status = status
                if status == "finished":
                    job.step = max(job.step, job.total_steps)
                self.say(f"{status or '':>11}  {job.label}{self._counts() if status != 'running' else ''}")
        self._rate.add(time.monotonic(), sum(job.step - job.first for job in self._jobs if not job.before))
        if self._bar is not None:
            task = self._bar.task_ids[0]
            made = sum(job.total_steps if job.before else job.step for job in self._jobs if not job.replaced)
            steps = sum(job.total_steps for job in self._jobs if not job.replaced)
            total = max(1, steps + self.expected * max((job.total_steps for job in self._jobs), default=0))
            self._bar.update(task, completed=made, total=total, text=self._counts(running=True).strip(" ()"))

    def _status(self, job: Watched) -> str | None:
        """The status of a job's run; None if it was written before the sweep began.

        A scripted policy leaves no status, but its test.
        """
        if not self._is_new(job.directory / "status.json"):
            tested = not job.total_steps and self._is_new(job.directory / "comparison.csv")
            return "finished" if tested else None
        status = read_status(job.directory)
        return "stopped" if status == "interrupted" and (job.directory / STOP).exists() else status

    def _is_new(self, file: Path) -> bool:
        """Whether a file was written since the sweep began."""
        try:
            return file.stat().st_mtime >= self._began - 1
        except OSError:
            return False

    def _counts(self, *, running: bool = False) -> str:
        counted = [job for job in self._jobs if not job.replaced]
        done = sum(job.before or job.status in ("finished", "stopped") for job in counted)
        parts = [f"{done} of {len(counted) + self.expected} done"]
        for status in ("running", "failed", "interrupted"):
            n = sum(job.status == status for job in self._jobs)
            parts += [f"{n} {status}"] if n and (running or status != "running") else []
        rate = self._rate.per_second
        if rate:
            under_way = [job for job in counted if not job.before and job.status not in ("stopped", "failed")]
            left = sum(max(0, job.total_steps - job.step) for job in under_way)
            left += self.expected * max((job.total_steps for job in self._jobs), default=0)
            parts += [f"{rate:,.0f} steps/s", f"{clock(left / rate)} left"]
        return f"  ({', '.join(parts)})"

    def say(self, text: str) -> None:
        """Show a line."""
        with suppress(OSError):  # the output may be closed
            if self._bar is not None:
                self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                print(text, flush=True)


def _last_step(directory: Path) -> int:
    """The step of the last complete row of a run's ``metrics.csv``; 0 if there is none."""
    try:
        with (directory / "metrics.csv").open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            rows = file.read().split(b"\n")
    except OSError:
        return 0
    for row in reversed(rows[:-1]):
        with suppress(ValueError):
            return int(float(row.split(b",", 1)[0]))
    return 0
