"""The learning curve of a run: its evaluations over training, beside the levels of scripted policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..components.statistics import mean_ci
from .drawing import COLORS, spans_much
from .evaluations import FloatColumn, read_evaluations
from .measures import MEASURES, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PLOTTED = ("return", "jct_mean")
"""What is plotted of a run that has it, see `MEASURES`."""

_TEXT_GRAY, _LINE_GRAY = "#595959", "#808080"
_DASHES = ((0, (6, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (1, 1)), (0, (10, 3)))


class Curve(NamedTuple):
    """A mean and a half-width of its 95 % interval (NaN for a single value) at each step."""

    steps: FloatColumn
    mean: FloatColumn
    half_width: FloatColumn


def plot_learning_curve(
    run_dir: Path,
    references: Mapping[str, Mapping[str, float]] | None = None,
    *,
    reference_episodes: int | None = None,
    label: str = "learned",
    stream: str = "validation",
    title: str | None = None,
) -> Path:
    """Draw return, and job completion time where there is one, over training into ``<run_dir>/plots``.

    Args:
        run_dir: directory of a run with ``evaluations.csv``.
        references: for each scripted policy its mean by metric, drawn as labeled horizontal lines.
        reference_episodes: number of test episodes that the references' means are over, for the caption.
        label: name of the curve beside those of the references.
        stream: which evaluation episodes.
        title: a line above the picture.

    Returns:
        Path of the picture.

    Raises:
        ValueError: the run has no evaluations of the stream.
    """
    table = read_evaluations(run_dir, stream)
    curves = {
        metric: {label if references else "": episode_curve(table["step"], table[metric])} for metric in _known(table)
    }
    if not curves:
        raise ValueError(f"{run_dir} has no evaluations of the {stream} stream to plot")
    counts = [
        n for m in curves for n in np.unique(table["step"][np.isfinite(table[m])], return_counts=True)[1].tolist()
    ]
    note = f"mean and 95 % confidence interval over {span(counts)} {stream} episodes"
    if max(counts) == 1:
        note = f"one {stream} episode"
    if references and reference_episodes:
        note += f"\ndashed: {_mean_over(reference_episodes)}"  # in one line it would be wider than one panel
    return _draw(curves, references or {}, note, title, run_dir / "plots" / "learning_curve.png")


def episode_curve(steps: FloatColumn, values: FloatColumn) -> Curve:
    """Mean and interval over the episodes of each step; episodes whose value is NaN do not count."""
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    at = np.unique(steps)
    cells = np.array([mean_ci(values[steps == step]) for step in at]).reshape(len(at), 2)
    return Curve(at, cells[:, 0], cells[:, 1])


def _mean_over(n_episodes: int) -> str:
    return f"mean over {n_episodes} test episodes" if n_episodes > 1 else "one test episode"


def _known(table: Mapping[str, FloatColumn]) -> list[str]:
    """What can be plotted of a table."""
    return [m for m in _PLOTTED if m in table and np.isfinite(table[m]).any()]


def _draw(
    curves: Mapping[str, Mapping[str, Curve]],
    references: Mapping[str, Mapping[str, float]],
    note: str,
    title: str | None,
    path: Path,
) -> Path:
    """One panel per metric, side by side."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"text.parse_math": False}):  # a $ in a name is a dollar sign
        figure = Figure(figsize=(0.6 + 5.2 * len(curves), 3.9), layout="constrained")
        panels = figure.subplots(1, len(curves), squeeze=False)[0]
        for axes, (metric, lines) in zip(panels, curves.items(), strict=True):
            levels = {name: means[metric] for name, means in references.items() if metric in means}
            _style(axes, MEASURES[metric].axis)
            if metric != "return":
                _scale(axes, np.concatenate([*(c.mean for c in lines.values()), list(levels.values())]))
            _label_right(axes, [*_plot(axes, lines), *_plot_levels(axes, levels)])
        figure.supxlabel(note, fontsize=8.5, color=_TEXT_GRAY)
        if title:
            figure.suptitle(title, fontsize=11, wrap=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    return path


class _Label(NamedTuple):
    text: str
    y: float
    color: str


def _plot(axes: Axes, lines: Mapping[str, Curve]) -> list[_Label]:
    labels = []
    for i, (label, curve) in enumerate(lines.items()):
        color, marker = COLORS[i % len(COLORS)], "o" if len(curve.steps) <= 30 else ""
        axes.plot(
            curve.steps, curve.mean, color=color, linewidth=1.8, marker=marker, markersize=3.2, zorder=3, clip_on=False
        )
        low, high = curve.mean - curve.half_width, curve.mean + curve.half_width
        axes.fill_between(curve.steps, low, high, color=color, alpha=0.18, linewidth=0, zorder=2)
        labels.append(_Label(label, float(curve.mean[-1]), color))
    axes.set_xlim(right=max(curve.steps[-1] for curve in lines.values()))
    return [label for label in labels if label.text]


def _plot_levels(axes: Axes, levels: Mapping[str, float]) -> list[_Label]:
    for i, level in enumerate(levels.values()):
        axes.axhline(level, color=_LINE_GRAY, linewidth=1.1, linestyle=_DASHES[i % len(_DASHES)], zorder=1.5)
    return [_Label(name, level, _TEXT_GRAY) for name, level in levels.items()]


def _style(axes: Axes, y_label: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlabel("environment steps")
    axes.set_ylabel(y_label)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda steps, _: short_count(steps)))
    axes.grid(color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02, y=0.08)


def _scale(axes: Axes, means: FloatColumn) -> None:
    """A logarithmic axis where a poor beginning would hide the differences that matter."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    if spans_much(means):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(NullLocator())


def _label_right(axes: Axes, labels: Sequence[_Label]) -> None:
    """Names at the height of what they name, moved apart where they would overlap."""
    axes.get_ylim()  # settles the limits, without which the transformation is not yet the final one
    to_axes = axes.transData + axes.transAxes.inverted()
    anchors = [float(to_axes.transform((0.0, label.y))[1]) for label in labels]
    for label, at, y in zip(labels, anchors, spread(anchors, 0.057), strict=True):
        axes.annotate(
            label.text,
            (1.0, at),
            (1.05, y),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=label.color,
            fontsize=9,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": label.color,
                "linewidth": 0.6,
                "shrinkA": 1,
                "shrinkB": 1,
                "relpos": (0, 0.5),
            },
        )


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Positions moved as little as needed to be ``gap`` apart, in the same order and, if they fit, between 0 and 1."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    clusters: list[tuple[float, int]] = []  # middles of labels that touch each other, and how many there are
    for i in order:
        middle, size = positions[i], 1
        while clusters and middle - gap * size / 2 < clusters[-1][0] + gap * clusters[-1][1] / 2:
            other, count = clusters.pop()
            size += count
            middle += (other - middle) * count / size
            middle = max(min(middle, 1 - gap * (size - 1) / 2), gap * (size - 1) / 2)
        clusters.append((middle, size))
    placed = [middle + gap * (k - (size - 1) / 2) for middle, size in clusters for k in range(size)]
    return [y for _, y in sorted(zip(order, placed, strict=True))]


def short_count(number: float) -> str:
    """1500000 as ``1.5M``, 20000 as ``20k``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.4g}{unit}"
    return f"{number:.4g}"
