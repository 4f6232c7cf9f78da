"""Weights & Biases, offline unless asked otherwise."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from ...ranges import Seconds, Without
from ...registry import register
from .base import Logger, Record, Results, RunInfo, Status, earlier_id, remember_id

if TYPE_CHECKING:
    import wandb

Mode = Literal["offline", "online", "disabled"]

_STEP = "env_steps"
_SUMMARIZED = ("evaluation/return_mean", "timing/env_steps_per_s")
"""What the summary holds of training: the last values."""
_UPLOADED = "wandb_online"
"""The name under which ids of runs are noted that the server has."""
_LONGEST_NAME, _LONGEST_TAG = 128, 64  # the server refuses longer ones, which an offline run would notice too late
_FORBIDDEN = "/\\#?%:"
"""In the name of a project, as the server has it."""
_log = logging.getLogger(__name__)


@register("logger")
class WandbLogger(Logger):
    """One wandb run per run, its files in ``<run>/wandb``; ``wandb sync`` uploads an offline one.

    Scalars are named ``<table>/<name>`` and drawn over ``env_steps``. What a run has found at its end, ``final/…``,
    ``reference/…`` and ``ratio/…``, is one point over ``agents``: grouped by ``mixer``, a chart of it has one line per
    mixer. The labels of the run (``env``, ``algo``, ``mixer``, ``agents``, ``seed``, ...) are keys at the top of its
    config. Its summary has these results, the test, and of training only the last validation's return and the speed.
    The learning curve, and the film if there is one, are media.

    It never prompts. Beside the configuration, the name of the host and what is logged, nothing is recorded: no console
    output, code, git remote, command line or measurements of the machine. When the server cannot be reached, or no API
    key is configured, the run is recorded offline, with a warning. A resumed run that is and was online continues the
    same wandb run; else, as nobody knows which part is uploaded first, it gets an id of its own, in the same group, and
    ``resumed_from`` in its config is the earlier one.

    It starts with the first record, as starting it takes long and would delay the first step.

    Args:
        run: the run.
        mode: ``offline`` writes files only, ``online`` uploads, ``disabled`` does nothing; None: what ``WANDB_MODE``
            says, ``offline`` if it is not set.
        project: name of the project; None: what ``WANDB_PROJECT`` says, ``hymarl`` if it is not set.
        entity: user or team; None for the default of the account.
        init_timeout_s: seconds to wait for the server at the start (wandb may take two or three times as long).
        finish_timeout_s: seconds to wait at the end for what is not uploaded yet; it stays on disk.

    Raises:
        ValueError: a name of a project that the server would refuse later, or an unknown ``WANDB_MODE``.
    """

    def __init__(
        self,
        run: RunInfo,
        *,
        mode: Mode | None,
        project: Annotated[str, Without("/\\#?%:")] | None,
        entity: str | None,
        init_timeout_s: Seconds,
        finish_timeout_s: Seconds,
    ) -> None:
        self._run, self._mode = run, mode or _mode_of_environment()
        self._wandb: wandb.Run | None = None
        self._tried = False
        self._project, self._entity = project_name(project), entity
        wrong = sorted(set(_FORBIDDEN) & set(self._project))
        if wrong:
            raise ValueError(
                f"project={self._project!r} cannot hold {' '.join(wrong)}; name a user or team with logger.wandb.entity"
            )
        self._init_timeout_s, self._finish_timeout_s = init_timeout_s, finish_timeout_s

    def log(self, record: Record) -> None:
        """Send the record as one row."""
        row = {f"{record.table}/{name}": float(value) for name, value in record.values.items()}
        self._started().log({**row, _STEP: record.step})

    def conclude(self, results: Results) -> None:
        """Send the numbers as a point over the number of agents, and the pictures."""
        import wandb

        started, agents = self._started(), self._run.labels.get("agents")
        kinds: Mapping[str, Any] = {"learning_curve": wandb.Image, "film": partial(wandb.Video, format="gif")}
        shown = {name: results.files[name] for name in kinds if name in results.files}
        pictures = {name: kinds[name](str(path), caption=self._run.name) for name, path in shown.items()}
        point = {} if agents is None else {"agents": agents}
        for name in (*results.numbers, *pictures):  # by its name, which counts more than the pattern for everything
            started.define_metric(name, step_metric=next(iter(point), _STEP))
        started.log({**results.numbers, **point, **pictures, _STEP: results.step})

    def finish(self, status: Status, reason: str | None) -> None:
        """Finish the wandb run; it counts as failed unless the status is ``finished``."""
        if self._tried and self._wandb is None:  # it could not start
            return
        started = self._started()
        started.summary.update({"status": status, "reason": reason})
        started.finish(exit_code={"finished": 0, "failed": 1, "interrupted": 130}[status])

    def _started(self) -> wandb.Run:
        if self._wandb is None:
            self._tried = True
            self._wandb = self._start_or_fall_back()
        return self._wandb

    def _start_or_fall_back(self) -> wandb.Run:
        import wandb

        with _hooks_restored(), _environment_says(self._mode):
            # Process-wide, and what keeps wandb from prompting on a terminal.
            wandb.setup(wandb.Settings(silent=True))
        try:
            return self._start(self._run, self._mode)
        except wandb.Error as error:
            if self._mode != "online":
                raise
            _log.warning("wandb: not online (%s); recorded offline, upload it with `wandb sync`", _first_line(error))
            return self._start(self._run, "offline")

    def _start(self, run: RunInfo, mode: Mode) -> wandb.Run:
        import wandb

        earlier = earlier_id(run, "wandb")
        same = earlier if mode == "online" and earlier_id(run, _UPLOADED) == earlier else None
        with _hooks_restored():
            started = wandb.init(
                mode=mode,
                project=self._project,
                entity=self._entity,
                dir=run.directory,
                id=same or secrets.token_hex(4),  # explicit, so that WANDB_RUN_ID cannot join the jobs of a sweep
                name=run.name[:_LONGEST_NAME],
                group=run.group[:_LONGEST_NAME],
                tags=[tag[:_LONGEST_TAG] for tag in run.tags if tag],
                job_type="train",
                config={**run.config, **run.labels, "run_directory": str(run.directory), "resumed_from": earlier},
                reinit="create_new",  # independent of any other wandb run in this process
                resume="allow" if same else "never",
                settings=self._settings(),
            )
        started.define_metric(_STEP, hidden=True)
        started.define_metric("*", step_metric=_STEP, summary="none")
        tested = [name for name in run.columns if name.startswith("test/")]
        for name in (*_SUMMARIZED, *tested):  # a pattern's summary does not hold for these; "last" would nest the value
            started.define_metric(name, step_metric=_STEP)
        if mode != "disabled":
            remember_id(run, "wandb", started.id)
        if mode == "online":
            remember_id(run, _UPLOADED, started.id)
        return started

    def _settings(self) -> wandb.Settings:
        import wandb

        return wandb.Settings(
            console="off",
            silent=True,
            disable_code=True,
            disable_git=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
            init_timeout=self._init_timeout_s,
            finish_timeout=self._finish_timeout_s,
        )


def project_name(setting: str | None) -> str:
    """The project that is meant: the setting's, else that of ``WANDB_PROJECT``, else ``hymarl``."""
    return setting or os.environ.get("WANDB_PROJECT") or "hymarl"


def _mode_of_environment() -> Mode:
    named = os.environ.get("WANDB_MODE") or "offline"
    known = {**{mode: mode for mode in get_args(Mode)}, "dryrun": "offline", "run": "online"}  # the old names of two
    if named not in known:
        raise ValueError(f"WANDB_MODE={named} is not a mode; choose one of: {', '.join(get_args(Mode))}")
    mode: Mode = known[named]
    return mode


@contextmanager
def _environment_says(mode: Mode) -> Iterator[None]:
    """Inside, ``WANDB_MODE`` is this mode: wandb refuses a variable that is empty, or not a mode, even if not used."""
    before = os.environ.get("WANDB_MODE")
    os.environ["WANDB_MODE"] = mode
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_MODE"]
        else:
            os.environ["WANDB_MODE"] = before


@contextmanager
def _hooks_restored() -> Iterator[None]:
    """Undo that wandb wraps the interpreter's exit and exception hooks, once more with every run and for good.

    They serve to guess an exit code, which `WandbLogger.finish` states, and would print a traceback once per run.
    """
    hooks = sys.exit, sys.excepthook
    try:
        yield
    finally:
        sys.exit, sys.excepthook = hooks


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
