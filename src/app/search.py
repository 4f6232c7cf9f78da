"""A search for good settings: the trials of a study are jobs of a sweep, which is what is found again and continued."""

from __future__ import annotations

import math
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from ..components.files import write_atomically
from ..registry import ConfigError
from ..training.run_directory import owning, read_status, require_free
from .config import RunConfig
from .jobs import STOP
from .mistakes import JobFailed
from .samplers import rehearse
from .search_record import describe, differences, other_runs
from .search_report import as_markdown
from .search_settings import SearchSettings
from .search_space import Space, Value, read_space
from .signals import StopRequest, stop_signal
from .study import Study
from .sweep import Job, Sweep, finished, once, why_unfinished
from .sweep_progress import Progress, Watched
from .validations import DamagedTable, at_common_steps, score, validations

if TYPE_CHECKING:
    import optuna

Said = dict[int, tuple[int, str]]
Point = Mapping[str, Value]
_EXAMPLES = 100  # values of a setting that are tried before anything runs


@dataclass
class Trial:
    """A trial under way.

    Attributes:
        asked: what Optuna knows of it.
        jobs: one for each seed.
        reported: the last step whose validation Optuna knows.
        stopped: why its jobs were asked to stop; None if they were not.
        damage: what is wrong with its files; None if nothing is.
        watched: its jobs as their progress is shown.
    """

    asked: optuna.Trial
    jobs: Sequence[Job]
    reported: int = 0
    stopped: str | None = None
    damage: str | None = None
    watched: list[Watched] = field(default_factory=list)

    @property
    def number(self) -> int:
        """Its number in the study."""
        return self.asked.number

    def stop(self, why: str) -> None:
        """Ask its jobs to save everything and end."""
        for job in self.jobs:
            if not finished(job.directory):
                job.directory.mkdir(parents=True, exist_ok=True)
                (job.directory / STOP).touch()
        self.stopped = why


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
        self._stop = sweep.directory.absolute() / STOP
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
            WriteError: the study cannot be written; the same command goes on.
        """
        point, config = self._require_right()
        interval = config.train.eval_interval_steps, config.train.total_steps
        rehearse(self._settings, self._space, interval)
        if self._settings.sampler == "grid":
            self._space.grid()
        directory = self._sweep.directory
        if self._sweep.settings.dry_run:
            print(self._as_table(config))
            return
        with owning(directory):
            self._stop.unlink(missing_ok=True)
            self._sweep.discard_what_never_began()
            self._study = Study(self._settings, self._space, directory, interval)
            self._announce(self._begin(point, config))
            try:
                with (
                    stop_signal() as stopped,
                    self._progress.shown(lambda: self._is_over(stopped), self._stop, self._follow),
                ):
                    code = self._make_trials(stopped)
            finally:
                self._stop.unlink(missing_ok=True)
                self._sweep.discard_what_never_began()
            report = as_markdown(self._study, self._settings, self._space, self._sweep.searchpath())
            write_atomically(directory / "search.md", report.encode())
        self._conclude(report, code)

    def _begin(self, point: Point, config: RunConfig) -> list[int]:
        """Go on with what the study is about, or say what that is; the numbers of the trials that are queued again."""
        seeds = self._space.seeds
        about = here = describe(self._settings, seeds, point, config)
        earlier = self._study.about or about
        if earlier["point"] != point and earlier["point"].keys() == point.keys():
            (job,) = self._plan([earlier["point"]])
            here = describe(self._settings, seeds, earlier["point"], job.config, job.mistake)
        different = differences(earlier, here)
        return self._study.begin(about if different else earlier, different, other_runs=bool(other_runs(earlier, here)))

    def _plan(self, points: Sequence[Point]) -> list[Job]:
        """A job of each of these trials; nothing is written."""
        runs = [self._space.runs(point)[0] for point in points]
        return self._sweep.plan([overrides for _, overrides in runs], [seed or "trial" for seed, _ in runs])

    def _require_right(self) -> tuple[Point, RunConfig]:
        """A point of the space, and the configuration there; refuses values with which there is no run."""
        tried: list[tuple[Point, Job]] = []

        def wrong(points: Sequence[Point]) -> str | None:
            new = [*zip(points, self._plan(points), strict=True)]
            tried.extend(pair for pair in new if pair[1].mistake is None)
            return None if any(job.mistake is None for _, job in new) else str(new[0][1].mistake)

        corners = self._space.corners()
        mistake = wrong(corners)
        if mistake is not None:
            raise ConfigError(mistake)
        if not all(job.total_steps for _, job in tried):
            raise ConfigError("a search compares what new runs have learned; here nothing is trained")
        for key, parameter in self._space.parameters.items():
            for value in parameter.examples()[:_EXAMPLES]:
                if not any(point[key] == value for point, _ in tried):
                    mistake = wrong([{**corner, key: value} for corner in corners])
                    if mistake is not None:
                        raise ConfigError(f"with {key}={value} there is no run: {mistake}{self._instead(key)}")
        point, job = tried[0]
        assert job.config is not None
        return point, job.config

    def _instead(self, key: str) -> str:
        """How to search what only some options have, if a key chooses an option among others that are searched."""
        below = next((other for other in self._space.parameters if other.startswith(f"{key}.")), None)
        if below is None:
            return ""
        return f"; what only some options have is searched as +when_chosen.{key}.OPTION.{below.partition('.')[2]}=…"

    def _as_table(self, config: RunConfig) -> str:
        """What a dry run shows."""
        width = max(map(len, self._space.parameters))
        lines = [f"{key:{width}}  {parameter}" for key, parameter in self._space.parameters.items()]
        runs = len(self._space.seeds) or 1
        each = f"{runs} run{'s' * (runs > 1)} of {config.train.total_steps:,} steps"
        return "\n".join([*lines, f"up to {self._settings.n_trials} trials, each {each}: {self._sweep.directory}"])

    def _announce(self, again: Sequence[int]) -> None:
        done = self._study.made
        found = f", {done} made before" * (done > 0) + f", {len(again)} to continue" * bool(again)
        n = self._settings.n_trials if self._settings.sampler != "grid" else done + self._study.left()
        print(f"a search of {n} trial{'s' * (n != 1)}{found}: {self._sweep.directory}", flush=True)

    def _is_over(self, stopped: StopRequest) -> bool:
        return stopped() or self._wrong is not None or self._stop.exists()

    def _make_trials(self, stopped: StopRequest) -> int:
        """Make trials until there are enough, too many have failed, or it is to stop; returns the exit code."""
        code = 0
        allowed = self._settings.max_failure_rate * self._settings.n_trials
        self._progress.expected = self._jobs_left()
        while not self._is_over(stopped) and not code and self._failures <= allowed and (left := self._study.left()):
            n = min(self._settings.n_jobs, left)
            try:
                trials = self._ask(n)
                jobs = once([job for trial in trials for job in trial.jobs])
                said = self._launch(jobs, trials, stopped)
                code = max([0, *(code for code, _ in said.values() if code > 2)])
                texts = {id(jobs[n]): text for n, (number, text) in said.items() if number <= 2}
                ended = code > 0 or self._is_over(stopped)
                self._follow_no_more()
                for under_way, trial in zip(range(n - 1, -1, -1), trials, strict=True):
                    self._tell(trial, texts, ended)
                    self._progress.replace(trial.watched, self._jobs_left(under_way))
            finally:
                self._follow_no_more()
                self._study.requeue()
        if self._wrong is not None:
            raise self._wrong
        if stopped.number is not None:
            return 128 + stopped.number
        return code or (128 + signal.SIGINT if self._stop.exists() else 0)

    def _jobs_left(self, under_way: int = 0) -> int:
        """How many jobs have no place yet in the progress that is shown, while so many trials are under way."""
        return self._study.left(under_way) * (len(self._space.seeds) or 1)

    def _ask(self, n: int) -> list[Trial]:
        """The next trials, with their jobs."""
        asked = [self._study.ask() for _ in range(n)]
        runs = [(trial, *run) for trial in asked for run in self._space.runs(trial.params)]
        labels = [f"trial={trial.number}{f' {seed}' if seed else ''}" for trial, seed, _ in runs]
        jobs = self._sweep.plan([overrides for _, _, overrides in runs], labels)
        return [Trial(a, [j for (b, _, _), j in zip(runs, jobs, strict=True) if b is a]) for a in asked]

    def _launch(self, jobs: Sequence[Job], trials: list[Trial], stopped: StopRequest) -> Said:
        """Run the jobs that have something left to do; exit code and text of those that said why they failed.

        Raises:
            ConfigError: another process still has the directory of a run, as one that outlived an earlier search.
        """
        due = [(n, job) for n, job in enumerate(jobs) if job.due]
        for _, job in due:
            require_free(job.directory)
            (job.directory / STOP).unlink(missing_ok=True)
        shown = {id(job): job.watched() for job in jobs if job.mistake is None}
        for trial in trials:
            trial.watched = [shown.pop(id(job)) for job in trial.jobs if id(job) in shown]
        self._progress.add([job for trial in trials for job in trial.watched], self._jobs_left(len(trials)))
        with self._lock:
            self._running = [trial for trial in trials if not any(job.mistake for job in trial.jobs)]
        said = {n: (2, job.mistake) for n, job in enumerate(jobs) if job.mistake}
        ends = self._sweep.launch(due, lambda: self._is_over(stopped)) if due else {}
        return said | {n: end for n, end in ends.items() if end is not None}

    def _follow(self) -> None:
        """Tell Optuna of new validations, and stop what it prunes or what cannot succeed any more."""
        with self._lock:
            for trial in self._running:
                if trial.stopped is not None:
                    continue
                try:
                    self._report(trial, following=True)
                except ConfigError as error:
                    self._wrong = error
                    return
                except DamagedTable as error:
                    trial.damage = str(error)
                    trial.stop("failed")
                if trial.stopped is None and any(read_status(job.directory) == "failed" for job in trial.jobs):
                    trial.stop("failed")

    def _follow_no_more(self) -> None:
        with self._lock:
            self._running = []

    def _values(self, trial: Trial) -> list[dict[int, float]]:
        """The validations of each of a trial's jobs."""
        configs = [job.config for job in trial.jobs if job.config is not None]
        return [
            validations(job.directory, self._settings.objective, config.eval.episodes)
            for job, config in zip(trial.jobs, configs, strict=True)
        ]

    def _report(self, trial: Trial, *, following: bool) -> None:
        """Report the mean over seeds of the validations that all of them have made.

        Args:
            trial: the trial.
            following: whether its jobs run: then it is stopped if it is pruned.
        """
        values = []
        for job, found in zip(trial.jobs, self._values(trial), strict=True):
            assert job.config is not None
            train = job.config.train
            values.append(at_common_steps(found, train.eval_interval_steps, train.total_steps))
        for step in sorted(set.intersection(*map(set, values))):
            mean = fmean(run[step] for run in values)
            if step > trial.reported and not math.isnan(mean):
                self._study.report(trial.asked, step, mean, patient=not following)
                trial.reported = step
                if following and self._study.should_prune(trial.asked):
                    trial.stop("pruned")
                    return

    def _tell(self, trial: Trial, texts: Mapping[int, str], ended: bool) -> None:
        """Say what has become of a trial; one that was interrupted is left, to be queued again."""
        if trial.stopped is not None:
            for job in trial.jobs:
                (job.directory / STOP).unlink(missing_ok=True)
        left = [job for job in trial.jobs if not finished(job.directory) or job.mistake]
        try:
            if trial.damage is None and not any(job.mistake for job in trial.jobs):
                self._report(trial, following=False)
            values = [] if left else self._values(trial)
        except DamagedTable as error:
            trial.damage = str(error)
        except OSError as error:
            trial.damage = f"cannot read {error.filename}: {error.strerror}"
        if trial.damage is not None:
            self._fail(trial, trial.damage)
        elif not left:
            self._complete(trial, values)
        elif trial.stopped == "pruned":
            self._study.pruned(trial.number)
            self._progress.settle(trial.watched)
            self._progress.say(f"{'trial':>11} {trial.number}: pruned at step {trial.reported:,}")
        elif any(id(job) in texts for job in left) or not ended:
            why = next((texts[id(job)] for job in left if id(job) in texts), None)
            failing = next((job for job in left if read_status(job.directory) == "failed"), left[0])
            self._fail(trial, why or why_unfinished(failing.directory))

    def _complete(self, trial: Trial, values: Sequence[Mapping[int, float]]) -> None:
        name = self._settings.objective
        without = [job.directory for job, run in zip(trial.jobs, values, strict=True) if not run]
        if without:
            self._fail(trial, f"{without[0] / 'evaluations.csv'} holds no validation")
            return
        value = fmean(score(run, self._settings.score, self._settings.direction) for run in values)
        if math.isnan(value):
            self._fail(trial, f"its {name} is not a number")
            return
        self._study.completed(trial.number, value)
        best = self._study.ranked()[0]
        better = f"(best: trial {best.number}, {best.value:.6g})"
        self._progress.say(f"{'trial':>11} {trial.number}: {name} {value:.6g}  {better}")

    def _fail(self, trial: Trial, why: str) -> None:
        self._study.failed(trial.number, why)
        self._failures += 1
        print(f"trial {trial.number}: {why}", file=sys.stderr, flush=True)

    def _conclude(self, report: str, code: int) -> None:
        """Print the report and how to go on; raises as `run` says."""
        print(report, end="")
        if self._study.left():
            print(f"to go on: {self._sweep.command()}")
        if code:
            raise JobFailed(code, "interrupted")
        if self._study.left():
            print(
                f"{self._failures} trials failed, more than hydra.sweeper.max_failure_rate="
                f"{self._settings.max_failure_rate} allows",
                file=sys.stderr,
            )
            raise JobFailed(1, "too many trials failed")
