"""trackio: a local database of runs with wandb's interface, and a page to look at them."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

from ...ranges import Without
from ...registry import ConfigError, register
from .base import Logger, Record, Results, RunInfo, Status, earlier_id, remember_id

if TYPE_CHECKING:
    import trackio


@register("logger")
class TrackioLogger(Logger):
    """One trackio run per run, on this machine; ``trackio show --project hymarl`` opens a page that compares them.

    Scalars are named ``<table>/<name>``, with the environment steps as their step; the numbers and the learning curve
    of the end are there, too. Its config has the labels of the run (``env``, ``mixer``, ``agents``, ...) at the top.

    The database is where trackio keeps it, ``TRACKIO_DIR`` if that is set. It leaves this machine only if trackio's own
    ``TRACKIO_SPACE_ID`` or ``TRACKIO_SERVER_URL`` ask for it. A resumed run continues the same trackio run; what was
    logged after the checkpoint is there twice.

    Args:
        run: the run.
        project: name of the project.

    Raises:
        ConfigError: the package is missing.
    """

    def __init__(self, run: RunInfo, *, project: Annotated[str, Without("/\\")]) -> None:
        try:
            import trackio
        except ImportError as error:
            raise ConfigError("logger=trackio needs another package: pip install 'hymarl[trackio]'") from error
        earlier = earlier_id(run, "trackio")
        # Runs are told apart by their names, which those of a repeated command line share.
        name = earlier or f"{run.name}-{run.directory.name}"
        with redirect_stdout(io.StringIO()):  # it prints where its page is, once per project
            self._trackio: trackio.Run = trackio.init(
                project=project,
                name=name,
                group=run.group,
                config={**run.config, **run.labels, "run_directory": str(run.directory)},
                resume="allow" if earlier else "never",
                auto_log_cpu=False,
                auto_log_gpu=False,
                embed=False,
            )
        if not earlier:
            remember_id(run, "trackio", name)

    def log(self, record: Record) -> None:
        """Add one point to each curve of the record."""
        row = {f"{record.table}/{name}": float(value) for name, value in record.values.items()}
        self._trackio.log(row, step=int(record.step))

    def conclude(self, results: Results) -> None:
        """Add the numbers and the learning curve."""
        import trackio

        picture = trackio.Image(str(results.files["learning_curve"]))
        self._trackio.log({**results.numbers, "learning_curve": picture}, step=int(results.step))

    def finish(self, status: Status, reason: str | None) -> None:
        """Wait until everything is in the database; trackio has no notion of a status."""
        import trackio
        from trackio.context_vars import current_run

        with redirect_stdout(io.StringIO()):
            if current_run.get() is self._trackio:
                trackio.finish()  # forgets the run, too, which it would finish again when the program ends
            else:
                self._trackio.finish()
