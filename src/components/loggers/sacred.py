"""Sacred run directories, written by Sacred's own file observer."""

from __future__ import annotations

import platform
import time
import warnings
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...ranges import PathText, Seconds
from ...registry import register
from .base import Logger, Record, RunInfo, Status, earlier_id, remember_id

if TYPE_CHECKING:
    from sacred.observers import FileStorageObserver

_PACKAGES = ("hymarl", "torch", "numpy", "hydra-core", "omegaconf", "sacred")
_LARGEST_SHARE = 0.02
"""Of the run's time that may go into heartbeats, each of which writes the whole ``metrics.json`` again."""


@register("logger")
class SacredLogger(Logger):
    """One numbered directory per run, as Sacred writes it: ``run.json config.json metrics.json info.json cout.txt``.

    Sacred wants to call a main function, reseeds every global generator for it and captures its output. Training needs
    none of this, so the logger drives Sacred's observer, which does the writing, through the events an experiment
    would send it. Ids are safe with several processes in one directory: the observer claims one by ``mkdir`` and goes
    on to the next when it is taken. A resumed run gets an id of its own; ``resumed_from`` in ``info.json`` is the
    earlier one. Metrics are named ``<table>/<name>``.

    Args:
        run: the run.
        directory: where the numbered directories are.
        heartbeat_s: seconds after which what was logged is on disk, longer when writing takes long.
    """

    def __init__(self, run: RunInfo, *, directory: PathText, heartbeat_s: Seconds) -> None:
        self._heartbeat_s = heartbeat_s
        self._pending: dict[str, dict[str, list[Any]]] = {}
        self._result: float | None = None
        self._observer = _observer(Path(directory).absolute())  # an environment may change to another folder
        earlier = earlier_id(run, "sacred")
        new_id = self._observer.started_event(
            ex_info=_experiment(run),
            command="train",
            host_info=_host(),
            start_time=_now(),
            config=_safe(run.config),
            meta_info={"command": "train", "options": {}, "comment": run.name},
            _id=None,
        )
        self._info: dict[str, Any] = {
            "run_directory": str(run.directory),
            "name": run.name,
            "group": run.group,
            "tags": list(run.tags),
            "resumed_from": earlier,
        }
        self._heartbeat()
        remember_id(run, "sacred", str(new_id))

    def log(self, record: Record) -> None:
        """Keep the record, and write what was kept when a heartbeat is due."""
        now = _now()
        for name, value in record.values.items():
            series = self._pending.setdefault(f"{record.table}/{name}", {"steps": [], "values": [], "timestamps": []})
            series["steps"].append(int(record.step))
            series["values"].append(float(value))
            series["timestamps"].append(now)
        if record.table in ("evaluation", "test") and "return_mean" in record.values:
            self._result = float(record.values["return_mean"])
        if time.monotonic() >= self._due:
            self._heartbeat()

    def finish(self, status: Status, reason: str | None) -> None:
        """Write what is left and the status; the result is the mean return of the last evaluation."""
        self._heartbeat()
        if status == "finished":
            self._observer.completed_event(stop_time=_now(), result=self._result)
        elif status == "interrupted":
            self._observer.interrupted_event(interrupt_time=_now(), status="INTERRUPTED")
        else:
            self._observer.failed_event(fail_time=_now(), fail_trace=(reason or "no reason given").splitlines())

    def _heartbeat(self) -> None:
        started = time.monotonic()
        if self._pending:
            self._observer.log_metrics(metrics_by_name=self._pending, info=self._info)
            self._pending = {}
        self._observer.heartbeat_event(info=self._info, captured_out="", beat_time=_now(), result=self._result)
        ended = time.monotonic()
        self._due = ended + max(self._heartbeat_s, (ended - started) / _LARGEST_SHARE)


def _observer(directory: Path) -> FileStorageObserver:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pkg_resources.*")
        from sacred.observers import FileStorageObserver

    return FileStorageObserver(directory, copy_sources=False)


def _experiment(run: RunInfo) -> dict[str, Any]:
    """What Sacred says about an experiment; the sources are pinned by the run's ``protocol.json``."""
    installed = {distribution.name for distribution in metadata.distributions()}
    return {
        "name": run.group,
        "base_dir": str(Path.cwd()),
        "sources": [],
        "dependencies": [f"{package}=={metadata.version(package)}" for package in _PACKAGES if package in installed],
        "repositories": [],
        "mainfile": "main.py",
    }


def _host() -> dict[str, Any]:
    """The quick part of Sacred's host information: the rest starts other programs to ask about CPU and GPU."""
    return {
        "hostname": platform.node(),
        "os": [platform.system(), platform.platform()],
        "python_version": platform.python_version(),
    }


def _now() -> datetime:
    """Sacred's files hold UTC without a time zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def _safe(value: Any) -> Any:
    """A copy whose keys Sacred accepts: text in which ``.``, ``$`` and ``%`` are percent-encoded."""
    if isinstance(value, dict):
        return {_safe_key(str(key)): _safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_safe(item) for item in value]
    return value


def _safe_key(key: str) -> str:
    return key.replace("%", "%25").replace(".", "%2E").replace("$", "%24")
