"""What can be reproduced, as data: the files of ``published/``, one for each task."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Annotated, Any, Literal

import yaml

from ..ranges import Count, Length, Range
from ..registry import ConfigError, check_settings, suggest

Tier = Literal["seconds", "minutes", "hours", "apart"]
"""How long a task takes on two cores; ``apart``: it is run by its name only, as it needs what few have."""
Evidence = Literal["exact", "computed", "read", "third", "own", "calibrated", "recalled"]
Statistic = Literal["each", "mean", "last", "best", "best_of_each", "training", "order"]
EVIDENCE: Mapping[Evidence, str] = {
    "exact": "exact: closed form or theorem",
    "computed": "computed: numerically, by another method",
    "read": "published, read in the source",
    "third": "another group's own run",
    "own": "this project's earlier runs",
    "calibrated": "calibrated: what this project aimed at",
    "recalled": "recalled, unverified",
}
"""What is known of a reference value, in words; only one of them is called published."""
_DEFAULTS = "defaults"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number beside a reference.

    Attributes:
        of: the methods; several only for an ``order``, from the largest value to the smallest. There, scripted policies
            that its runs were compared with are allowed, too.
        metric: a column of ``comparison.csv`` and ``evaluations.csv``; for ``training`` of ``metrics.csv``.
        statistic: ``each``: the score of every run by itself, a score being the mean over the test episodes; ``mean``:
            the mean of the scores; ``last``: the mean over runs of their last ``over`` evaluations; ``best``: the
            largest, over evaluations, of the mean over runs; ``best_of_each``: the mean over runs of their best
            evaluation; ``training``: the mean over runs of a column over their last ``over`` training episodes;
            ``order``: whether the means are in this order.
        label: what it measures, for people; None: the metric's name.
        over: see ``statistic``; None where it says nothing.
        until: of ``training``, the episode at which those end; None: the last one.
        scale: what our number is multiplied by to have the unit of the reference.
        offset: what is then added.
        value: the reference; None for an order, a range, or where there is none to compare with.
        deviation: its uncertainty as its source gives it; None for none.
        low: the smallest number that agrees, instead of a value; None for none.
        high: the largest.
        tolerance: how far from ``value`` ours may be.
        relative: the same, in parts of ``value``; the larger one of both counts.
        share: of ``each``, the part of the runs that must have the value.
        evidence: what is known of the reference, see `EVIDENCE`.
        source: where it stands; None: as the task says.
        not_comparable: why both numbers cannot be compared; None: they can.
        must_hold: whether a reproduction that does not find it has failed.
        why: what is known about it, such as why it does not hold; None for nothing.
    """

    of: Annotated[list[str], Length(at_least=1)]
    metric: str
    statistic: Statistic
    label: str | None
    over: Count | None
    until: Count | None
    scale: Annotated[float, Range()]
    offset: Annotated[float, Range()]
    value: Annotated[float, Range()] | None
    deviation: Annotated[float, Range(at_least=0)] | None
    low: Annotated[float, Range()] | None
    high: Annotated[float, Range()] | None
    tolerance: Annotated[float, Range(at_least=0)]
    relative: Annotated[float, Range(at_least=0)]
    share: Annotated[float, Range(above=0, at_most=1)]
    evidence: Evidence
    source: str | None
    not_comparable: str | None
    must_hold: bool
    why: str | None


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is run, and the numbers that it is compared with.

    Attributes:
        name: of its file.
        title: for people.
        tier: how long it takes.
        experiment: the option of ``conf/experiment/``.
        overrides: of all its cells, after the experiment's.
        methods: further overrides, by name. One with ``policy=…`` is a rule and evaluated once; the others are trained
            with every seed.
        seeds: of training.
        package: the Python package whose game is played, None for this one.
        version: of the package, with which the reference was made; None for this project's own game.
        protocol: what must be known to compare: time limit, updates, exploration, reward.
        source: where the references stand.
        note: what else a reader should know; None for nothing.
        figure: the metric whose learning curves are drawn; None: ours over the references.
        rows: what is compared.
    """

    name: str
    title: str
    tier: Tier
    experiment: str
    overrides: list[str]
    methods: dict[str, list[str]]
    seeds: Annotated[list[int], Length(at_least=1)]
    package: str | None
    version: str | None
    protocol: str
    source: str
    note: str | None
    figure: str | None
    rows: tuple[Row, ...]

    def cells(self, seeds: Sequence[int] | None) -> list[tuple[str, list[str]]]:
        """Method and overrides of every run; a rule has one, as the seed of training changes nothing.

        Args:
            seeds: of training; None: those of the task.
        """
        found = []
        for method, own in self.methods.items():
            common = [f"experiment={self.experiment}", *self.overrides, *own]
            if any(word.startswith("policy=") for word in own):
                found.append((method, common))
            else:
                found += [(method, [*common, f"seed={seed}"]) for seed in seeds or self.seeds]
        return found

    def only(self, methods: Collection[str]) -> Task:
        """The task with these of its methods, and the rows that need no other."""
        left_out = self.methods.keys() - set(methods)
        kept = {name: own for name, own in self.methods.items() if name not in left_out}
        return replace(self, methods=kept, rows=tuple(row for row in self.rows if left_out.isdisjoint(row.of)))

    def metrics(self) -> list[str]:
        """The metrics of tests and evaluations that its rows and its figure need."""
        named = [row.metric for row in self.rows if row.statistic != "training"]
        return list(dict.fromkeys([*named, *([self.figure] if self.figure else [])])) or ["return"]


def names() -> list[str]:
    """The names of all tasks."""
    files = (resources.files(__package__) / "published").iterdir()
    found = sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))
    return [name for name in found if name != _DEFAULTS]


def load(name: str) -> Task:
    """A task.

    Raises:
        ConfigError: there is no such task, or its file is wrong.
    """
    known = names()
    if name not in known:
        raise ConfigError(f"reproduce.task={name}: there is no such task; {suggest(name, known)}")
    defaults, given, where = _read(_DEFAULTS), _read(name), f"published/{name}.yaml"
    rows = [{**defaults["row"], **given.get("all_rows", {}), **row} for row in given.get("rows", [])]
    task = {**defaults["task"], **{key: value for key, value in given.items() if key not in ("rows", "all_rows")}}
    checked = []
    for i, row in enumerate(rows, 1):
        row["of"] = [row["of"]] if isinstance(row.get("of"), str) else row.get("of")
        checked.append(Row(**check_settings(Row, row, f"{where}, row {i}")))
    return Task(**{**check_settings(_Head, {**task, "name": name}, where), "rows": tuple(checked)})


def of_tier(tier: str) -> list[Task]:
    """The tasks of a tier."""
    return [task for task in map(load, names()) if task.tier == tier]


def _head() -> Any:
    """What `check_settings` checks of a task: everything but its rows."""

    def head(
        *,
        name: str,
        title: str,
        tier: Tier,
        experiment: str,
        overrides: list[str],
        methods: dict[str, list[str]],
        seeds: Annotated[list[int], Length(at_least=1)],
        package: str | None,
        version: str | None,
        protocol: str,
        source: str,
        note: str | None,
        figure: str | None,
    ) -> None: ...

    return head


_Head = _head()


def _read(name: str) -> dict[str, Any]:
    """The content of a file."""
    text = (resources.files(__package__) / "published" / f"{name}.yaml").read_text(encoding="utf-8")
    plain = yaml.safe_load(text)
    if not isinstance(plain, dict):
        raise ConfigError(f"published/{name}.yaml holds no task")
    return plain
