"""What every logger is, what it is given, and the set of them that a run writes to.

A logger is told what happened and cannot change it: one that fails is reported and dropped, the run goes on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ...registry import ConfigError

TableName = Literal["metrics", "evaluation", "test", "timing"]
Status = Literal["finished", "failed", "interrupted"]

_IDS_FILE = "logger_ids.txt"


@dataclass(frozen=True)
class RunInfo:
    """What a logger may know of the run.

    Attributes:
        directory: where the run leaves its files.
        name: short and readable, not necessarily unique.
        group: runs that belong together, e.g. the seeds of one configuration.
        tags: words to filter by, e.g. algorithm and environment.
        labels: what runs are compared by, one short value each: ``env``, ``algo``, ``mixer``, ``agents`` (the number
            that plays), ``seed``, ...; None where the run has no such part.
        config: the whole configuration as plain data (dicts, lists, numbers, text, None).
        total_steps: environment steps at which the run ends.
        resumed: whether it continues an earlier run in the same directory.
        step: environment steps that were made before.
        columns: name of every scalar there can be, as ``<table>/<name>``; none where that is not known.
        alone: whether standard output is this run's; if not, messages go to the run's ``train.log`` only.
        headline: the few values of an evaluation that tables and pictures show, e.g. ``return_mean`` and ``jct_mean``.
        repository: where the code comes from, None if that is not known.
    """

    directory: Path
    name: str
    group: str
    tags: tuple[str, ...]
    config: dict[str, Any]
    total_steps: int
    resumed: bool
    step: int = 0
    columns: tuple[str, ...] = ()
    alone: bool = True
    labels: Mapping[str, str | int | None] = field(default_factory=dict)
    headline: tuple[str, ...] = ("return_mean",)
    repository: Repository | None = None


@dataclass(frozen=True)
class Repository:
    """The Git checkout that runs.

    Attributes:
        url: address of its remote ``origin``, without user names, passwords and tokens; its folder if it has none.
        commit: what is checked out.
        dirty: whether files differ from that.
    """

    url: str
    commit: str
    dirty: bool


@dataclass(frozen=True)
class Record:
    """Scalars of one moment.

    Attributes:
        table: ``metrics`` are training's and deterministic; ``evaluation`` summarizes one validation (``return_mean``,
            ``return_ci95``, ...) and ``test`` the final test; ``timing`` is what was measured by a clock
            (``env_steps_per_s``, ...).
        step: environment steps so far, over all environments.
        values: plain numbers by name.
    """

    table: TableName
    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Results:
    """What a run that reached its end has found.

    Attributes:
        step: environment steps so far, over all environments.
        numbers: ``final/<column>`` of the tested policy, ``reference/<policy>/<column>`` of those it is compared with,
            and ``ratio/<policy>/<column>`` of the first to each of these; see `Comparison.numbers`.
        table: the comparison as text.
        files: by name what the run leaves for people to look at: ``config``, ``learning_curve``, ``comparison``,
            and ``film`` if one was asked for.
    """

    step: int
    numbers: Mapping[str, float]
    table: str
    files: Mapping[str, Path]


class Logger(ABC):
    """One destination. Implementations are constructed as ``(run, *, settings...)`` and may raise anywhere."""

    @abstractmethod
    def log(self, record: Record) -> None:
        """Take one record; steps never decrease within a table."""

    def message(self, text: str) -> None:  # noqa: B027  # most loggers show none
        """Show a line of text to the user."""

    def conclude(self, results: Results) -> None:  # noqa: B027  # a logger of numbers over time has no place for them
        """Take what the run has found; called once, before `finish`, and not at all if the run did not get that far."""

    @abstractmethod
    def finish(self, status: Status, reason: str | None) -> None:
        """Close everything; called exactly once, also after `log` raised."""


class LoggerSet:
    """All loggers of a run. One that raises is reported once and gets nothing from then on but `Logger.finish`.

    Only ``Exception`` is guarded: Ctrl-C passes through.

    Args:
        run: given to every factory.
        factories: by name, what makes each logger.
        report: called with one sentence for each logger that failed, possibly already during construction.
    """

    def __init__(
        self, run: RunInfo, factories: Mapping[str, Callable[[RunInfo], Logger]], report: Callable[[str], None]
    ) -> None:
        self._report = report
        self._loggers: dict[str, Logger] = {}
        self._failed: set[str] = set()
        for name, make in factories.items():
            self._guard(name, "could not start", partial(self._start, name, make, run))

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the loggers that still take records."""
        return tuple(name for name in self._loggers if name not in self._failed)

    @property
    def show_messages(self) -> bool:
        """Whether one of the loggers shows messages to the user."""
        return any(type(self._loggers[name]).message is not Logger.message for name in self.active)

    def log(self, record: Record) -> None:
        """Give a record to every logger."""
        for name in self.active:
            self._guard(name, "failed", partial(self._loggers[name].log, record))

    def message(self, text: str) -> None:
        """Give a line of text to every logger."""
        for name in self.active:
            self._guard(name, "failed", partial(self._loggers[name].message, text))

    def conclude(self, results: Results) -> None:
        """Tell every logger what the run has found."""
        for name in self.active:
            self._guard(name, "failed", partial(self._loggers[name].conclude, results))

    def finish(self, status: Status, reason: str | None = None) -> None:
        """Close every logger, failed ones too; a second call closes what an interrupted first one left."""
        while self._loggers:
            name, logger = self._loggers.popitem()
            self._guard(name, "could not finish", partial(logger.finish, status, reason))

    def _start(self, name: str, make: Callable[[RunInfo], Logger], run: RunInfo) -> None:
        self._loggers[name] = make(run)

    def _guard(self, name: str, what: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # a logger may use any library, which may raise anything
            if name in self._failed:
                return
            self._failed.add(name)  # before reporting, which may come back here as a message
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            mistake = isinstance(error, ConfigError)  # a sentence that needs no more words
            reason = reason.removeprefix(f"logger={name}: ") if mistake else f"{type(error).__name__}: {reason}"
            self._report(f"logger={name} {what} and is switched off: {reason}")


def remember_id(run: RunInfo, logger: str, new_id: str) -> None:
    """Note in the run's directory under which id a service with ids of its own keeps this run."""
    with (run.directory / _IDS_FILE).open("a", encoding="utf-8") as file:
        file.write(f"{logger} {new_id}\n")


def earlier_id(run: RunInfo, logger: str) -> str | None:
    """The id noted last by the part of the run that a resumed one continues, None if there is none."""
    return latest_id(run.directory, logger) if run.resumed else None


def latest_id(directory: Path, logger: str) -> str | None:
    """The id noted last in a run's directory, None if there is none."""
    path = directory / _IDS_FILE
    if not path.exists():
        return None
    pairs = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines()]
    ids = [pair[1] for pair in pairs if len(pair) == 2 and pair[0] == logger]
    return ids[-1] if ids else None
