"""What a figure shows, apart from how it is drawn: for paper (`paper`) and for the page (`page`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .estimates import FloatArray

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, which color-blind readers can tell apart, without its yellow, too pale for lines."""
GRAY = "#6B6B6B"
"""Of what is a reference, not a result."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
"""Names of dashes, as plotly knows them; with as many colors as there are, 35 lines look different."""
MARKERS = ("circle", "square", "triangle-up", "diamond", "x", "triangle-down", "cross")
"""Names of markers, as plotly knows them."""
_LOG_SPAN = 3.0

Kind = Literal["line", "marked", "step", "level", "interval"]
"""A line with a band; with markers and bars; in steps; horizontal; or a point with a horizontal bar for each y."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a panel.

    Attributes:
        label: in the legend; the same thing has the same label in all panels.
        style: a number from 0 for results, the same look for the same number; below 0 for references.
        kind: how it is drawn.
        x: where ``[N]``; of an ``interval`` the values.
        y: how high ``[N]``; of an ``interval`` the row.
        low: the lower end of the interval ``[N]``, NaN or None for none.
        high: the upper end.
    """

    label: str
    style: int
    kind: Kind
    x: FloatArray
    y: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None

    @property
    def band(self) -> tuple[FloatArray, FloatArray] | None:
        """The ends of the interval, None if there is none anywhere."""
        return None if self.low is None or self.high is None or np.isnan(self.low).all() else (self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: above it.
        x_label: below it.
        y_label: beside it.
        lines: what it shows.
        x_ticks: positions and texts, where not every number makes sense.
        y_ticks: the same for the vertical axis, of which the first is at the top.
        x_log: whether the horizontal axis is logarithmic, to base 2.
        y_log: whether the vertical axis is logarithmic.
        x_steps: whether it counts environment steps.
        y_range: where the vertical axis begins and ends, None for where the lines do.
        beyond: what would be below and above of its ends, in words.
        unit: whether the vertical axis, or the horizontal one of intervals, goes from 0 to 1.
        marked_x: where a vertical line stands, None for nowhere.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    x_ticks: Mapping[float, str] | None = None
    y_ticks: Mapping[float, str] | None = None
    x_log: bool = False
    y_log: bool = False
    x_steps: bool = False
    y_range: tuple[float, float] | None = None
    beyond: tuple[str, str] = ("", "")
    unit: bool = False
    marked_x: float | None = None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Panels that belong together.

    Attributes:
        name: of its files.
        section: the heading under which it stands; figures of one section are versions of each other.
        version: what tells it from other versions, empty if there are none.
        caption: what it shows, and what its bands are.
        panels: at least one.
    """

    name: str
    section: str
    version: str
    caption: str
    panels: Sequence[Panel]


def spans_much(values: FloatArray) -> bool:
    """Whether an axis of something to be small should be logarithmic: else a bad value hides the differences that
    matter."""
    return bool(values.min() > 0 and values.max() / values.min() > _LOG_SPAN)
