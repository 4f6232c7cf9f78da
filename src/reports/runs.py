"""Finding runs and reading what they left behind: configuration, curves, test episodes, time."""

from __future__ import annotations

import csv
import glob
import json
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import yaml

from ..components.files import keeps_checksum
from ..training.run_directory import read_status
from .evaluations import FloatColumn, complete_lines, read_evaluations

Source = Literal["hymarl", "sacred", "tensorboard"]
"""Who wrote a run's directory: this program, Sacred, or a TensorBoard writer."""
LEARNED = "learned"
"""The name of the learned policy in ``comparison.csv``."""

_MADE_BY_A_RUN = frozenset({"evaluations.csv", "comparison.csv", "status.json"})
_LONGEST = 200  # characters of a path in a message
_EVENTS = "events.out.tfevents."
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # reads 500 configurations in 1 s, not in 10
NO_METRICS = frozenset({"step", "stream", "episode", "policy"})
"""Columns of evaluations that tell episodes apart and measure nothing."""


class Found(NamedTuple):
    """The directory of a run, and who wrote it."""

    path: Path
    source: Source


class Series(NamedTuple):
    """A quantity over training: increasing environment steps ``[S]`` and values ``[S]``."""

    steps: FloatColumn
    values: FloatColumn


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run left behind.

    Attributes:
        path: its directory.
        config: its configuration by short dotted keys, such as ``mixer`` and ``learner.gamma``; `Source` as ``source``.
        finished: whether it trained to its end.
        curves: by metric, the mean over the evaluation episodes at each evaluation.
        tests: by policy and metric, one number per test episode.
        metrics: the names of all its metrics, also of those that were not read.
        wall_s: seconds that training took, validations included; NaN if unknown.
        steps_per_s: environment steps per second of training, without its validations where their time is known; NaN
            if unknown.
        doubt: what is not sure about it, in a sentence without its path; None if nothing is.
    """

    path: Path
    config: Mapping[str, Any]
    finished: bool
    curves: Mapping[str, Series]
    tests: Mapping[str, Mapping[str, FloatColumn]]
    metrics: tuple[str, ...]
    wall_s: float
    steps_per_s: float
    doubt: str | None

    @property
    def policy(self) -> str:
        """The policy that the run is about: the learned one, or the scripted one that was chosen."""
        return LEARNED if LEARNED in self.tests or self.curves else str(self.config.get("policy", LEARNED))

    @property
    def references(self) -> Mapping[str, Mapping[str, FloatColumn]]:
        """The test episodes of the policies that it was compared with, by policy and metric."""
        return {policy: tests for policy, tests in self.tests.items() if policy != self.policy}


def find_runs(patterns: Sequence[str]) -> list[Found]:
    """The runs that are meant, each once: a folder stands for all runs below it, a pattern for all that it matches.

    Links are followed. What is inside of a run is no run of its own unless it is named, and a pattern that matches a
    run does not name what is inside of it. Copies that HyMARL's Sacred logger wrote are left out unless they are named.

    Args:
        patterns: paths, or patterns with ``*``, ``?``, ``[…]`` or ``**``.

    Raises:
        ValueError: a path does not exist or holds no run, or a pattern matches nothing.
    """
    found: dict[Path, Found] = {}
    for pattern in patterns:
        text = os.path.expanduser(pattern)
        exists = os.path.exists(text)
        is_pattern = glob.has_magic(text) and not exists
        paths = sorted(map(Path, glob.glob(text, recursive=True))) if is_pattern else [Path(text)]
        inside: dict[Path, Found] = {}
        for path in paths:  # parents come before what is in them
            if not inside.keys() & {*path.parents}:
                inside |= {run.path: run for run in _below(path, named=True)}
        if not inside:
            reason = "matches no run" if is_pattern else "holds no run" if exists else "does not exist"
            shown = pattern if len(pattern) <= _LONGEST else f"{pattern[:_LONGEST]}…"
            raise ValueError(f"report.runs: {shown} {reason}")
        for run in inside.values():
            found.setdefault(run.path.resolve(), run)
    return list(found.values())


def _below(folder: Path, *, named: bool = False, above: Collection[str] = ()) -> Iterator[Found]:
    """The runs in a folder, itself included.

    Args:
        folder: the folder.
        named: whether it was asked for, so that it is taken even if it is a copy.
        above: the true paths of the folders that it was reached through, so that links cannot lead around in circles.
    """
    try:
        here = os.path.realpath(folder)
        if here in above:
            return
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (OSError, ValueError):
        return
    names = {entry.name for entry in entries}
    source = _source(names)
    if source:
        if named or source != "sacred" or not _is_copy(folder):
            yield Found(folder, source)
        return
    for entry in entries:
        if entry.is_dir() and not entry.name.startswith((".", "_")):
            yield from _below(Path(entry.path), above={*above, here})


def _source(names: Collection[str]) -> Source | None:
    """Whose run directory has files of these names."""
    if _MADE_BY_A_RUN & set(names):
        return "hymarl"
    if "run.json" in names and "config.json" in names:
        return "sacred"
    return "tensorboard" if any(name.startswith(_EVENTS) for name in names) else None


def _is_copy(folder: Path) -> bool:
    """Whether a Sacred directory is HyMARL's copy of a run that has a directory of its own."""
    try:
        info = json.loads((folder / "info.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(info, dict) and "run_directory" in info


def read_config(found: Found) -> dict[str, Any]:
    """A run's configuration by short dotted keys: ``mixer``, ``learner.gamma``, ``train.total_steps``.

    ``agents`` is the number that plays, also where the configuration leaves it to the environment.

    Raises:
        ValueError: it is missing or damaged; one sentence.
    """
    from .foreign import read_sacred_config, read_tensorboard_config

    if found.source == "sacred":
        return {**read_sacred_config(found.path), "source": "sacred"}
    if found.source == "tensorboard":
        return {**read_tensorboard_config(found.path), "source": "tensorboard"}
    path = found.path / "config.yaml"
    if not path.is_file():
        raise ValueError(f"{found.path} has no config.yaml: the run was ended before it began, or the file was deleted")
    try:
        text = path.read_text(encoding="utf-8")
        plain = yaml.load(text, _LOADER)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is damaged: it cannot be read") from error
    if not isinstance(plain, dict) or not isinstance(plain.get("components"), dict):
        raise ValueError(f"{path} is not the configuration of a run")
    kept = keeps_checksum(text)
    if kept is False or ("format" in plain and kept is None):
        raise ValueError(f"{path} was changed or damaged since the run wrote it: its checksum is wrong or missing")
    config = dict(flat(plain))
    if config.get("agents") is None:
        config["agents"] = _agents(found.path)
    return {**config, "source": "hymarl"}


def flat(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values, lists as tuples; components without the levels that only the file has."""
    for key, value in node.items():
        name = prefix if key in ("components", "settings", "option") else f"{prefix}.{key}".lstrip(".")
        if isinstance(value, dict):
            yield from flat(value, name)
        else:
            yield name, _frozen(value)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else str(value) if isinstance(value, dict) else value


def _agents(folder: Path) -> int | None:
    """The number of agents that the protocol of a run states."""
    try:
        agents = json.loads((folder / "protocol.json").read_bytes())["header"]["agents"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return agents if isinstance(agents, int) else None


def read_run(found: Found, config: Mapping[str, Any], metrics: Collection[str]) -> Run:
    """Everything else of a run.

    Args:
        found: the run.
        config: of `read_config`.
        metrics: those to read, of those that it has.

    Raises:
        ValueError: a file is missing or damaged; one sentence.
    """
    from .foreign import read_sacred, read_tensorboard

    try:
        if found.source == "sacred":
            return read_sacred(found.path, config)
        if found.source == "tensorboard":
            return read_tensorboard(found.path, config)
        return _read_own(found.path, config, metrics)
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{found.path} cannot be read: {error}") from error


def _read_own(folder: Path, config: Mapping[str, Any], metrics: Collection[str]) -> Run:
    curves: dict[str, Series] = {}
    names: list[str] = []
    metrics = [name for name in metrics if name not in NO_METRICS]
    if (folder / "evaluations.csv").is_file():
        names = _header(folder / "evaluations.csv")
        table = read_evaluations(folder, "validation", {"step", *metrics})
        if "step" not in table:
            raise ValueError(f"{folder / 'evaluations.csv'} has no column of steps: it is damaged")
        curves = {name: _means(table["step"], table[name]) for name in metrics if name in table}
    curves = {name: series for name, series in curves.items() if len(series.steps)}
    tests: Mapping[str, Mapping[str, FloatColumn]] = {}
    if (folder / "comparison.csv").is_file():
        names = names or _header(folder / "comparison.csv")
        tests = read_comparison(folder, metrics)
    if not curves and not tests and any(name in metrics for name in names):
        raise ValueError(f"{folder} has no evaluation and no comparison.csv: the run was ended before the first one")
    if tests and not curves and LEARNED not in tests:  # its learner and mixer were configured, but did nothing
        config = {**config, "algo": config.get("policy")}
    wall_s, steps_per_s = _time(folder / "timing.csv")
    status = read_status(folder)
    if status is None and (folder / "status.json").exists():
        raise ValueError(f"{folder / 'status.json'} is damaged: whether the run finished cannot be read")
    return Run(
        path=folder,
        config=config,
        finished=status == "finished" or (status is None and bool(tests)),
        curves=curves,
        tests=tests,
        metrics=tuple(name for name in names if name not in NO_METRICS),
        wall_s=wall_s,
        steps_per_s=steps_per_s,
        doubt="has no status.json: as it was tested, it counts as finished" if status is None and curves else None,
    )


def read_comparison(folder: Path, metrics: Collection[str]) -> dict[str, dict[str, FloatColumn]]:
    """The test episodes of every policy in a run's ``comparison.csv``, by policy and metric.

    Their numbers are called ``episode``, as in the file. A last line that a killed run left unfinished is ignored.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / "comparison.csv"
    episodes: dict[str, dict[str, list[float]]] = {}
    reader = csv.reader(complete_lines(path))
    header = next(reader, [])
    if "policy" not in header:
        raise ValueError(f"{path} has no column of policies: it is damaged")
    policy = header.index("policy")
    places = [(i, name) for i, name in enumerate(header) if name in metrics or name == "episode"]
    for row in reader:
        try:
            columns = episodes.setdefault(row[policy], {name: [] for _, name in places})
            for i, name in places:
                columns[name].append(float(row[i]) if row[i] else math.nan)
        except (IndexError, ValueError) as error:
            raise ValueError(f"{path}:{reader.line_num}: this is no row of test episodes") from error
    if not episodes:
        raise ValueError(f"{path} has no rows")
    return {p: {name: np.array(values) for name, values in columns.items()} for p, columns in episodes.items()}


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file), [])


def _means(steps: FloatColumn, values: FloatColumn) -> Series:
    """The mean over the episodes of each step, without NaN; steps without any value are left out."""
    known = ~np.isnan(values)
    at, index = np.unique(steps[known], return_inverse=True)
    return Series(at, np.bincount(index, values[known], len(at)) / np.bincount(index, minlength=len(at)))


def _time(path: Path) -> tuple[float, float]:
    """The sum of seconds, and the steps per second without validations, of ``timing.csv``; NaN where there is none.

    Where the file does not say how long validations took, it is the median over its rows, few of which have one.
    """
    if not path.is_file():
        return math.nan, math.nan
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]
    if not rows:
        return math.nan, math.nan
    try:
        speeds = np.array([float(row["env_steps_per_s"]) for row in rows])
        seconds = np.array([float(row["wall_s"]) for row in rows])
        evaluating = np.array([float(row.get("evaluate_s", math.nan)) for row in rows])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged: a row has no seconds or steps per second") from error
    training = float((seconds - evaluating).sum())
    speed = float((speeds * seconds).sum()) / training if training > 0 else float(np.median(speeds))
    return math.fsum(seconds), speed
