"""A sweep: many jobs, one directory. What is finished is found again, what was ended is continued."""

from __future__ import annotations

import copy
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict

from ..components.terminal import program_name
from ..registry import ConfigError
from ..training.run_directory import owning, read_status
from .changes import require_what_sections_are_about
from .config import RunConfig, SweepSettings, read, read_section
from .jobs import STOP
from .mistakes import JobFailed, explain
from .saved import load_saved
from .signals import stop_signal
from .sweep_progress import Progress, Watched

_BESIDE = ("loggers", "threads", "device", "applied", "dropped")
"""Parts of the configuration that may change between the calls of a sweep: what is computed stays the same."""
_SHOWN = 80  # characters of a job's directory
State = Literal["finished", "to continue", "new", "refused"]


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        overrides: of Hydra, fixed ones included.
        label: the overrides that differ between the jobs, as typed.
        state: what was found of it on disk; ``refused`` if its configuration is a mistake.
        directory: where it leaves its files.
        total_steps: of training; 0 if nothing is trained, so that only what it returns says whether it failed.
        mistake: the sentence about a mistake in its configuration.
        config: its configuration; None if that is a mistake.
    """

    overrides: tuple[str, ...]
    label: str
    state: State
    directory: Path
    total_steps: int = 0
    mistake: str | None = None
    config: RunConfig | None = field(default=None, repr=False, compare=False)

    @property
    def due(self) -> bool:
        """Whether there is something left to do."""
        return self.state in ("new", "to continue")

    def watched(self) -> Watched:
        """The job as its progress is shown."""
        return Watched(self.label, self.directory, self.total_steps, self.state == "finished")


class Sweep:
    """Runs jobs by one of Hydra's launchers.

    A job that trains, or plays a scripted policy, is known by its configuration: if the sweep's directory has a run of
    the same one, wherever loggers, threads and device may differ, that run is the job. Other jobs always run.

    Args:
        master: the composed configuration that the jobs have in common.
        loader: composes those of the jobs.
        launcher: runs them.

    Attributes:
        settings: of the sweep.
        directory: of the sweep.
    """

    def __init__(self, master: DictConfig, loader: ConfigLoader, launcher: Launcher) -> None:
        self._master, self._loader, self._launcher = master, loader, launcher
        self.settings = read_section(master, "sweep", SweepSettings)
        self.directory = Path(str(master.hydra.sweep.dir))
        self._identities: dict[Path, str | None] = {}  # of the runs that were found; None: it cannot be read

    def run(self, lists: Sequence[Sequence[str]], batch: int) -> None:
        """Run the jobs that have not finished, say what became of each, and how to go on.

        Args:
            lists: the overrides of each job.
            batch: how many jobs the launcher gets at once.

        Raises:
            JobFailed: with exit code 2 if every job is a mistake, 130 or the like if the sweep was interrupted, else 1
                if one of the jobs failed.
            ConfigError: another process runs a sweep in the same directory.
        """
        if self.settings.dry_run:
            print(_as_table(once(self.plan(lists))))
            return
        with owning(self.directory):
            (self.directory / STOP).unlink(missing_ok=True)
            jobs = once(self.plan(lists))
            if all(job.mistake for job in jobs):
                print(*dict.fromkeys(job.mistake for job in jobs), sep="\n", file=sys.stderr)
                raise JobFailed(2, "every job is a mistake")
            progress = Progress([job.watched() for job in jobs])
            due = [(n, job) for n, job in enumerate(jobs) if job.due]
            said: dict[int, tuple[int, str]] = {n: (2, job.mistake) for n, job in enumerate(jobs) if job.mistake}
            progress.announce(self.directory)
            with stop_signal() as stopped, progress.shown(stopped, self.directory / STOP):
                for first in range(0, len(due), batch):
                    if not stopped():
                        said |= self.launch(due[first : first + batch])
            (self.directory / STOP).unlink(missing_ok=True)
        self._conclude(jobs, said, stopped.number)

    def plan(self, lists: Sequence[Sequence[str]], labels: Sequence[str] | None = None) -> list[Job]:
        """The job of each list of overrides, the same object for those that mean the same; nothing is written.

        Args:
            lists: the overrides of each job.
            labels: what the jobs are called; None: after what differs between them.
        """
        labels = labels or _labels(lists)
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
                name = folder or _unused(_as_name(label), key, taken)
                taken.add(name)
                directory = self.directory / name
            steps = config.train.total_steps if config.learns and again else 0
            jobs[key] = Job(tuple(overrides), label, state, directory, steps, config=config)
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
            return config, not (task.check or task.resume or task.evaluate), folder
        except Exception as error:
            sentence = explain(error, composing=True, overrides=overrides)
            if sentence is None:
                raise
            return sentence, False, None
        finally:
            HydraConfig.instance().cfg = before

    def _found(self, today: RunConfig) -> dict[str, Path]:
        """The runs in the sweep's directory, by what they compute; says which cannot be read."""
        found = {}
        for file in sorted(self.directory.glob("*/config.yaml")):
            if file not in self._identities:
                try:
                    self._identities[file] = load_saved(file.parent, today).digest(_BESIDE)
                except ConfigError as error:
                    self._identities[file] = None
                    print(f"left alone: {error}", file=sys.stderr)
            identity = self._identities[file]
            if identity is not None:
                found[identity] = file.parent
        return found

    def searchpath(self) -> list[str]:
        """The override that says where else option files are; empty if nowhere."""
        return [str(word) for word in self._master.hydra.overrides.hydra if str(word).startswith("hydra.searchpath=")]

    def launch(self, part: Sequence[tuple[int, Job]]) -> dict[int, tuple[int, str]]:
        """Run some jobs; exit code and text of those that said why they failed, by number."""
        above = f"hydra.sweep.dir={json.dumps(str(self.directory), ensure_ascii=False)}"
        lists = [[*job.overrides, above, f"hydra.sweep.subdir={job.directory.name}"] for _, job in part]
        try:
            returned = self._launcher.launch(lists, initial_job_idx=part[0][0])
        except Exception as error:  # of the launcher: what has become of the jobs is on disk
            print(f"the launcher failed: {explain(error) or f'{type(error).__name__}: {error}'}", file=sys.stderr)
            return {}
        said = {}
        for (number, _), job_return in zip(part, returned, strict=False):
            value = job_return._return_value  # the property of this name would print what the job said
            if isinstance(value, JobFailed):
                said[number] = value.args
            elif isinstance(value, Exception):
                said[number] = 1, f"{type(value).__name__}: {value}"
        return said

    def _conclude(self, jobs: Sequence[Job], said: Mapping[int, tuple[int, str]], signal: int | None) -> None:
        """Print what became of the jobs; raises as `run` says."""
        left = [n for n, job in enumerate(jobs) if n in said or not (job.total_steps == 0 or finished(job.directory))]
        codes = [code for code, _ in said.values() if code > 2] + ([128 + signal] if signal is not None else [])
        for n in left:
            code, text = said.get(n, (1, why_unfinished(jobs[n].directory)))
            if code <= 2 and not (codes and n not in said):
                print(f"job {jobs[n].label}: {text}", file=sys.stderr)
        print(f"{len(jobs) - len(left)} of {len(jobs)} jobs finished: {self.directory}")
        if any(jobs[n].mistake is None for n in left):
            print(f"to go on: {self.command()}")
        if left or codes:
            raise JobFailed(codes[0] if codes else 1, "interrupted" if codes else "jobs failed")

    def command(self) -> str:
        """The command that goes on with this sweep."""
        words = [word for word in sys.argv[1:] if not word.startswith("sweep.name=")]
        named = self.directory.parent == Path("results/sweeps")
        name = [f"sweep.name={self.directory.name}"] if named else []
        return f"{program_name()} {shlex.join([*words, *name])}"


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
    """For each job the overrides in which the jobs differ; all if there is one job."""
    given = [dict(override.split("=", 1) for override in overrides if "=" in override) for overrides in lists]
    differ = [key for key in given[0] if len({job.get(key) for job in given}) > 1]
    keys = differ or [key for key in given[0] if not key.startswith(("hydra", "sweep.", "logger"))]
    return [" ".join(f"{key}={job[key]}" for key in keys if key in job) or "job" for job in given]


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
