"""A search for good settings: the trials of a study are jobs of a sweep, which is what is found again and continued."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from ..components.files import write_atomically
from ..registry import ConfigError
from ..training.run_directory import owning, read_status
from .config import RunConfig
from .jobs import STOP
from .mistakes import JobFailed
from .search_report import as_markdown
from .search_space import Space, read_space
from .signals import StopRequest, stop_signal
from .study import SearchSettings, Study
from .sweep import Job, Sweep, finished, once, why_unfinished
from .sweep_progress import Progress
from .validations import score, validations

if TYPE_CHECKING:
    import optuna

_BESIDE = ("search=", "sweep.", "hydra", "logger", "device", "threads", "trust")
"""Beginnings of keys that may change between the calls of a search: its runs stay comparable."""
Said = dict[int, tuple[int, str]]


@dataclass
class Trial:
    """A trial under way.

    Attributes:
        asked: what Optuna knows of it.
        jobs: one for each seed.
        reported: the last step whose validation Optuna knows.
        stopped: why its jobs were asked to stop; None if they were not.
    """

    asked: optuna.Trial
    jobs: Sequence[Job]
    reported: int = 0
    stopped: str | None = None

    @property
    def number(self) -> int:
        """Its number in the study."""
        return self.asked.number

    def stop(self, why: str) -> None:
        """Ask its jobs to save everything and end."""
        self.stopped = why
        for job in self.jobs:
            if not finished(job.directory):
                job.directory.mkdir(parents=True, exist_ok=True)
                (job.directory / STOP).touch()


class Search:
    """Searches for the settings with the best validations.

    Args:
        sweep: whose directory and launcher are used.
        settings: of the search.
        overrides: of the command line.

    Raises:
        ConfigError: the space cannot be searched.
    """

    def __init__(self, sweep: Sweep, settings: SearchSettings, overrides: Sequence[str]) -> None:
        self._sweep, self._settings = sweep, settings
        self._space: Space = read_space(settings.params or {}, overrides)
        self._progress = Progress([])
        self._lock = threading.Lock()  # of the trials under way: another thread follows them
        self._running: list[Trial] = []
        self._wrong: ConfigError | None = None
        self._failures = 0

    def run(self) -> None:
        """Make the trials that the study lacks, report the best, and say how to go on.

        Raises:
            JobFailed: with exit code 130 or the like if the search was interrupted, 1 if too many trials failed.
            ConfigError: a mistake, before anything is written; or another process uses the directory.
        """
        config = self._require_right()
        if self._settings.sampler == "grid":
            self._space.grid()
        directory = self._sweep.directory
        if self._sweep.settings.dry_run:
            print(self._as_table(config))
            return
        with owning(directory):
            (directory / STOP).unlink(missing_ok=True)
            about = [o for o in (*self._space.fixed, *self._space.seeds) if not o.lstrip("+~").startswith(_BESIDE)]
            about += [f"hydra.sweeper.{name}={vars(self._settings)[name]}" for name in ("objective", "score")]
            interval = config.train.eval_interval_steps, config.train.total_steps
            self._study = Study(self._settings, self._space, directory, interval, about)
            again = self._study.requeue()
            self._announce(again)
            try:
                with (
                    stop_signal() as stopped,
                    self._progress.shown(lambda: self._is_over(stopped), directory / STOP, self._follow),
                ):
                    code = self._make_trials(stopped)
            finally:
                (directory / STOP).unlink(missing_ok=True)
            report = as_markdown(self._study, self._settings, self._space, self._sweep.searchpath())
            write_atomically(directory / "search.md", report.encode())
        self._conclude(report, code)

    def _require_right(self) -> RunConfig:
        """The configuration at an end of the space; refuses what is wrong at both ends."""
        corners = [self._space.runs(values)[0] for values in self._space.corners()]
        jobs = self._sweep.plan([overrides for _, overrides in corners], [seed or "trial" for seed, _ in corners])
        right = [job for job in jobs if job.config is not None]
        if not right:
            raise ConfigError(str(jobs[0].mistake))
        for job in right:
            assert job.config is not None
            if not job.total_steps:
                raise ConfigError("a search compares what new runs have learned; here nothing is trained")
        assert right[0].config is not None
        return right[0].config

    def _as_table(self, config: RunConfig) -> str:
        """What a dry run shows."""
        width = max(map(len, self._space.parameters))
        lines = [f"{key:{width}}  {parameter}" for key, parameter in self._space.parameters.items()]
        runs = len(self._space.seeds) or 1
        each = f"{runs} run{'s' * (runs > 1)} of {config.train.total_steps:,} steps"
        return "\n".join([*lines, f"up to {self._settings.n_trials} trials, each {each}: {self._sweep.directory}"])

    def _announce(self, again: Sequence[int]) -> None:
        done = self._study.count("COMPLETE", "PRUNED")
        found = f", {done} made before" * (done > 0) + f", {len(again)} to continue" * bool(again)
        n = self._settings.n_trials if self._settings.sampler != "grid" else done + self._study.left
        print(f"a search of {n} trials{found}: {self._sweep.directory}", flush=True)

    def _is_over(self, stopped: StopRequest) -> bool:
        return stopped() or self._wrong is not None

    def _make_trials(self, stopped: StopRequest) -> int:
        """Make trials until there are enough, too many have failed, or it is to stop; returns the exit code."""
        code = 0
        allowed = self._settings.max_failure_rate * self._settings.n_trials
        while not self._is_over(stopped) and not code and self._failures <= allowed and (left := self._study.left):
            n = min(self._settings.n_jobs, left)
            self._progress.expected = (left - n) * (len(self._space.seeds) or 1)
            trials = self._ask(n)
            try:
                jobs = once([job for trial in trials for job in trial.jobs])
                said = self._launch(jobs, trials)
                code = max([0, *(code for code, _ in said.values() if code > 2)])
                texts = {id(jobs[n]): text for n, (number, text) in said.items() if number <= 2}
                ended = code > 0 or self._is_over(stopped)
                with self._lock:
                    self._running = []
                for trial in trials:
                    self._report(trial)
                    self._tell(trial, texts, ended)
            finally:
                with self._lock:
                    self._running = []
                self._study.requeue([trial.number for trial in trials])
        if self._wrong is not None:
            raise self._wrong
        return 128 + stopped.number if stopped.number is not None else code

    def _ask(self, n: int) -> list[Trial]:
        """The next trials, with their jobs."""
        asked = [self._study.ask() for _ in range(n)]
        runs = [(trial, *run) for trial in asked for run in self._space.runs(trial.params)]
        labels = [f"trial={trial.number}{f' {seed}' if seed else ''}" for trial, seed, _ in runs]
        jobs = self._sweep.plan([overrides for _, _, overrides in runs], labels)
        return [Trial(a, [j for (b, _, _), j in zip(runs, jobs, strict=True) if b is a]) for a in asked]

    def _launch(self, jobs: Sequence[Job], trials: list[Trial]) -> Said:
        """Run the jobs that have something left to do; exit code and text of those that said why they failed."""
        due = [(n, job) for n, job in enumerate(jobs) if job.due]
        for _, job in due:
            (job.directory / STOP).unlink(missing_ok=True)
        self._progress.add([job.watched() for job in jobs if job.mistake is None])
        with self._lock:
            self._running = [trial for trial in trials if not any(job.mistake for job in trial.jobs)]
        said = {n: (2, job.mistake) for n, job in enumerate(jobs) if job.mistake}
        ends = self._sweep.launch(due, lambda: self._wrong is not None) if due else {}
        return said | {n: end for n, end in ends.items() if end is not None}

    def _follow(self) -> None:
        """Tell Optuna of new validations, and stop what it prunes or what cannot succeed any more."""
        with self._lock:
            for trial in self._running:
                try:
                    self._report(trial, prune=True)
                except ConfigError as error:
                    self._wrong = error
                    return
                if trial.stopped is None and any(read_status(job.directory) == "failed" for job in trial.jobs):
                    trial.stop("failed")

    def _values(self, trial: Trial) -> list[dict[int, float]]:
        """The validations of each of a trial's jobs."""
        read = []
        for job in trial.jobs:
            assert job.config is not None
            train = job.config.train
            read.append(
                validations(
                    job.directory,
                    self._settings.objective,
                    job.config.eval.episodes,
                    min(train.eval_interval_steps, train.total_steps),
                )
            )
        return read

    def _report(self, trial: Trial, *, prune: bool = False) -> None:
        """Report the mean over seeds of the validations that all of them have made; stop the trial if it is pruned."""
        if any(job.config is None for job in trial.jobs):
            return
        values = self._values(trial)
        for step in sorted(set.intersection(*map(set, values))):
            mean = fmean(run[step] for run in values)
            if step > trial.reported and not math.isnan(mean):
                trial.asked.report(mean, step)
                trial.reported = step
                if prune and trial.stopped is None and trial.asked.should_prune():
                    trial.stop("pruned")
                    return

    def _tell(self, trial: Trial, texts: Mapping[int, str], ended: bool) -> None:
        """Say what has become of a trial; one that was interrupted is left, to be queued again."""
        number, name = trial.number, self._settings.objective
        for job in trial.jobs:
            if trial.stopped is not None:
                (job.directory / STOP).unlink(missing_ok=True)
        left = [job for job in trial.jobs if not finished(job.directory) or job.mistake]
        if not left:
            value = fmean(score(run, self._settings.score, self._settings.direction) for run in self._values(trial))
            if math.isnan(value):
                self._fail(number, f"its {name} is not a number")
                return
            self._study.completed(number, value)
            best = self._study.ranked()[0]
            better = f"(best: trial {best.number}, {best.value:.6g})"
            self._progress.say(f"{'trial':>11} {number}: {name} {value:.6g}  {better}")
        elif trial.stopped == "pruned":
            self._study.pruned(number)
            self._progress.say(f"{'trial':>11} {number}: pruned at step {trial.reported:,}")
        elif any(id(job) in texts for job in left) or not ended:
            why = next((texts[id(job)] for job in left if id(job) in texts), None)
            failing = next((job for job in left if read_status(job.directory) == "failed"), left[0])
            self._fail(number, why or why_unfinished(failing.directory))

    def _fail(self, number: int, why: str) -> None:
        self._study.failed(number, why)
        self._failures += 1
        print(f"trial {number}: {why}", file=sys.stderr, flush=True)

    def _conclude(self, report: str, code: int) -> None:
        """Print the report and how to go on; raises as `run` says."""
        print(report, end="")
        if self._study.left:
            print(f"to go on: {self._sweep.command()}")
        if code:
            raise JobFailed(code, "interrupted")
        if self._study.left:
            print(
                f"{self._failures} trials failed, more than hydra.sweeper.max_failure_rate="
                f"{self._settings.max_failure_rate} allows",
                file=sys.stderr,
            )
            raise JobFailed(1, "too many trials failed")
