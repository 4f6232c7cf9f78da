"""The report as one HTML page that needs no network: curves to hover, lines to switch off, tables to sort."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from importlib import resources
from string import Template
from typing import Any

import numpy as np

from .drawing import GRAY, Figure, Line, Panel
from .estimates import FloatArray, Interval
from .paper import look
from .sheets import Badge, Cell, Sheet, format_cell

_COLUMNS = 3
_ROW_PX, _BESIDE_PX, _GAP_PX = 300, 124, 90
_TOP_PX, _BOTTOM_PX = 64, 60
_LEGEND_ROW_PX, _LEGEND_PX = 20, 1040  # height of a row, and how much of the page's width there is for entries
_SHOWN_AT_FIRST = 12
"""Methods; the others are in the legend, and one click away."""
_DIGITS = 5
_MOST_ROWS = 400


def page(title: str, summary: str, notes: Sequence[str], figures: Sequence[Figure], sheets: Sequence[Sheet]) -> str:
    """The whole page.

    Args:
        title: its heading.
        summary: what it is about, a sentence or two.
        notes: what a reader must know, such as runs that were left out.
        figures: those of one section become versions of each other, between which the reader switches.
        sheets: the tables; one with the title of a section stands in it.
    """
    from plotly.offline import get_plotlyjs

    sections: dict[str, list[Figure]] = {}
    for figure in figures:
        sections.setdefault(figure.section, []).append(figure)
    tables = {sheet.title: sheet for sheet in sheets}
    titles = list(dict.fromkeys([*(sheet.title for sheet in sheets[:1]), *sections, *tables]))
    data = [[_plotly(figure) for figure in versions] for versions in sections.values()]
    parts = [
        f"<section id='part{i}'><h2>{html.escape(text)}</h2>"
        + (_figures([*sections].index(text), sections[text]) if text in sections else "")
        + (_table(tables[text]) if text in tables else "")
        + "</section>"
        for i, text in enumerate(titles)
    ]
    template = Template((resources.files(__package__) / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(title),
        summary=html.escape(summary),
        notes=f"<ul class='notes'>{''.join(f'<li>{html.escape(note)}</li>' for note in notes)}</ul>" if notes else "",
        contents="".join(f"<a href='#part{i}'>{html.escape(text)}</a>" for i, text in enumerate(titles)),
        body="\n".join(parts),
        plotly=get_plotlyjs(),
        figures=_json(data),
    )


def _json(data: Any) -> str:
    """JSON that may stand inside of a page: no text in it can end the script."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _figures(number: int, versions: Sequence[Figure]) -> str:
    buttons = "".join(f"<button type='button'>{html.escape(figure.version)}</button>" for figure in versions)
    choice = f"<div class='versions'>{buttons}</div>" if len(versions) > 1 else ""
    return (
        f"<div class='figure' data-section='{number}'>{choice}<div class='plot'></div>"
        f"<p class='note caption'></p></div>"
    )


def _table(sheet: Sheet) -> str:
    head = "".join(f"<th><button type='button'>{html.escape(text)}</button></th>" for text in sheet.headers)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in sheet.rows[:_MOST_ROWS])
    more = f" Here the first {_MOST_ROWS} of {len(sheet.rows)} rows; tables/{sheet.name}.csv can have all of them."
    note = sheet.note + (more if len(sheet.rows) > _MOST_ROWS else "")
    return (
        f"<p class='note'>{html.escape(note.strip())}</p>"
        f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    text = html.escape(format_cell(cell))
    if isinstance(cell, Badge):
        return f"<td><span class='badge {html.escape(cell.tone)}'>{text}</span></td>"
    if cell is None or isinstance(cell, str):
        return f"<td>{text}</td>"
    number = float(cell.value if isinstance(cell, Interval) else cell)
    value = (
        ""
        if math.isnan(number)
        else ("Infinity" if number > 0 else "-Infinity")
        if math.isinf(number)
        else f"{number:.7g}"
    )
    return f"<td data-v='{value}'>{text}</td>"


def _plotly(figure: Figure) -> dict[str, Any]:
    """Traces and layout of a figure, as plotly.js takes them."""
    n = len(figure.panels)
    columns = 1 if n == 1 else 2 if n in (2, 4) else _COLUMNS
    rows = math.ceil(n / columns)
    tallest = max(len(panel.y_ticks or ()) for panel in figure.panels)
    row_px = 28 * tallest + 30 if tallest else _ROW_PX
    legend = _legend_px(figure)
    height = rows * row_px + (rows - 1) * _GAP_PX + _BESIDE_PX + legend
    inside = height - _TOP_PX - _BOTTOM_PX - legend
    layout: dict[str, Any] = {
        "height": height,
        "margin": {"l": 70, "r": 20, "t": _TOP_PX, "b": _BOTTOM_PX + legend},
        "hovermode": "closest",
        "font": {"size": 12},
        "legend": {
            "orientation": "h",
            "groupclick": "togglegroup",
            "yref": "container",
            "y": 0,
            "yanchor": "bottom",  # below the axis' title, however many rows it has
        },
        "plot_bgcolor": "#fff",
        "annotations": [],
        "shapes": [],
    }
    traces: list[dict[str, Any]] = []
    labeled: set[str] = set()
    gap_x, gap_y = 0.07, _GAP_PX / inside
    for k, panel in enumerate(figure.panels):
        row, column = divmod(k, columns)
        w, h = (1 - gap_x * (columns - 1)) / columns, (1 - gap_y * (rows - 1)) / rows
        left, top = column * (w + gap_x), 1 - row * (h + gap_y)
        number = "" if k == 0 else str(k + 1)
        layout[f"xaxis{number}"] = {**_x_axis(panel), "domain": [left, left + w], "anchor": f"y{number}"}
        layout[f"yaxis{number}"] = {**_y_axis(panel), "domain": [max(0.0, top - h), top], "anchor": f"x{number}"}
        _title_and_marks(layout, panel, left + w / 2, top, number)
        for line in panel.lines:
            traces.append(_trace(line, number, panel, first=line.label not in labeled))
            labeled.add(line.label)
    return {"data": traces, "layout": layout, "caption": figure.caption}


def _legend_px(figure: Figure) -> int:
    """The height of the legend, a little more rather than less."""
    labels = {line.label for panel in figure.panels for line in panel.lines if line.kind != "interval"}
    if not labels:
        return 0
    entry = 50 + 7.5 * max(map(len, labels))
    rows = math.ceil(len(labels) / max(1, int(_LEGEND_PX / entry)))
    return _LEGEND_ROW_PX * rows + 10


def _title_and_marks(layout: dict[str, Any], panel: Panel, x: float, y: float, number: str) -> None:
    if panel.title:
        text = _plain(panel.title).replace("\n", "<br>")
        place: dict[str, Any] = {
            "x": x,
            "y": y,
            "xref": "paper",
            "yref": "paper",
            "xanchor": "center",
            "yanchor": "bottom",
        }
        place["showarrow"] = False
        layout["annotations"].append({"text": text, **place})
    for text, arrow, at in zip(panel.beyond, "↓↑", ("bottom", "top"), strict=True):
        if text:
            place = {"x": 1, "y": float(at == "top"), "xref": f"x{number} domain", "yref": f"y{number} domain"}
            place |= {"xanchor": "right", "yanchor": at, "showarrow": False, "font": {"size": 11, "color": GRAY}}
            layout["annotations"].append({"text": _plain(f"{arrow} {text}"), **place})
    if panel.marked_x is not None:
        place = {"x0": panel.marked_x, "x1": panel.marked_x, "y0": 0, "y1": 1, "xref": f"x{number}"}
        style = {"type": "line", "line": {"color": GRAY, "dash": "dash", "width": 1}}
        layout["shapes"].append({**place, "yref": f"y{number} domain", **style})


def _x_axis(panel: Panel) -> dict[str, Any]:
    axis: dict[str, Any] = {"title": {"text": _plain(panel.x_label)}, "gridcolor": "#eee", "zeroline": False}
    if panel.x_log:
        axis["type"] = "log"
    if panel.x_ticks is not None:
        axis |= {"tickvals": [*panel.x_ticks], "ticktext": [*panel.x_ticks.values()]}
    if panel.unit and panel.y_ticks is not None:
        axis["range"] = [-0.03, 1.03]
    return axis


def _y_axis(panel: Panel) -> dict[str, Any]:
    axis: dict[str, Any] = {"title": {"text": _plain(panel.y_label)}, "gridcolor": "#eee", "zeroline": False}
    if panel.y_log:
        ticks = [digit * 10.0**power for power in range(-6, 9) for digit in (1, 2, 5)]
        axis |= {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:.10g}" for tick in ticks]}
    if panel.y_range is not None:
        axis["range"] = [math.log10(end) if panel.y_log else end for end in panel.y_range]
    if panel.y_ticks is not None:
        texts = [_plain(text) for text in panel.y_ticks.values()]
        last = max(panel.y_ticks) + 0.6
        axis |= {"tickvals": [*panel.y_ticks], "ticktext": texts, "range": [last, -0.6], "automargin": True}
    elif panel.unit:
        axis["range"] = [-0.04, 1.04]
    return axis


def _trace(line: Line, number: str, panel: Panel, *, first: bool) -> dict[str, Any]:
    """A line, with the ends of its interval as custom data; lines with one label are switched together."""
    color, dash, marker = look(line)
    label = _plain(line.label)
    common: dict[str, Any] = {"legendgroup": label, "xaxis": f"x{number}", "yaxis": f"y{number}"}
    if line.style >= _SHOWN_AT_FIRST and line.kind != "interval":
        common["visible"] = "legendonly"
    x, y = line.x, line.y
    if line.kind == "level":
        ends = [v for other in panel.lines if other.kind == "line" for v in (other.x[0], other.x[-1])] or [0.0, 1.0]
        x, y = np.linspace(min(ends), max(ends), 5), np.repeat(line.y, 5)
    trace: dict[str, Any] = {
        "type": "scatter",
        "name": label,
        "x": _numbers(x),
        "y": _numbers(y),
        "mode": "lines" if len(x) > 30 else "lines+markers",
        "line": {"color": color, "dash": dash, "width": 2 if line.style >= 0 else 1.2},
        "marker": {"symbol": marker, "color": color, "size": 6 if line.style >= 0 else 4},
        "showlegend": first and line.kind != "interval",
        **common,
    }
    if line.kind == "step":
        trace["line"]["shape"] = "hv"
    if line.band:
        trace["customdata"] = [list(pair) for pair in zip(*map(_numbers, line.band), strict=True)]
    value, center = ("x", x) if line.kind == "interval" else ("y", y)
    interval = " [%{customdata[0]:.4g}, %{customdata[1]:.4g}]" if line.band else ""
    at = "" if line.kind in ("interval", "level") else "%{x:,.6~g}: "
    trace["hovertemplate"] = f"{label}<br>{at}%{{{value}:.4g}}{interval}<extra></extra>"
    if line.kind == "interval":
        trace |= {"mode": "markers", "marker": {"symbol": marker, "color": color, "size": 9}}
    if not line.band:
        return trace
    low, high = line.band
    if line.kind in ("marked", "interval"):
        bars: dict[str, Any] = {"array": _numbers(high - center), "arrayminus": _numbers(center - low)}
        trace[f"error_{value}"] = {**bars, "color": color, "symmetric": False, "thickness": 1.5}
        return trace
    return {**trace, "band": _transparent(color)}  # the page's script makes a trace of it


def _plain(text: str) -> str:
    """A text that plotly, which knows some HTML, shows as it is."""
    return html.escape(text, quote=False)


def _transparent(color: str) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"


def _numbers(values: FloatArray) -> list[float | None]:
    """Numbers with as many digits as a screen shows; None for what is none."""
    return [float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None for value in values.tolist()]
