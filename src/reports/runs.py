"""Several runs of one configuration as one table: ``python -m hymarl.reports.runs results/a results/b …``."""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]

from ..components.statistics import bootstrap_ratio_ci, mean_ci
from ..components.terminal import substitute_what_cannot_be_shown
from .tables import format_ci, format_ratio, format_table

Episodes = dict[str, dict[str, list[float]]]
"""By policy, by column: one number per test episode."""

# In these, runs that are pooled may differ; the last two follow from the others.
_FREE = ("seed", "format", "loggers", "threads", "device", "init_from", "applied", "dropped")
_SHOWN_DIFFERENCES = 4
_METRIC, _BASELINE = "jct_mean", "sed"  # unless told otherwise, where the runs have them


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """The runs that are meant: a folder of runs, such as a sweep's, stands for those in it.

    Raises:
        ValueError: one of them did not finish, or a path is no run.
    """
    found = []
    for path in paths:
        inside = sorted(file.parent for file in path.glob("*/config.yaml"))
        is_run = (path / "config.yaml").is_file() or (path / "comparison.csv").is_file()
        found += [path] if is_run or not inside else inside
    for run in found:
        if not run.is_dir():
            raise ValueError(f"{run} is no directory")
        if not (run / "comparison.csv").is_file():
            began = (run / "config.yaml").is_file()
            reason = "the run did not finish" if began else "it is neither a run nor a folder of runs"
            raise ValueError(f"{run} has no comparison.csv: {reason}")
    return found


def require_same_configuration(runs: Sequence[Path]) -> None:
    """Refuse to pool runs that differ in more than their seeds, or are the same.

    Raises:
        ValueError: which two, and in what.
    """
    configurations = [_configuration(run) for run in runs]
    for (first, a), (second, b) in itertools.combinations(zip(runs, configurations, strict=True), 2):
        if first.resolve() == second.resolve():
            raise ValueError(f"{first} is given twice; give every run once")
        keys = sorted({*a, *b})
        differences = [f"{key} ({a.get(key)}, {b.get(key)})" for key in keys if a.get(key) != b.get(key)]
        differences = [text for text in differences if text.split(" ")[0].split(".")[0] not in _FREE]
        if differences:
            more = len(differences) - _SHOWN_DIFFERENCES
            text = ", ".join(differences[:_SHOWN_DIFFERENCES]) + (f" and {more} more" if more > 0 else "")
            raise ValueError(
                f"{first} and {second} differ in more than the seed: {text}; tabulate runs of one configuration at a "
                f"time"
            )
        if "seed" in a and a["seed"] == b.get("seed"):
            raise ValueError(f"{first} and {second} have the same seed, {a['seed']}: they are not two samples")


def read_comparison(run: Path) -> Episodes:
    """The test episodes of every policy in a run's ``comparison.csv``.

    Raises:
        ValueError: the file is damaged.
    """
    path = run / "comparison.csv"
    episodes: Episodes = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            try:
                columns = episodes.setdefault(row["policy"], {})
                for name, text in row.items():
                    if name not in ("policy", "stream"):
                        columns.setdefault(name, []).append(float(text))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}:{reader.line_num}: this is no row of test episodes") from error
    if not episodes:
        raise ValueError(f"{path} has no rows")
    return episodes


def table(
    runs: Sequence[Episodes],
    metric: str | None,
    baseline: str | None,
    *,
    learned: str = "learned",
    markdown: bool = True,
) -> str:
    """Return and one metric of every policy, and the metric's ratio to a baseline.

    The learned policy differs from run to run: its row is the mean over runs of their means, with Student's 95 %
    interval over runs, and the range of the ratio over runs. Scripted policies play the same episodes in every run:
    their rows have the interval over episodes, and a paired bootstrap interval of the ratio.

    Args:
        runs: of `read_comparison`.
        metric: a column, e.g. ``jct_mean``; ``None``: the return alone.
        baseline: the policy the metric is divided by; ``None``: no ratio.
        learned: name of the learned policy.
        markdown: the table's form.

    Raises:
        ValueError: the runs have no such column or policy, or not the same policies.
    """
    _require(runs, metric, baseline)
    names = ["return", *([metric] if metric else [])]
    ratio_to = np.array(runs[0][baseline][metric]) if metric and baseline else None
    rows = []
    for policy, columns in runs[0].items():
        per_run = [[float(np.mean(run[policy][name])) for run in runs] for name in names]
        values = per_run if policy == learned else [columns[name] for name in names]
        cells = [format_ci(*mean_ci(column)) for column in values]
        if ratio_to is not None:
            cells.append(_ratio(policy == learned, policy == baseline, values[-1], ratio_to))
        rows.append([f"{policy}, {len(runs)} seeds" if policy == learned else policy, *cells])
    headers = ["policy", *names, *([f"{metric} / {baseline}"] if ratio_to is not None else [])]
    return format_table(headers, rows, markdown=markdown)


def _ratio(learned: bool, is_baseline: bool, values: Sequence[float], reference: np.ndarray) -> str:
    if learned:
        ratios = np.array(values) / reference.mean()
        return f"{ratios.mean():.3f} ({ratios.min():.3f} to {ratios.max():.3f})"
    if is_baseline:
        return "1"
    return format_ratio(bootstrap_ratio_ci(np.array(values), reference, seed=0))


def _require(runs: Sequence[Episodes], metric: str | None, baseline: str | None) -> None:
    policies = list(runs[0])
    if any(list(run) != policies for run in runs):
        raise ValueError("the runs were not compared with the same policies; evaluate them anew with evaluate=")
    columns = [name for name in runs[0][policies[0]] if name not in ("step", "episode")]
    if metric is not None and metric not in columns:
        raise ValueError(f"there is no column {metric!r}; --metric is one of: {', '.join(columns)}")
    if baseline is not None and baseline not in policies:
        raise ValueError(f"there is no policy {baseline!r}; --baseline is one of: {', '.join(policies)}")


def _configuration(run: Path) -> dict[str, Any]:
    """A run's configuration by dotted keys; empty if it has none."""
    path = run / "config.yaml"
    if not path.is_file():
        return {}
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read") from error
    if not isinstance(plain, dict):
        raise ValueError(f"{path} is not the configuration of a run")
    return dict(_flat(plain, ""))


def _flat(node: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; components without the levels that only the file has."""
    for key, value in node.items():
        name = prefix if key in ("components", "settings", "option") else f"{prefix}.{key}".lstrip(".")
        if isinstance(value, dict):
            yield from _flat(value, name)
        else:
            yield name, value


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    substitute_what_cannot_be_shown()
    parser = argparse.ArgumentParser(
        prog="python -m hymarl.reports.runs", description="Tabulate runs that differ in nothing but their seeds."
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run, evaluation or sweep directories")
    parser.add_argument("--metric", help=f"the column beside the return (default: {_METRIC}, if there is one)")
    parser.add_argument("--baseline", help=f"the policy it is divided by (default: {_BASELINE}, if there is one)")
    parser.add_argument("--text", action="store_true", help="plain text instead of Markdown")
    options = parser.parse_args(arguments)
    try:
        paths = find_runs(options.runs)
        require_same_configuration(paths)
        runs = [read_comparison(run) for run in paths]
        has_metric = all(_METRIC in columns for run in runs for columns in run.values())
        metric = options.metric or (_METRIC if has_metric else None)
        baseline = options.baseline or (_BASELINE if all(_BASELINE in run for run in runs) else None)
        print(table(runs, metric, baseline, markdown=not options.text))
    except ValueError as error:
        parser.error(f"{error}")


if __name__ == "__main__":
    main()
