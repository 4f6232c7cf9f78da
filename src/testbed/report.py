"""What a campaign found, for people: a table, CSV, and a page with a picture, real beside simulated."""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..components.statistics import Ratio, bootstrap_ratio_ci, mean_ci
from ..envs.loadbalance.layout import Floats
from ..envs.loadbalance.parameters import AFTER, PHASES
from ..reports.drawing import COLORS, GRAY
from ..reports.tables import format_ci, format_ratio, format_table
from .campaign import Results
from .plan import Contestant
from .simulated import NUMBERS

_MEAN, _P90, _P99, _DROPS = range(4)


def write(results: Results, directory: Path) -> str:
    """Write tables (``table.md``, ``table.csv``, ``trials.csv``) and ``report.png|html``; returns the table as text."""
    headers, rows = _table(results)
    text = format_table(headers, rows)
    about = _about(results)
    notes = "\n".join(f"- {note}" for note in results.notes)
    markdown = f"{about}\n\n{format_table(headers, rows, markdown=True)}\n\n{notes}\n"
    (directory / "table.md").write_text(markdown, encoding="utf-8")
    _write_csv(directory / "table.csv", headers, rows)
    _write_csv(directory / "trials.csv", ["contestant", "trace", "where", *NUMBERS], _trials(results))
    picture = _picture(results)
    (directory / "report.png").write_bytes(picture)
    (directory / "report.html").write_text(_page(about, headers, rows, results.notes, picture), encoding="utf-8")
    return text


def ratio_to_equal(results: Results, where: Floats, c: int) -> Ratio | None:
    """Mean completion time over that of the same rule with equal weights, traces paired; None for that itself."""
    contestants = results.plan.contestants
    equal = contestants.index(Contestant(contestants[c].rule, False, ""))
    if c == equal:
        return None
    return bootstrap_ratio_ci(where[c, :, _MEAN], where[equal, :, _MEAN], seed=0)


def _table(results: Results) -> tuple[list[str], list[list[object]]]:
    plan = results.plan
    headers = ["rule, weights", "mean ms", "p90", "p99", "refused", "simulated mean", "p90", "p99", "real/sim."]
    headers += ["ratio to equal weights", "simulated"]
    if plan.swap_at is not None:
        headers += [*PHASES, *(f"simulated {phase}" for phase in PHASES)]
    rows: list[list[object]] = []
    for c, contestant in enumerate(plan.contestants):
        real, sim = results.real[c], results.simulated[c]
        both = [_means(real), _means(sim)]
        ratios = [ratio_to_equal(results, where, c) for where in (results.real, results.simulated)]
        rows.append(
            [
                contestant.name,
                format_ci(*mean_ci(real[:, _MEAN])),
                *(f"{both[0][k]:.0f}" for k in (_P90, _P99, _DROPS)),
                format_ci(*mean_ci(sim[:, _MEAN])),
                *(f"{both[1][k]:.0f}" for k in (_P90, _P99)),
                f"{both[0][_MEAN] / both[1][_MEAN]:.3f}",
                *("" if ratio is None else format_ratio(ratio) for ratio in ratios),
                *(f"{x:.0f}" for where in both for x in where[_DROPS + 1 :] if plan.swap_at is not None),
            ]
        )
    return headers, rows


def _means(numbers: Floats) -> Floats:
    """Over traces, those without a number left out."""
    counted = np.isfinite(numbers)
    means: Floats = np.where(counted, numbers, 0.0).sum(axis=0) / np.maximum(counted.sum(axis=0), 1)
    return np.where(counted.any(axis=0), means, np.nan)


def _about(results: Results) -> str:
    plan = results.plan
    swap = "" if plan.swap_at is None else f", CPUs reversed without notice after {plan.swap_at:g} s"
    after = "" if plan.swap_at is None else f" Means before that, up to {AFTER:g} s after it, and later."
    return (
        f"{plan.balancers} HAProxy processes, servers of {', '.join(map(str, plan.cpus))} CPUs, load {plan.load:g}, "
        f"{plan.traces} traces of {plan.seconds:g} s after {plan.warmup:g} s of warm-up, {plan.factor:g} times as "
        f"fast{swap}. Completion times in simulated ms over requests that end after the warm-up; ± and brackets: 95 % "
        f"intervals over traces.{after}"
    )


def _trials(results: Results) -> list[list[object]]:
    return [
        [contestant.name, k, where, *(float(x) for x in numbers[c, k])]
        for c, contestant in enumerate(results.plan.contestants)
        for where, numbers in (("real", results.real), ("simulated", results.simulated))
        for k in range(results.plan.traces)
    ]


def _write_csv(path: Path, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([headers, *rows])


def _picture(results: Results) -> bytes:
    """Bars of mean completion times, real and simulated, with every trace as a dot."""
    from matplotlib.figure import Figure

    contestants = results.plan.contestants
    figure = Figure(figsize=(8.0, 0.9 + 0.5 * len(contestants)), layout="constrained")
    axes, y = figure.subplots(), np.arange(len(contestants))[::-1]
    for offset, numbers, label, color in (
        (0.2, results.real, "HAProxy", COLORS[0]),
        (-0.2, results.simulated, "simulated", GRAY),
    ):
        means = numbers[:, :, _MEAN].mean(axis=1)
        axes.barh(y + offset, means, 0.36, label=label, color=color, alpha=0.75)
        for k in range(results.plan.traces):
            axes.plot(numbers[:, k, _MEAN], y + offset, ".", color="black", markersize=3)
    axes.set_yticks(y, [contestant.name for contestant in contestants])
    axes.set_xlabel("mean completion time in ms (dots: traces)")
    if results.real[:, :, _MEAN].max() > 5 * np.median(results.real[:, :, _MEAN]):
        axes.set_xscale("log")
    axes.legend(loc="best", frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def _page(
    about: str, headers: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[str], png: bytes
) -> str:
    head = "".join(f"<th>{html.escape(h)}</th>" for h in headers)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(x))}</td>" for x in row) + "</tr>" for row in rows)
    said = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    style = (
        "body{font:15px/1.5 sans-serif;max-width:80em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}"
        "td,th{padding:.2em .6em;border-bottom:1px solid #ddd;text-align:right}"
        "td:first-child,th:first-child{text-align:left}"
        "img{max-width:100%}"
    )
    image = base64.b64encode(png).decode()
    return (
        f"<!doctype html><meta charset=utf-8><title>Testbed</title><style>{style}</style>"
        f"<h1>Testbed: HAProxy beside the simulator</h1>"
        f"<p>{html.escape(about)}</p><table><tr>{head}</tr>{body}</table><ul>{said}</ul>"
        f"<img alt='mean completion times' src='data:image/png;base64,{image}'>\n"
    )
