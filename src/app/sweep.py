"""A sweep: many jobs, one directory. What is finished is found again, what was ended is continued."""

from __future__ import annotations

import copy
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict

from ..components.terminal import program_name
from ..registry import ConfigError
from ..training.run_directory import owning, read_status, require_free
from .changes import episodes_to_test, require_what_sections_are_about
from .config import RunConfig, SweepSettings, read, read_section
from .jobs import STOP
from .mistakes import JobFailed, explain
from .names import one_line
from .saved import load_saved
from .signals import Stopped, stop_signal
from .sweep_progress import Progress, Watched

_BESIDE = ("loggers", "threads", "device", "applied", "dropped")
"""Parts of the configuration that may change between the calls of a sweep: what is computed stays the same."""
_BEFORE_A_RUN = frozenset({".hydra", ".lock", STOP, "status.json"})
"""What a job's directory may hold before its configuration is written."""
_SHOWN = 80  # characters of a job's directory
Ends = dict[int, tuple[int, str] | None]
"""How jobs ended that came back, by number: exit code and text of an error, None if there was none."""
State = Literal["finished", "to continue", "new", "refused"]


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        overrides: of Hydra, fixed ones included.
        label: the overrides that differ between the jobs, as typed.
        state: what was found of it on disk; ``refused`` if its configuration is a mistake.
        directory: where it leaves its files.
        total_steps: of training; 0 if nothing is trained.
        known: whether it is known by its configuration, and its files say whether it has finished.
        mistake: the sentence about a mistake in its configuration.
        config: its configuration; None if that is a mistake.
    """

    overrides: tuple[str, ...]
    label: str
    state: State
    directory: Path
    total_steps: int = 0
    known: bool = False
    mistake: str | None = None
    config: RunConfig | None = field(default=None, repr=False, compare=False)

    @property
    def due(self) -> bool:
        """Whether there is something left to do."""
        return self.state in ("new", "to continue")

    def watched(self) -> Watched:
        """The job as its progress is shown."""
        return Watched(self.label, self.directory.absolute(), self.total_steps, self.state == "finished")


class Sweep:
    """Runs jobs by one of Hydra's launchers.

    A job that trains, or plays a scripted policy, is known by its configuration: if the sweep's directory has a run of
    the same one, wherever loggers, threads and device may differ, that run is the job. Other jobs always run.

    Args:
        master: the composed configuration that the jobs have in common.
        loader: composes those of the jobs.
        launcher: runs them.
    """

    def __init__(self, master: DictConfig, loader: ConfigLoader, launcher: Launcher) -> None:
        self._master, self._loader, self._launcher = master, loader, launcher
        self.settings = read_section(master, "sweep", SweepSettings)
        self.directory = Path(str(master.hydra.sweep.dir))
        self._identities: dict[Path, str | None] = {}  # of the runs found; None: no run, or unreadable

    def run(self, lists: Sequence[Sequence[str]], batch: int | None) -> None:
        """Run the jobs that have not finished, say what became of each, and how to go on.

        Args:
            lists: the overrides of each job.
            batch: how many jobs the launcher gets at once; None: all.

        Raises:
            JobFailed: with exit code 2 if every job is a mistake, 130 or the like if the sweep was interrupted, else 1
                if one of the jobs failed.
            ConfigError: there are no jobs, or another process runs a sweep in the same directory.
        """
        if batch is not None and not (isinstance(batch, int) and batch >= 1):
            raise ConfigError(f"hydra.sweeper.max_batch_size={batch}: give a whole number from 1, or null for all jobs")
        if not lists:
            raise ConfigError("there are no jobs: what is swept has no values")
        if isinstance(self._launcher, BasicLauncher):
            batch = 1  # it composes all jobs that it gets, also after the sweep was told to stop
        if self.settings.dry_run:
            print(_as_table(once(self.plan(lists))))
            return
        with owning(self.directory):
            (self.directory / STOP).unlink(missing_ok=True)
            self.discard_what_never_began()
            jobs = once(self.plan(lists))
            if all(job.mistake for job in jobs):
                print(*dict.fromkeys(job.mistake for job in jobs), sep="\n", file=sys.stderr)
                raise JobFailed(2, "every job is a mistake")
            progress = Progress([job.watched() for job in jobs])
            progress.announce(self.directory)
            stop = (self.directory / STOP).absolute()
            due = [(n, job) for n, job in enumerate(jobs) if job.due]
            ends: Ends = {n: (2, job.mistake) for n, job in enumerate(jobs) if job.mistake}
            with stop_signal() as stopped:

                def is_over() -> bool:
                    return stopped() or stop.exists()

                with progress.shown(is_over, stop):
                    at_once = batch or max(1, len(due))
                    for first in range(0, len(due), at_once):
                        if not is_over():
                            ends |= self.launch(due[first : first + at_once], is_over)
                signal_number = signal.SIGINT if stopped.number is None and stop.exists() else stopped.number
            stop.unlink(missing_ok=True)
            self.discard_what_never_began()
        self.conclude(jobs, ends, signal_number)

    def plan(self, lists: Sequence[Sequence[str]], labels: Sequence[str] | None = None) -> list[Job]:
        """The job of each list of overrides, the same object for those that mean the same; nothing is written.

        Args:
            lists: the overrides of each job.
            labels: what the jobs are called; None: after what differs between them.
        """
        labels = labels or _labels(lists)
        wrong = sorted({key for key in _differing(lists) if key.startswith("sweep.")})
        if wrong:
            raise ConfigError(f"{wrong[0]} has one value in a sweep")
        composed = [self._compose(overrides, n) for n, overrides in enumerate(lists)]
        configs = [c for c, _, _ in composed if isinstance(c, RunConfig)]
        found = self._found(configs[0]) if configs else {}
        taken = {path.name for path in self.directory.glob("*/")}
        jobs: dict[str, Job] = {}
        keys: list[str] = []
        for overrides, label, (config, again, folder) in zip(lists, labels, composed, strict=True):
            if isinstance(config, str):
                keys.append(f"{label} {len(keys)}")
                jobs[keys[-1]] = Job(tuple(overrides), label, "refused", self.directory, mistake=config)
                continue
            key = config.digest(_BESIDE) if again else f"{label} {len(keys)}"
            keys.append(key)
            if key in jobs:
                continue
            directory = found.get(key)
            state: State = "new" if directory is None else "finished" if finished(directory) else "to continue"
            if directory is None:
                name = _unused(_as_name(folder or label), key, taken)
                taken.add(name)
                directory = self.directory / name
            steps = config.train.total_steps if config.learns and again else 0
            jobs[key] = Job(tuple(overrides), label, state, directory, steps, again, config=config)
        return [jobs[key] for key in keys]

    def _compose(self, overrides: Sequence[str], number: int) -> tuple[RunConfig | str, bool, str | None]:
        """A job's configuration, or what is wrong with it; whether it is known by it; the directory asked for."""
        before = HydraConfig.instance().cfg
        try:
            cfg = self._loader.load_sweep_config(self._master, list(overrides))
            with open_dict(cfg):
                cfg.hydra.job.id, cfg.hydra.job.num = f"{number}", number
            HydraConfig.instance().set_config(cfg)
            asked = any(str(o).startswith("hydra.sweep.subdir=") for o in cfg.hydra.overrides.hydra)
            folder = str(cfg.hydra.sweep.subdir) if asked else None
            task, typed = copy.copy(cfg), OmegaConf.to_container(cfg.hydra.overrides.task, resolve=False)
            with open_dict(task):
                del task["hydra"]
            assert isinstance(typed, list)
            require_what_sections_are_about(task, typed, sweep=True)
            config = read(task, cfg.hydra.runtime.choices, typed, Path.cwd())
            known = not (task.check or task.resume or task.evaluate or task.export)
            return config if config.learns else episodes_to_test(config, typed), known, folder
        except Exception as error:
            sentence = explain(error, composing=True, overrides=overrides)
            if sentence is None:
                raise
            return sentence, False, None
        finally:
            HydraConfig.instance().cfg = before

    def _found(self, today: RunConfig) -> dict[str, Path]:
        """The runs in the sweep's directory, by what they compute; says which cannot be read."""
        found: dict[str, Path] = {}
        for file in sorted(self.directory.glob("*/config.yaml")):
            if file not in self._identities:
                self._identities[file] = _identity(file.parent, today)
            key = self._identities[file]
            if key is not None and not (key in found and finished(found[key])):
                found[key] = file.parent
        return found

    def discard_what_never_began(self) -> None:
        """Delete the directories of runs that were ended before their configuration was written; they hold nothing."""
        for directory in self.directory.glob("*/"):
            if not directory.is_symlink() and {path.name for path in directory.iterdir()} <= _BEFORE_A_RUN:
                with suppress(ConfigError):  # it has begun just now, in a process that outlived an earlier call
                    require_free(directory)
                    shutil.rmtree(directory, ignore_errors=True)

    def searchpath(self) -> list[str]:
        """The override that says where else option files are; empty if nowhere."""
        return [str(word) for word in self._master.hydra.overrides.hydra if str(word).startswith("hydra.searchpath=")]

    def launch(self, part: Sequence[tuple[int, Job]], stopped: Callable[[], bool]) -> Ends:
        """As `_launch_once`; if the launcher fails on the way, as when its process is killed, it has a second try."""
        ends = self._launch_once(part, stopped)
        left = [(n, job) for n, job in part if n not in ends and not finished(job.directory)]
        if left and not stopped() and any(read_status(job.directory) for _, job in left):
            ends |= self._launch_once(left, stopped)
        return ends

    def _launch_once(self, part: Sequence[tuple[int, Job]], stopped: Callable[[], bool]) -> Ends:
        """Run some jobs; how those ended that came back."""
        above = f"hydra.sweep.dir={_quoted(str(self.directory))}"
        lists = [[*job.overrides, above, f"hydra.sweep.subdir={_quoted(job.directory.name)}"] for _, job in part]
        try:
            returned = self._launcher.launch(lists, initial_job_idx=part[0][0])
        except Stopped:  # the second signal
            raise
        except KeyboardInterrupt:  # of a process of the launcher, before its first job
            return {}
        except Exception as error:  # of the launcher: what has become of the jobs is on disk
            if stopped():  # to which some launchers react in their own way
                return {}
            reason = explain(error) or f"{type(error).__name__}: {one_line(error)}"
            print(f"the launcher failed: {reason}", file=sys.stderr)
            return {}
        ends: Ends = {}
        for (number, _), job_return in zip(part, returned, strict=False):
            value = job_return._return_value  # the property of this name would print what the job said
            if isinstance(value, JobFailed):
                ends[number] = value.args
            elif isinstance(value, Exception):
                ends[number] = 1, f"{type(value).__name__}: {value}"
            else:
                ends[number] = None
        return ends

    def conclude(self, jobs: Sequence[Job], ends: Ends, stopped_by: int | None) -> None:
        """Print what became of the jobs; raises as `run` says.

        Args:
            jobs: all of them.
            ends: how those ended that came back.
            stopped_by: the number of the signal that ended the sweep; None if none did.
        """
        done = [finished(job.directory) if job.known else n in ends and ends[n] is None for n, job in enumerate(jobs)]
        left = [n for n, ok in enumerate(done) if not ok]
        codes = [end[0] for end in ends.values() if end and end[0] > 2]
        codes += [] if stopped_by is None else [128 + stopped_by]
        for n in left:
            code, text = ends.get(n) or (1, why_unfinished(jobs[n].directory))
            if code <= 2 and not (codes and not ends.get(n)):
                print(f"job {jobs[n].label}: {text}", file=sys.stderr)
        print(f"{len(jobs) - len(left)} of {len(jobs)} jobs finished: {self.directory}")
        if any(jobs[n].mistake is None for n in left):
            print(f"to go on: {self.command()}")
        if left or codes:
            raise JobFailed(codes[0] if codes else 1, "interrupted" if codes else "jobs failed")

    def command(self) -> str:
        """The command that goes on with this sweep."""
        words = [word for word in sys.argv[1:] if not word.startswith(("sweep.name=", "hydra.sweep.dir="))]
        named = self.directory.parent == Path("results/sweeps")
        name = f"sweep.name={self.directory.name}" if named else f"hydra.sweep.dir={_quoted(str(self.directory))}"
        return f"{program_name()} {shlex.join([*words, name])}"


def continued(directory: Path, config: RunConfig) -> RunConfig | None:
    """The configuration to go on with the run that an earlier call of the sweep began; None if there is none.

    Raises:
        ConfigError: the directory holds another run.
    """
    if not (directory / "config.yaml").exists():
        return None
    saved = load_saved(directory, config, to_resume=True)
    if saved.digest(_BESIDE) != config.digest(_BESIDE):
        raise ConfigError(f"{directory} holds a run of another configuration; choose another sweep.name")
    return replace(saved, loggers=config.loggers, trust=config.trust)


def once(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, without those that are given twice."""
    return list({id(job): job for job in jobs}.values())


def _identity(directory: Path, today: RunConfig) -> str | None:
    """What a run computes; None if it is an evaluation of another run, or cannot be read, and then says so."""
    try:
        config = load_saved(directory, today)
    except ConfigError as error:
        print(f"left alone: {error}", file=sys.stderr)
        return None
    return None if config.learns and read_status(directory) is None else config.digest(_BESIDE)


def finished(directory: Path) -> bool:
    """Whether a run was trained and tested, or a scripted policy was tested."""
    status = read_status(directory)
    return status == "finished" or (status is None and (directory / "comparison.csv").is_file())


def why_unfinished(directory: Path) -> str:
    """What is known of a run that has not finished."""
    status = read_status(directory)
    if status is None:
        return "it did not begin"
    return f"it was ended from outside; its output is in {directory / 'train.log'}"


def _labels(lists: Sequence[Sequence[str]]) -> list[str]:
    """For each job the overrides in which the jobs differ; if there is one job, what it chooses."""
    given = [_by_key(overrides) for overrides in lists]
    keys = _differing(lists) or [key for key in given[0] if "." not in key and key != "logger"]
    return [" ".join(f"{key}={job[key]}" for key in keys if key in job) or "job" for job in given]


def _by_key(overrides: Sequence[str]) -> dict[str, str]:
    return dict(override.split("=", 1) for override in overrides if "=" in override)


def _differing(lists: Sequence[Sequence[str]]) -> list[str]:
    """The keys in whose values the jobs differ."""
    given = [_by_key(overrides) for overrides in lists]
    return [key for key in given[0] if len({job.get(key) for job in given}) > 1]


def _quoted(text: str) -> str:
    """A text as Hydra reads it back, whatever is in it."""
    return QuotedString(text=text, quote=Quote.single).with_quotes()


def _as_name(label: str) -> str:
    """A directory's name that needs no quotes on a command line."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", label.replace("=", "-"))[:_SHOWN].strip("_.-") or "job"


def _unused(name: str, key: str, taken: set[str]) -> str:
    """The name, or with a part of the job's identity, or a number, if another job has it."""
    names = [name, f"{name}-{key[:6]}" if " " not in key else name, *(f"{name}-{n}" for n in range(2, len(taken) + 3))]
    return next(candidate for candidate in names if candidate not in taken)


def _as_table(jobs: Sequence[Job]) -> str:
    """What a dry run shows."""
    lines = [f"{job.state:>11}  {job.label}  {job.mistake or job.directory}" for job in jobs]
    counts = {state: sum(job.state == state for job in jobs) for state in ("finished", "to continue", "new", "refused")}
    return "\n".join([*lines, f"{len(jobs)} jobs: {', '.join(f'{n} {state}' for state, n in counts.items() if n)}"])
