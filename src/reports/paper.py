"""Figures for print: PNG and PDF files in the width of one or two columns, legible in gray and for the color-blind."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..components.files import write_atomically
from .drawing import COLORS, DASHES, GRAY, MARKERS, Figure, Line, Panel
from .learning_curve import short_count
from .study import MANY_METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMN, _WIDE = 3.3, 7.0  # inches, of a column and of a page
_FONT: Mapping[Any, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "pdf.fonttype": 42,  # text stays text, as publishers demand
    "ps.fonttype": 42,
    "font.family": "DejaVu Sans",
    "text.parse_math": False,  # a $ in a name is a dollar sign
}
_DPI = 250
_CHARACTERS_PER_INCH = 13
_LONGEST, _MOST_LINES = 34, 4  # characters of a label, lines of a title
_LINE_STYLES: Mapping[str, Any] = {
    "solid": "-",
    "dash": (0, (5, 2)),
    "dot": (0, (1.2, 1.4)),
    "dashdot": (0, (5, 1.5, 1.2, 1.5)),
    "longdash": (0, (9, 2.5)),
}
_MARKERS: Mapping[str, str] = {
    "circle": "o",
    "square": "s",
    "triangle-up": "^",
    "diamond": "D",
    "x": "X",
    "triangle-down": "v",
    "cross": "P",
}


def draw(figure: Figure, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write a figure as ``<name>.png`` and ``<name>.pdf``, whichever is asked for.

    With more lines of results than can be told apart in print, only the best are drawn, as the legend
    says.

    Returns:
        The files.

    Raises:
        WriteError: they cannot be written.
    """
    wanted = [kind for kind in ("png", "pdf") if kind in formats]
    if not wanted:
        return []
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    n = len(figure.panels)
    columns = 1 if n == 1 else 2 if n in (2, 4) else 3
    rows = math.ceil(n / columns)
    styles = sorted({line.style for panel in figure.panels for line in panel.lines if line.style >= 0})
    shown = set(styles[:MANY_METHODS])
    with matplotlib.rc_context({**_FONT}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box stands for it
        width = _COLUMN if columns == 1 else _WIDE
        legend_rows = math.ceil(len(_labels(figure, shown)) / _legend_columns(figure, width))
        height = _height(figure.panels[0], columns) * rows + 0.17 * legend_rows + 0.1
        canvas = Canvas(figsize=(width, height), layout="constrained")
        grid = canvas.subplots(rows, columns, squeeze=False).ravel()
        for axes, panel in zip(grid, figure.panels, strict=False):
            _panel(axes, panel, shown, width / columns)
        for axes in grid[n:]:
            axes.set_visible(False)
        _legend(canvas, figure, shown, len(styles), width)
        canvas.draw_without_rendering()
        canvas.set_layout_engine(None)  # else everything would be drawn once more for every file, to no effect
        files = [folder / f"{figure.name}.{kind}" for kind in wanted]
        for file, kind in zip(files, wanted, strict=True):
            content = io.BytesIO()
            metadata = {"CreationDate": None} if kind == "pdf" else None  # the same runs, the same bytes
            canvas.savefig(content, format=kind, dpi=_DPI, metadata=metadata)
            write_atomically(file, content.getbuffer())
    return files


def _height(panel: Panel, columns: int) -> float:
    if panel.y_ticks:
        return 0.6 + 0.2 * len(panel.y_ticks)
    return 2.2 if columns == 1 else 1.95


def _panel(axes: Axes, panel: Panel, shown: set[int], width: float) -> None:
    axes.set_xlabel(_wrapped(panel.x_label, width - 0.6))
    axes.set_ylabel(_wrapped(panel.y_label, 1.5))
    if panel.title:
        axes.set_title("\n".join(_wrapped(line, width - 0.4) for line in panel.title.splitlines()))
    axes.grid(color="#E4E4E4", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if panel.x_log:
        axes.set_xscale("log", base=2)
    lines = [line for line in panel.lines if line.style < 0 or line.style in shown]
    barred = [line for line in lines if line.kind == "marked" and line.low is not None]
    for line in lines:
        aside = barred.index(line) - (len(barred) - 1) / 2 if line in barred and len(barred) > 1 else 0.0
        _line(axes, line, 2 ** (aside * min(0.06, 0.3 / len(barred))) if aside else 1.0)
    _ticks(axes, panel)
    if panel.marked_x is not None:
        axes.axvline(panel.marked_x, color=GRAY, linewidth=0.8, linestyle=_LINE_STYLES["dash"], zorder=1)


def _ticks(axes: Axes, panel: Panel) -> None:
    """Where the axes begin and end, and which numbers stand beside them."""
    from matplotlib import ticker

    if panel.x_ticks is not None:
        axes.xaxis.set_major_locator(ticker.FixedLocator([*panel.x_ticks]))
        axes.xaxis.set_major_formatter(ticker.FixedFormatter([*panel.x_ticks.values()]))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.margins(x=0.08)
    elif panel.x_steps:
        axes.xaxis.set_major_locator(ticker.MaxNLocator(4))
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda steps, _: short_count(steps)))
        axes.margins(x=0.02)
    if panel.y_ticks is not None:
        axes.set_yticks([*panel.y_ticks], [_short_pair(text) for text in panel.y_ticks.values()])
        axes.set_ylim(max(panel.y_ticks) + 0.6, min(panel.y_ticks) - 0.6)
        if panel.unit:
            axes.set_xlim(-0.03, 1.03)
    elif panel.unit:
        axes.set_ylim(-0.04, 1.04)
    if panel.y_log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(ticker.NullLocator())
    if panel.y_range is not None:
        axes.set_ylim(*panel.y_range)
    for text, arrow, y, place in zip(panel.beyond, "↓↑", (0.02, 0.98), ("bottom", "top"), strict=True):
        if text:
            axes.text(
                0.99, y, f"{arrow} {text}", transform=axes.transAxes, ha="right", va=place, fontsize=7, color=GRAY
            )


def _wrapped(text: str, inches: float) -> str:
    lines = textwrap.wrap(text, max(10, int(inches * _CHARACTERS_PER_INCH)))
    return "\n".join([*lines[: _MOST_LINES - 1], "…"] if len(lines) > _MOST_LINES else lines) or text


def _short(text: str, most: int = _LONGEST) -> str:
    """A label that fits into a column."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _short_pair(text: str) -> str:
    return " > ".join(_short(name, _LONGEST // 2) for name in text.split(" > "))


def _line(axes: Axes, line: Line, aside: float = 1.0) -> None:
    """Draw a line, its positions times a factor close to 1 so that bars at the same position do not hide each other."""
    color, dash, marker = look(line)
    width = 1.4 if line.style >= 0 else 0.9
    style: dict[str, Any] = {"color": color, "linestyle": _LINE_STYLES[dash], "linewidth": width}
    if line.kind == "level":
        places = np.linspace(0, 1, 5)
        offset = 0.03 * (-line.style % 6)
        at = axes.get_yaxis_transform()
        axes.plot(places, np.repeat(line.y, 5), transform=at, zorder=1.5, **style)
        axes.plot(places[1:] - 0.12 + offset, np.repeat(line.y, 4), _MARKERS[marker], ms=2.6, color=color, transform=at)
        return
    if line.kind == "interval":
        axes.plot(line.x, line.y, color=color, marker=_MARKERS[marker], markersize=4.5, linestyle="none", zorder=3)
        if line.band:
            axes.hlines(line.y, *line.band, color=color, linewidth=2.2, alpha=0.55)
        return
    drawstyle = "steps-post" if line.kind == "step" else "default"
    every = max(1, len(line.x) // 6) if line.kind != "marked" else 1
    offset = (
        (max(line.style, 0) * every // 5) % every if every > 1 else 0
    )  # markers of lines on each other stay visible
    x = line.x * aside
    axes.plot(
        x,
        line.y,
        drawstyle=drawstyle,
        marker=_MARKERS[marker] if line.style >= 0 or line.kind == "marked" else None,
        markersize=3.6 if line.style >= 0 else 2.4,
        markevery=(offset, every),
        zorder=3 if line.style >= 0 else 2,
        **style,
    )
    if not line.band:
        return
    if line.kind == "marked":
        axes.vlines(x, *line.band, color=color, linewidth=2.2, alpha=0.45, zorder=2)
    else:
        axes.fill_between(x, *line.band, color=color, alpha=0.16, linewidth=0, zorder=2)


def look(line: Line) -> tuple[str, str, str]:
    """Color, dash and marker of a line, by its style; both are names of `drawing`."""
    if line.style < 0:
        k = -1 - line.style
        return GRAY, (*DASHES[1:], "solid")[k % len(DASHES)], MARKERS[(k + 1) % len(MARKERS)]
    k = line.style
    return (
        COLORS[k % len(COLORS)],
        DASHES[(k // len(COLORS) + k) % len(DASHES)],
        MARKERS[(k // len(COLORS) + k) % len(MARKERS)],
    )


def _labels(figure: Figure, shown: set[int]) -> dict[str, Line]:
    """A line for every label in the legend; intervals are labeled beside them."""
    lines = [line for panel in figure.panels for line in panel.lines if line.kind != "interval"]
    found = {line.label: line for line in reversed(lines) if line.style < 0 or line.style in shown}
    return dict(sorted(found.items(), key=lambda item: (item[1].style < 0, abs(item[1].style))))


def _legend_columns(figure: Figure, width: float) -> int:
    longest = max((len(_short(line.label)) for panel in figure.panels for line in panel.lines), default=1)
    return max(1, int(width / (0.6 + 0.075 * longest)))


def _legend(canvas: Any, figure: Figure, shown: set[int], n_lines: int, width: float) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for label, line in _labels(figure, shown).items():
        color, dash, marker = look(line)
        marked = line.style >= 0 or line.kind in ("marked", "level")
        handles.append(
            Line2D(
                [],
                [],
                color=color,
                linestyle=_LINE_STYLES[dash],
                marker=_MARKERS[marker] if marked else None,
                markersize=3.6,
                linewidth=1.4,
                label=_short(label),
            )
        )
    if not handles:
        return
    title = f"the best {len(shown)} of {n_lines} methods" if len(shown) < n_lines else None
    canvas.legend(
        handles=handles,
        loc="outside lower center",
        ncols=_legend_columns(figure, width),
        frameon=False,
        title=title,
        handlelength=4,
        columnspacing=1.2,
    )
