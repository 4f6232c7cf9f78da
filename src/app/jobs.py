"""What a job of a sweep and the sweep know of each other."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from hydra.conf import HydraConf
from hydra.types import RunMode

from .mistakes import JobFailed
from .signals import leave_to_parent

STOP = ".stop"
"""The file that asks jobs to save everything and end: all of a sweep in its directory, one job in its own."""
_PLUGINS = "hydra_plugins.hymarl."


def is_job(job: HydraConf) -> bool:
    """Whether Hydra runs this job for one of our sweepers."""
    return job.mode is RunMode.MULTIRUN and str(job.sweeper.get("_target_")).startswith(_PLUGINS)


def is_quiet(job: HydraConf) -> bool:
    """Whether a job leaves what it says to the report of all of them."""
    return is_job(job) and str(job.sweeper.get("_target_")).startswith(f"{_PLUGINS}reproduce_sweeper.")


def stop_file(job: HydraConf) -> Path:
    """The file that asks all jobs of a sweep, on whatever machine, to save everything and end."""
    return Path(job.runtime.cwd, str(job.sweep.dir), STOP)


def leave_signals_to_sweep(job: HydraConf) -> None:
    """Where a launcher runs a job in a process of its own, a terminal's signals are heard by the sweep's process alone.

    It makes the `stop_file`. The launcher's process would not survive a signal between two jobs, and joblib then ends
    the others, too, before they have saved everything.
    """
    if is_job(job):
        leave_to_parent()


def interrupted(job: HydraConf, error: KeyboardInterrupt) -> BaseException:
    """What an interrupted job raises; in a sweep, whose other jobs are told to end, too, it has an exit code."""
    if not is_job(job):
        return error
    with suppress(OSError):  # it cannot be written any more
        stop_file(job).touch()
    return JobFailed(error.args[0] if error.args else 130, "interrupted")
