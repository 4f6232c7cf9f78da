"""TensorBoard event files in the run's directory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ...ranges import Seconds
from ...registry import register
from .base import Logger, Record, Results, RunInfo, Status

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_TRAINING = ("metrics/return_mean", "metrics/loss", "metrics/td_error_abs", "metrics/epsilon", "timing/env_steps_per_s")
"""What a page on how training goes shows of a run that has it."""


@register("logger")
class TensorBoardLogger(Logger):
    """Scalars ``<table>/<name>`` over environment steps, and the configuration as text, in ``<run>/tensorboard``.

    The tab "hparams" compares runs: their labels (environment, algorithm, mixer, agents, seed, ...) beside the headline
    values of the last validation and of the test. The tab "custom scalars" has the few curves to look at first. At the
    end the picture of the learning curve and the table of the test are added.

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
            self._introduce(self._writer)

    def log(self, record: Record) -> None:
        """Add one point to each curve of the record."""
        writer = self._opened(record.step)
        for name, value in record.values.items():
            writer.add_scalar(f"{record.table}/{name}", float(value), record.step)

    def conclude(self, results: Results) -> None:
        """Add what was found as scalars, the table as text, and the learning curve as a picture."""
        import numpy as np
        from PIL import Image

        writer = self._opened(results.step)
        for name, value in results.numbers.items():
            writer.add_scalar(name, value, results.step)
        writer.add_text("comparison", "\n".join("    " + line for line in results.table.splitlines()), results.step)
        with Image.open(results.files["learning_curve"]) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        writer.add_image("learning_curve", pixels, results.step, dataformats="HWC")

    def finish(self, status: Status, reason: str | None) -> None:
        """Flush and close the event file; one that reached its end is marked as such among the "hparams"."""
        if self._writer is None:
            return
        if status == "finished":
            self._add(self._writer, self._hparams()[2])
        self._writer.close()

    def _introduce(self, writer: SummaryWriter) -> None:
        """Write what the tabs "hparams" and "custom scalars" show."""
        for summary in self._hparams()[:2]:
            self._add(writer, summary)
        validated = {name: ["Multiline", [f"^evaluation/{name}$", f"^test/{name}$"]] for name in self._run.headline}
        trained = {name: ["Multiline", [f"^{name}$"]] for name in _TRAINING if name in self._run.columns}
        layout = {"Results": validated, "Training": trained}
        writer.add_custom_scalars({page: charts for page, charts in layout.items() if charts})

    def _hparams(self) -> tuple[Any, Any, Any]:
        """TensorBoard's three summaries: which labels and values there are, the labels of this run, and its end."""
        from torch.utils.tensorboard.summary import hparams

        labels = {name: value for name, value in self._run.labels.items() if value is not None}
        values = [f"{table}/{name}" for table in ("test", "evaluation") for name in self._run.headline]
        return hparams(labels, dict.fromkeys(values, 0.0))

    @staticmethod
    def _add(writer: SummaryWriter, summary: Any) -> None:
        """Write a summary as it is: the writer's own ``add_hparams`` would begin another run in a folder below."""
        assert writer.file_writer is not None
        writer.file_writer.add_summary(summary)

    def _opened(self, step: int) -> SummaryWriter:
        if self._writer is None:
            self._writer = self._open(step)
        return self._writer

    def _open(self, purge_step: int | None) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        directory = self._run.directory / "tensorboard"
        return SummaryWriter(str(directory), purge_step=purge_step, flush_secs=max(1, round(self._flush_s)))
