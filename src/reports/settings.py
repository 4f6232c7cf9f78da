"""The settings of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ..ranges import Length, Range, Seed

FORMATS = ("html", "png", "pdf", "csv", "tex")
"""What a report can consist of."""


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """What a report is about, and what it shows.

    Attributes:
        runs: run directories, folders that hold some (sweeps), and patterns such as ``results/*/qmix/*``;
            none: no report is asked for.
        by: keys of the configuration that tell groups of runs apart; none: as few as tell apart the runs that differ in
            more than the seed.
        where: a condition over the configuration that runs must fulfill, see `selection.condition`; None for no
            condition.
        unfinished: whether runs that did not finish take part.
        metrics: what is compared; the first is the main one.
        lower_is_better: the metrics of which less is better.
        final: the score of a run: the mean over its test episodes, or its last evaluation; None: the test if some
            run has one, and runs without have no score; else the last evaluation.
        levels: of the main metric, to be reached; none: what a half and nine tenths of the best method's gain are.
        baseline: the policy that every run was compared with which is level 1 of ratios, and a level to be reached;
            None for none. Where the runs were not compared with it, there is none either.
        normalize: how scores of several tasks become comparable: ``range``: 0 is the worst and 1 the best final score
            on the task; ``baseline``: the ratio to the baseline, where every run has one; ``none``: as they are.
        samples: number of bootstrap samples.
        seed: of the bootstrap.
        formats: which of `FORMATS` to write.
    """

    runs: list[str]
    by: list[str]
    where: str | None
    unfinished: bool
    metrics: Annotated[list[str], Length(at_least=1, at_most=20)]
    lower_is_better: list[str]
    final: Literal["test", "last"] | None
    levels: Annotated[list[Annotated[float, Range()]], Length(at_most=10)]
    baseline: str | None
    normalize: Literal["range", "baseline", "none"]
    samples: Annotated[int, Range(at_least=100, at_most=100_000)]
    seed: Seed
    formats: Annotated[list[str], Length(at_least=1)]
