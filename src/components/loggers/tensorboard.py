"""TensorBoard event files in the run's directory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ...ranges import Seconds
from ...registry import register
from .base import Logger, Record, RunInfo, Status

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@register("logger")
class TensorBoardLogger(Logger):
    """Scalars ``<table>/<name>`` over environment steps, and the configuration as text, in ``<run>/tensorboard``.

    A resumed run hides what its earlier part wrote after the checkpoint, so that curves have no loops.

    Args:
        run: the run.
        flush_s: seconds after which what was logged is on disk at the latest.
    """

    def __init__(self, run: RunInfo, *, flush_s: Seconds) -> None:
        self._run = run
        self._flush_s = flush_s
        self._writer: SummaryWriter | None = None
        if not run.resumed:  # a resumed run knows only with its first record from which step on to hide
            self._writer = self._open(None)
            config = json.dumps(run.config, indent=2, default=str)
            self._writer.add_text("config", "\n".join("    " + line for line in config.splitlines()), 0)

    def log(self, record: Record) -> None:
        """Add one point to each curve of the record."""
        if self._writer is None:
            self._writer = self._open(record.step)
        for name, value in record.values.items():
            self._writer.add_scalar(f"{record.table}/{name}", float(value), record.step)

    def finish(self, status: Status, reason: str | None) -> None:
        """Flush and close the event file; TensorBoard has no notion of a status."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, purge_step: int | None) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        directory = self._run.directory / "tensorboard"
        return SummaryWriter(str(directory), purge_step=purge_step, flush_secs=max(1, round(self._flush_s)))
