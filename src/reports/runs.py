"""Several runs of one configuration as one table: ``python -m hymarl.reports.runs results/a results/b …``."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..components.statistics import bootstrap_ratio_ci, mean_ci
from ..components.terminal import substitute_what_cannot_be_shown
from .tables import format_ci, format_ratio, format_table

Episodes = dict[str, dict[str, list[float]]]
"""By policy, by column: one number per test episode."""


def read_comparison(run: Path) -> Episodes:
    """The test episodes of every policy in a run's ``comparison.csv``.

    Raises:
        ValueError: the run has no such file.
    """
    path = run / "comparison.csv"
    if not path.is_file():
        raise ValueError(f"{run} has no comparison.csv: the run did not finish")
    episodes: Episodes = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            columns = episodes.setdefault(row["policy"], {})
            for name, text in row.items():
                if name not in ("policy", "stream"):
                    columns.setdefault(name, []).append(float(text))
    return episodes


def table(
    runs: Sequence[Episodes], metric: str, baseline: str, *, learned: str = "learned", markdown: bool = True
) -> str:
    """Return and one metric of every policy, and the metric's ratio to a baseline.

    The learned policy differs from run to run: its row is the mean over runs of their means, with Student's 95 %
    interval over runs, and the range of the ratio over runs. Scripted policies play the same episodes in every run:
    their rows have the interval over episodes, and a paired bootstrap interval of the ratio.

    Args:
        runs: of `read_comparison`.
        metric: a column, e.g. ``jct_mean``.
        baseline: the policy the metric is divided by.
        learned: name of the learned policy.
        markdown: the table's form.
    """
    reference = np.array(runs[0][baseline][metric])
    rows = []
    for policy, columns in runs[0].items():
        if policy == learned:
            returns = [float(np.mean(run[policy]["return"])) for run in runs]
            values = [float(np.mean(run[policy][metric])) for run in runs]
            ratios = np.array(values) / reference.mean()
            ratio = f"{ratios.mean():.3f} ({ratios.min():.3f} to {ratios.max():.3f})"
            name = f"{policy}, {len(runs)} seeds"
        else:
            returns, values, name = columns["return"], columns[metric], policy
            ratio = "1" if policy == baseline else format_ratio(bootstrap_ratio_ci(values, reference, seed=0))
        rows.append([name, format_ci(*mean_ci(returns)), format_ci(*mean_ci(values)), ratio])
    return format_table(["policy", "return", metric, f"{metric} / {baseline}"], rows, markdown=markdown)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    substitute_what_cannot_be_shown()
    parser = argparse.ArgumentParser(
        prog="python -m hymarl.reports.runs", description="Tabulate runs of one configuration."
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run or evaluation directories that hold a comparison.csv")
    parser.add_argument("--metric", default="jct_mean", help="the column beside the return (default: jct_mean)")
    parser.add_argument("--baseline", default="sed", help="the policy it is divided by (default: sed)")
    parser.add_argument("--text", action="store_true", help="plain text instead of Markdown")
    options = parser.parse_args(arguments)
    try:
        runs = [read_comparison(run) for run in options.runs]
        print(table(runs, options.metric, options.baseline, markdown=not options.text))
    except (ValueError, KeyError) as error:
        parser.error(f"{error}")


if __name__ == "__main__":
    main()
