"""A wandb workspace that compares runs by their number of agents, one line per mixer: as code, published on request."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ..components.files import write_atomically
from ..components.loggers.base import latest_id
from ..components.loggers.wandb import project_name
from ..ranges import Without
from ..registry import ConfigError
from ..reports.measures import MEASURES
from ..training.columns import EPISODE
from .runs import runs_in

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import LinePlot
    from wandb_workspaces.workspaces import Section, Workspace

FILE = "dashboard.json"
_LEARNING: Mapping[str, Sequence[str]] = {
    "return of training": ("return_mean",),
    "loss": ("loss",),
    "TD error": ("td_error_abs",),
    "weights of weighted QMIX": ("weight_mean",),
    "exploration": ("epsilon", "temperature", "sigma"),
    "entropy": ("entropy",),
}
"""Panels on how training goes, and the columns of ``metrics.csv`` that each shows of runs that have them."""
_OTHERS = 2  # as many metrics are shown that `MEASURES` does not know


@dataclass(frozen=True, kw_only=True)
class DashboardSettings:
    """A dashboard of runs in wandb.

    Attributes:
        runs: run directories, or folders with runs below them; empty for no dashboard.
        title: name of the workspace.
        project: name of the project; None: what ``WANDB_PROJECT`` says, ``hymarl`` if it is not set.
        entity: user or team; None for the default of the account.
    """

    runs: list[str]
    title: Annotated[str, Without("\n")]
    project: str | None
    entity: str | None


def publish(settings: DashboardSettings, directory: Path, show: Callable[[str], None]) -> Path | str:
    """Publish the workspace where there is an API key, else write what would be published.

    With ``WANDB_MODE`` being ``offline`` or ``disabled`` it is always written only.

    Args:
        settings: the runs and the place.
        directory: where the specification is written to, as ``dashboard.json``.
        show: receives what was done, in sentences.

    Returns:
        The address of the published workspace, or the path of the specification.

    Raises:
        ConfigError: there are no such runs, none of them was recorded by wandb, or the package is missing.
        WriteError: the specification could not be written.
    """
    try:
        import wandb_workspaces.workspaces  # noqa: F401
    except ImportError as error:
        raise ConfigError("dashboard.runs needs another package: pip install 'hymarl[dashboard]'") from error
    import wandb

    found = [run for given in settings.runs for run in runs_in(Path(given).expanduser().absolute())]
    runs = list(dict.fromkeys(found))
    ids = {run: latest_id(run, "wandb") for run in runs}
    recorded = [run for run in runs if ids[run]]
    if not recorded:
        raise ConfigError("dashboard.runs: none of these runs was recorded by wandb; train with logger=[console,wandb]")
    if len(recorded) < len(runs):
        show(f"{len(runs) - len(recorded)} of {len(runs)} runs are not in the dashboard: wandb did not record them")
    why = None
    if os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        why = f"WANDB_MODE={os.environ['WANDB_MODE']}"
    elif not wandb.login(prompt=False):
        why = "there is no API key of wandb (`wandb login` stores one)"
    entity = settings.entity or ""
    if why is None:
        try:
            entity = entity or str(wandb.Api().default_entity)
            board = workspace(recorded, [str(ids[run]) for run in recorded], settings, entity)
            board.save()
            show(f"dashboard: {board.url}")
            return str(board.url)
        except (wandb.Error, OSError, ValueError) as error:  # requests' errors are OSErrors
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
    board = workspace(recorded, [str(ids[run]) for run in recorded], settings, entity)
    path = directory / FILE
    directory.mkdir(parents=True, exist_ok=True)
    specification = json.loads(board._to_model().model_dump_json(by_alias=True))
    write_atomically(path, (json.dumps(specification, indent=2) + "\n").encode())
    show(f"dashboard: not published, as {why}; its specification is {path}, the same command publishes it later")
    return path


def workspace(runs: Sequence[Path], ids: Sequence[str], settings: DashboardSettings, entity: str) -> Workspace:
    """The workspace: results against the number of agents, training over environment steps, pictures.

    Args:
        runs: run directories, whose tables say which panels there are.
        ids: the runs' ids in wandb.
        settings: title and project.
        entity: user or team.
    """
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as ws

    media = panels.MediaBrowser(title="learning curves and films", media_keys=["learning_curve", "film"], num_columns=2)
    return ws.Workspace(
        entity=entity,
        project=project_name(settings.project),
        name=settings.title,
        sections=[
            _results(_header(runs, "evaluations.csv")),
            _training(_header(runs, "metrics.csv")),
            ws.Section(name="Pictures", panels=[media]),
        ],
        settings=ws.WorkspaceSettings(max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=ws.And(ws.Metric("ID").isin(list(ids))),
            groupby=[ws.Config("mixer"), ws.Config("agents")],  # a curve of training is a mean over seeds
        ),
        auto_generate_panels=False,
    )


def _results(columns: Sequence[str]) -> Section:
    """What the test found, over the number of agents, one line per mixer; and validations over training."""
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as ws

    known = [name for name in MEASURES if name in columns]
    others = [name for name in columns if name not in (*MEASURES, *EPISODE)]
    shown = known if len(known) > 1 else [*known, *others[:_OTHERS]]
    by_agents = [
        panels.LinePlot(
            title=f"{name} by number of agents, one line per mixer",
            x="agents",
            y=[f"final/{name}"],
            title_x="agents",
            title_y=MEASURES[name].meaning if name in MEASURES else name,
            groupby=panels.Config("mixer"),
            groupby_aggfunc="mean",
            groupby_rangefunc="stderr",
            aggregate=True,
        )
        for name in shown
    ]
    validation = [_curve(f"{name}, validation", [_validated(name)]) for name in shown]
    return ws.Section(name="Results", panels=[*by_agents, *validation], is_open=True)


def _training(columns: Collection[str]) -> Section:
    """How training goes, over environment steps; a line per mixer and number of agents, the mean over seeds."""
    import wandb_workspaces.workspaces as ws

    shown = {title: [name for name in names if name in columns] for title, names in _LEARNING.items()}
    curves = [_curve(title, [f"metrics/{name}" for name in names]) for title, names in shown.items() if names]
    speed = _curve("environment steps per second", ["timing/env_steps_per_s"])
    return ws.Section(name="Training", panels=[*curves, speed], is_open=True)


def _curve(title: str, names: Sequence[str]) -> LinePlot:
    import wandb_workspaces.reports.v2 as panels

    return panels.LinePlot(title=title, x="env_steps", y=list(names), title_x="environment steps")


def _validated(name: str) -> str:
    return "evaluation/return_mean" if name == "return" else f"evaluation/{name}"


def _header(runs: Sequence[Path], table: str) -> list[str]:
    """The columns that any of the runs has in a table, in order."""
    columns: dict[str, None] = {}
    for path in (run / table for run in runs):
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                columns |= dict.fromkeys(next(csv.reader(file), []))
    return list(columns)
