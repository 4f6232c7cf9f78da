"""What a search has found: the best trials, what mattered, and how to train with it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ..components.terminal import program_name
from .search_settings import SearchSettings
from .search_space import Space
from .study import Study

_SHOWN = 10  # trials of the table
_OF_A_SEARCH = ("search=", "sweep.", "logger", "hydra")


def as_markdown(study: Study, settings: SearchSettings, space: Space, searchpath: Sequence[str]) -> str:
    """The report, as ``search.md`` has it.

    Args:
        study: the study.
        settings: of the search.
        space: of the search.
        searchpath: the override that new runs need to find option files; empty if they need none.
    """
    made = study.made
    counts = {"pruned": study.count("PRUNED"), "failed": study.count_failed()}
    seeds = f", mean over {', '.join(space.seeds)}" if len(space.seeds) > 1 else ""
    of = {"last": "the last validation", "best": "the best validation", "mean": "the mean of all validations"}
    lines = [f"# Search {study.name}", ""]
    lines += [f"{made} trial{'s' * (made != 1)}{''.join(f', {n} {word}' for word, n in counts.items() if n)}; "]
    lines[-1] += f"{settings.direction}d is {settings.objective}: {of[settings.score]}{seeds}."
    ranked = study.ranked()
    if ranked:
        rows = [
            [f"{trial.number}", _number(trial.value), *(_number(trial.params.get(key, "")) for key in space.parameters)]
            for trial in ranked[:_SHOWN]
        ]
        lines += ["", *_table(["trial", settings.objective, *space.parameters], rows)]
        lines += ["", f"A new training run with the best, trial {ranked[0].number}:", ""]
        lines += [f"    {command(space, ranked[0].params, searchpath)}"]
    importances = study.importances()
    if importances:
        rows = [[key, f"{value:.2f}"] for key, value in importances.items()]
        lines += ["", *_table(["setting", "importance"], rows)]
    lines += ["", f"The study is in `{study.url}`; to look at it: `{shlex.join(['optuna-dashboard', study.url])}`.", ""]
    return "\n".join(lines)


def command(space: Space, values: Mapping[str, Any], searchpath: Sequence[str] = ()) -> str:
    """The command line of a new training run with a trial's values, and a seed that the search has not used."""
    words = [word for word in space.chosen(values) if not word.lstrip("+~").startswith(_OF_A_SEARCH)]
    seeds = [int(seed) for seed in re.findall(r"seed=(\d+)", " ".join(space.seeds))] or [1]
    return f"{program_name()} {shlex.join([*words, *searchpath, f'seed={max(seeds) + 1}'])}"


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown whose columns are aligned in the text as well."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    cells = [header, ["-" * width for width in widths], *rows]
    return [f"| {' | '.join(c.ljust(w) for c, w in zip(row, widths, strict=True))} |" for row in cells]
