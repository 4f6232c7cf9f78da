"""Numbers for people: tables for the terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..components.statistics import Ratio

_PLAIN = (1e-4, 1e7)


def is_plain(*numbers: float) -> bool:
    """Whether people read the largest of some numbers best without a power of ten."""
    largest = max(map(abs, numbers))
    return largest == 0 or _PLAIN[0] <= largest < _PLAIN[1]


def digits_of(width: float) -> int:
    """Decimals that show two digits of a width, at most 6."""
    return min(max(1 - math.floor(math.log10(width)), 0), 6) if width > 0 else 2


def format_number(number: float) -> str:
    """``12,345``, ``0.001234``, ``1.5e-08``, ``∞``; nothing for NaN."""
    if math.isnan(number):
        return ""
    if math.isinf(number):
        return "∞" if number > 0 else "-∞"
    return f"{number:,.0f}" if 1e4 <= abs(number) < _PLAIN[1] else f"{number:.4g}"


def format_ci(mean: float, half_width: float) -> str:
    """``74.12 ± 0.31``: two digits of the half-width, and the mean as precisely; alone if there is no interval."""
    if not math.isfinite(half_width):
        return f"{mean:.4g}"
    if not is_plain(mean, half_width):
        return f"{mean:.4g} ± {half_width:.2g}"
    digits = digits_of(half_width)
    return f"{mean:.{digits}f} ± {half_width:.{digits}f}"


def format_ratio(ratio: Ratio) -> str:
    """``0.615 [0.612, 0.616]``; the number alone if there is no interval."""
    interval = "" if math.isnan(ratio.low) else f" [{ratio.low:.3f}, {ratio.high:.3f}]"
    return f"{ratio.value:.3f}{interval}"


def format_table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, markdown: bool = False) -> str:
    """A table as text: columns of numbers to the right, others to the left; floats with four digits.

    Args:
        headers: one per column.
        rows: cells, ``None`` for an empty one.
        markdown: the same table in Markdown.

    Raises:
        ValueError: a row has another number of cells than there are headers.
    """
    if any(len(row) != len(headers) for row in rows):
        raise ValueError(f"a row does not have the {len(headers)} cells of the headers {', '.join(headers)}")
    lines = [list(headers), *([_cell(cell, markdown) for cell in row] for row in rows)]
    columns = list(zip(*lines, strict=True))
    widths = [max(3, *(len(cell) for cell in column)) for column in columns]
    right = [_is_numeric(column[1:]) for column in columns]
    text = [[c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)] for line in lines]
    if markdown:
        rule = ["-" * (w - 1) + ":" if r else "-" * w for w, r in zip(widths, right, strict=True)]
        return "\n".join(f"| {' | '.join(line)} |" for line in [text[0], rule, *text[1:]])
    rule = ["-" * w for w in widths]
    return "\n".join("  ".join(line).rstrip() for line in [text[0], rule, *text[1:]])


def _cell(value: object, markdown: bool) -> str:
    if value is None:
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", r"\|") if markdown else text


def _is_numeric(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell not in ("", "-", "–", "—", "nan", "inf", "-inf")]
    return bool(filled) and all(cell.lstrip("+-−<>≤≥ ")[:1].isdigit() for cell in filled)
