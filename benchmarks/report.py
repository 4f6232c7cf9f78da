"""From measurements to a table (Markdown and CSV) and a figure."""

from __future__ import annotations

import csv
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from cases import Case, Contestant

EXTRAS: Mapping[str, tuple[str, str]] = {
    "share_of_peak": ("of peak GEMM", ".0%"),
    "share_of_parts": ("of the sum of its parts", ".0%"),
    "steps_per_cpu_s": ("per CPU s", ",.0f"),
    "cpu_share": ("of a core", ".0%"),
}
"""What may be reported beside the value: title and format."""

KINDS: Mapping[str, str] = {
    "learner": "Learner update",
    "act": "Acting",
    "collect": "Collecting episodes",
    "random": "Collecting by a random policy",
    "step": "Environments alone",
    "train": "Training, end to end",
    "start": "Start-up",
}


class Spread(NamedTuple):
    """Several rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(median(values), min(values), max(values))

    def text(self, digits: int = 3) -> str:
        """Median and range."""
        return f"{number(self.median, digits)} ({number(self.least, digits)}..{number(self.most, digits)})"


class Row(NamedTuple):
    """One contestant in one case.

    Attributes:
        ratios: by contestant of ours: how many times faster that one was in the same round.
    """

    case: Case
    contestant: Contestant
    value: Spread | None
    ratios: Mapping[str, Spread]
    extras: Mapping[str, Spread]
    rss_mb: float | None
    remark: str


class Report:
    """Collects results by case, contestant and round, and writes them.

    Args:
        folder: where to.
        header: the machine and the command.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any]) -> None:
        self._folder, self._header = folder, header
        self._cases: dict[str, Case] = {}
        self._contestants: dict[str, Contestant] = {}
        self._results: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}

    def add(self, case: Case, contestant: Contestant, number: int, result: dict[str, Any]) -> None:
        """Keep one result, in memory and as a line of raw.jsonl."""
        self._cases[case.name], self._contestants[contestant.name] = case, contestant
        self._results.setdefault((case.name, contestant.name), {})[number] = result
        line = {"case": case.name, "contestant": contestant.name, "round": number, **result}
        with (self._folder / "raw.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def write(self, ours: Sequence[Contestant]) -> None:
        """Write table.md, table.csv and figure.png.

        Args:
            ours: with whom everybody is compared.
        """
        rows = list(self._rows([c.name for c in ours]))
        (self._folder / "table.md").write_text(self._markdown(rows), encoding="utf-8")
        with (self._folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(_csv(rows, [c.name for c in ours]))
        _figure(rows, self._folder / "figure.png")

    def _rows(self, ours: Sequence[str]) -> Iterator[Row]:
        for (case_name, name), by_round in self._results.items():
            case = self._cases[case_name]
            good = {n: r for n, r in by_round.items() if "error" not in r}
            errors = sorted({r["error"] for r in by_round.values() if "error" in r})
            extras = {
                k: Spread.of([r[k] for r in good.values()])
                for k in EXTRAS
                if good and all(k in r for r in good.values())
            }
            ratios = {base: s for base in ours if base != name and (s := self._ratio(case, base, name))}
            places = sorted({r["where"].partition(" (")[0] for r in good.values() if "where" in r})
            yield Row(
                case,
                self._contestants[name],
                Spread.of([r["value"] for r in good.values()]) if good else None,
                ratios,
                extras,
                median(r["rss_mb"] for r in good.values()) if good else None,
                "; ".join([*places, *(f"failed {sum('error' in r for r in by_round.values())}×: {e}" for e in errors)]),
            )

    def _ratio(self, case: Case, base: str, other: str) -> Spread | None:
        """How many times faster the base was than the other, round by round."""
        first, second = (self._results.get((case.name, name), {}) for name in (base, other))
        both = [n for n in first if n in second and "error" not in first[n] and "error" not in second[n]]
        ratios = [first[n]["value"] / second[n]["value"] for n in both]
        return Spread.of([x if case.more_is_better else 1 / x for x in ratios]) if ratios else None

    def _markdown(self, rows: Sequence[Row]) -> str:
        lines = [
            "# Benchmarks",
            "",
            "Median (least..most) of the rounds. A column `× NAME` says how many times faster NAME was",
        ]
        lines += ["than the row's contestant, by the ratios taken within each round.", ""]
        lines += [f"- {name}: {value}" for name, value in self._header.items()]
        lines += [f"- versions of {name}: {text}" for name, text in self._versions().items()]
        told = {c.name: " ".join(c.overrides) for c in self._contestants.values() if c.ours or c.overrides}
        lines += [
            f"- {name}: `{overrides}`" if overrides else f"- {name}: as it comes" for name, overrides in told.items()
        ]
        for kind, group in groupby(rows, lambda row: row.case.name.partition("-")[0]):
            lines += ["", f"## {KINDS[kind]}", ""]
            for _, same in groupby(group, lambda row: row.case):
                lines += [*_case_table(list(same)), ""]
        return "\n".join(lines)

    def _versions(self) -> dict[str, str]:
        found: dict[str, dict[str, str]] = {}
        for (_, name), by_round in self._results.items():
            for result in by_round.values():
                if "versions" in result:
                    found.setdefault(self._contestants[name].peer or "ours", {}).update(result["versions"])
        return {who: ", ".join(f"{k} {v}" for k, v in versions.items()) for who, versions in found.items()}


def machine(root: Path) -> dict[str, Any]:
    """Hardware, system and revision."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    git = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        revision = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # there is no git
        revision = ""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    return {
        "processor": f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load before": f"{load} (1, 5, 15 minutes)",
        "revision": revision or "unknown",
    }


def number(x: float, digits: int = 3) -> str:
    """So many significant digits, without an exponent."""
    return f"{x:,.0f}" if abs(x) >= 10 ** (digits - 1) else f"{x:.{digits}g}"


def _case_table(rows: Sequence[Row]) -> list[str]:
    case = rows[0].case
    bases = list(dict.fromkeys(base for row in rows for base in row.ratios))
    extras = [name for name in EXTRAS if any(name in row.extras for row in rows)]
    head = ["", case.unit, *(f"× {base}" for base in bases), *(EXTRAS[x][0] for x in extras), "peak MB", ""]
    lines = [f"**{case.title}** (`{case.name}`)", "", _line(head), _line(["---"] * len(head))]
    for row in rows:
        ratios = [row.ratios[base].text() if base in row.ratios else "" for base in bases]
        shares = [format(row.extras[x].median, EXTRAS[x][1]) if x in row.extras else "" for x in extras]
        value = row.value.text() if row.value else "–"
        peak = f"{row.rss_mb:.0f}" if row.rss_mb is not None else ""
        lines.append(_line([row.contestant.name, value, *ratios, *shares, peak, row.remark]))
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _csv(rows: Sequence[Row], ours: Sequence[str]) -> Iterator[list[Any]]:
    spread = ("median", "least", "most")
    ratios = [f"times_{base}_{s}" for base in ours for s in spread]
    yield ["case", "contestant", "unit", *spread, *ratios, *EXTRAS, "peak_rss_mb", "overrides", "remark"]
    for row in rows:
        values = [x for base in ours for x in row.ratios.get(base, ("", "", ""))]
        extras = [row.extras[x].median if x in row.extras else "" for x in EXTRAS]
        told = " ".join(row.contestant.overrides)
        head = [row.case.name, row.contestant.name, row.case.unit, *(row.value or ("", "", ""))]
        yield [*head, *values, *extras, "" if row.rss_mb is None else row.rss_mb, told, row.remark]


def _figure(rows: Sequence[Row], path: Path) -> None:
    """A panel per case: bars from 0, the range over the rounds as a line."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    measured = [(case, list(same)) for case, same in groupby((r for r in rows if r.value), lambda row: row.case)]
    if not measured:
        return
    columns = min(2, len(measured))
    lines = -(-len(measured) // columns)
    most = max(len(same) for _, same in measured)
    figure, axes = plt.subplots(lines, columns, figsize=(7 * columns, lines * (0.9 + 0.3 * most)), squeeze=False)
    for ax, (case, same) in zip(axes.flat, measured, strict=False):
        spreads = [row.value for row in same if row.value]
        errors = [[s.median - s.least for s in spreads], [s.most - s.median for s in spreads]]
        colors = ["tab:blue" if row.contestant.ours else "tab:gray" for row in same]
        names = [row.contestant.name for row in same]
        ax.barh(range(len(same)), [s.median for s in spreads], xerr=errors, color=colors, height=0.7, capsize=2)
        ax.set_yticks(range(len(same)), names, fontsize=8)
        ax.invert_yaxis()
        better = "more" if case.more_is_better else "less"
        ax.set_title(case.title, fontsize=8, loc="left")
        ax.set_xlabel(f"{case.unit} ({better} is better)", fontsize=8)
        ax.tick_params(axis="x", labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes.flat[len(measured) :]:
        ax.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
