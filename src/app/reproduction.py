"""Published numbers beside our own: the runs are those of a sweep, then follow verdicts and a report."""

from __future__ import annotations

import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from ..components.terminal import program_name
from ..components.threads import available_cores
from ..registry import ConfigError, suggest
from ..reports.runs import Found, Run, read_config, read_run
from ..reproduce.report import Result, require_packages, write
from ..reproduce.tasks import Task, load, names, of_tier
from ..reproduce.verdicts import judge
from .changes import allow
from .command_line import as_typed
from .config import ReproduceSettings, read_section
from .mistakes import JobFailed
from .protocol import revision, versions
from .sweep import Ends, Job, Sweep, finished

_ALLOWED = frozenset({"reproduce", "sweep", "logger", "threads", "device"})
_WIDTH = 150  # of a terminal


class _Cell(NamedTuple):
    """One run of a task: a method with a seed."""

    task: Task
    method: str
    overrides: tuple[str, ...]

    @property
    def label(self) -> str:
        seed = [word for word in self.overrides if word.startswith("seed=")]
        return " ".join([self.task.name, self.method, *seed])


class Reproduction(Sweep):
    """The runs of tasks as a sweep, so that they are found again and continued; then what became of their rows.

    Args:
        master: the composed configuration.
        loader: composes those of the runs.
        launcher: runs them.
    """

    def __init__(self, master: DictConfig, loader: ConfigLoader, launcher: Launcher) -> None:
        super().__init__(master, loader, launcher)
        self._chosen = read_section(master, "reproduce", ReproduceSettings)
        self._cells: list[_Cell] = []
        self._planned: list[Job] = []
        self._kept = 0
        self._began = time.monotonic()

    def reproduce(self, arguments: Sequence[str], batch: int | None) -> None:
        """Run what has not finished, and report.

        Args:
            arguments: the overrides, as typed.
            batch: how many runs the launcher gets at once; None: all.

        Raises:
            JobFailed: a run failed, or a row that should hold does not (exit code 1), or it was interrupted.
            ConfigError: there is no such tier or task, or a setting of the runs would be changed.
        """
        allow(_ALLOWED, arguments, "reproduce runs what each task says", ", or use its experiment alone: experiment=…")
        require_packages()
        beside = [word for word in arguments if word.split("=")[0].split(".")[0] in ("logger", "threads", "device")]
        if not any(word.startswith("logger=") for word in beside):
            beside.insert(0, "logger=[]")
        for task in self._tasks():
            for method, overrides in task.cells(self._chosen.seeds):
                self._cells.append(_Cell(task, method, (*overrides, *beside)))
        self.run([cell.overrides for cell in self._cells], batch)

    def plan(self, lists: Sequence[Sequence[str]], labels: Sequence[str] | None = None) -> list[Job]:
        """See `Sweep.plan`; the runs are called after task, method and seed."""
        self._planned = super().plan(lists, labels or [cell.label for cell in self._cells])
        self._kept = len({job.directory for job in self._planned if job.state == "finished"})
        return self._planned

    def conclude(self, jobs: Sequence[Job], ends: Ends, signal: int | None) -> None:
        """See `Sweep.conclude`; before that the report, unless the sweep was interrupted."""
        interrupted = signal is not None or any(end and end[0] > 2 for end in ends.values())
        failed = [] if interrupted else self._report()
        super().conclude(jobs, ends, signal)
        if failed:
            print(f"{len(failed)} of the rows that should hold do not: {'; '.join(failed)}", file=sys.stderr)
            raise JobFailed(1, "rows that should hold do not")

    def command(self) -> str:
        """The command that goes on, without what was added to it."""
        return f"{program_name()} {shlex.join(as_typed(sys.argv[1:]))}"

    def _tasks(self) -> list[Task]:
        tier, given = self._chosen.tier, self._chosen.task
        if (tier is None) == (given is None):
            raise ConfigError(
                "reproduce: give a tier or a task: reproduce.tier=seconds, or reproduce.task=NAME, of "
                f"{', '.join(names())}"
            )
        if tier is not None:
            found = of_tier(tier)
        else:
            found = [load(str(name)) for name in dict.fromkeys(given if isinstance(given, list) else [given])]
        return self._with_methods(found) if self._methods else found

    @property
    def _methods(self) -> list[str]:
        """Those that were asked for, none for all."""
        given = self._chosen.methods
        return [] if given is None else [str(name) for name in (given if isinstance(given, list) else [given])]

    def _with_methods(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks with the methods that were asked for, without those of a tier that then compare nothing."""
        known = sorted({method for task in tasks for method in task.methods})
        for method in self._methods:
            if method not in known:
                raise ConfigError(
                    f"reproduce.methods: there is no {method!r} in what is reproduced; {suggest(method, known)}"
                )
        found = [task.only(self._methods) for task in tasks]
        nothing = [task.name for task in found if not task.rows]
        if nothing and (self._chosen.tier is None or len(nothing) == len(found)):
            raise ConfigError(
                f"reproduce.methods: no row of {', '.join(nothing)} is about {', '.join(self._methods)} alone"
            )
        return [task for task in found if task.rows]

    def _report(self) -> list[str]:
        """Write the report, print the verdicts; the rows that should hold and do not."""
        results = [self._result(task) for task in dict.fromkeys(cell.task.name for cell in self._cells)]
        chosen = self._chosen
        what = f"tier {chosen.tier}" if chosen.tier else "-".join(result.task.name for result in results)
        to = self.directory / "-".join(["report", what.removeprefix("tier "), *self._methods])
        notes = []
        if self._methods:
            n_rows = sum(len(load(result.task.name).rows) - len(result.task.rows) for result in results)
            notes.append(f"Only {', '.join(self._methods)}: {n_rows} rows that need other methods are left out.")
        if self._kept:
            total = len({job.directory for job in self._planned})
            notes.append(
                f"{self._kept} of {total} runs were kept from earlier calls; without {self.directory} all run anew."
            )
        revisions = sorted(self._revisions(results))
        if len(revisions) > 1:
            notes.append(f"The runs were made by several revisions of the program: {', '.join(revisions)}.")
        title = f"{what}, {', '.join(self._methods)} alone" if self._methods else what
        verdicts = write(results, title, self._conditions(), notes, to)
        print(verdicts.text(width=_WIDTH), *notes, f"report: {to / 'report.html'} and report.md", sep="\n", flush=True)
        return [
            f"{result.task.name} ({', '.join(f.row.of)}, {f.row.metric})"
            for result in results
            for f in result.findings
            if f.failed
        ]

    def _result(self, name: str) -> Result:
        cells = [(cell, job) for cell, job in zip(self._cells, self._planned, strict=True) if cell.task.name == name]
        task = cells[0][0].task
        runs: dict[str, list[Run]] = {method: [] for method in task.methods}
        expected = dict.fromkeys(task.methods, 0)
        for cell, job in cells:
            expected[cell.method] += 1
            if job.mistake is None and finished(job.directory):
                found = Found(job.directory, "hymarl")
                with suppress(ValueError):  # it is damaged, and so not run
                    runs[cell.method].append(read_run(found, read_config(found), task.metrics()))
        return Result(task=task, runs=runs, findings=judge(task, runs, expected))

    def _revisions(self, results: Sequence[Result]) -> set[str]:
        found = set()
        for result in results:
            for run in (run for runs in result.runs.values() for run in runs):
                made = _protocol(run.path).get("git_revision")
                found |= {str(made)} if made else set()
        return found

    def _conditions(self) -> Mapping[str, str]:
        minutes = (time.monotonic() - self._began) / 60
        return {
            "command": self.command(),
            "machine": f"{_processor()}, {available_cores()} cores",
            "versions": ", ".join(f"{name} {text}" for name, text in versions().items()),
            "revision": revision() or "not in a checkout",
            "wall time of this call": f"{minutes * 60:.0f} s" if minutes < 5 else f"{minutes:.0f} min",
        }


def _protocol(directory: Path) -> Mapping[str, object]:
    import json

    try:
        found = json.loads((directory / "protocol.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _processor() -> str:
    """The name of the processor, as far as the system tells."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
