"""Sacred runs, written by Sacred's own observers: into directories, or into a MongoDB database."""

from __future__ import annotations

import os
import platform
import time
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...ranges import PathText, Seconds
from ...registry import ConfigError, register
from .base import Logger, Record, Results, RunInfo, Status, earlier_id, remember_id

if TYPE_CHECKING:
    from sacred.observers import RunObserver

_ADDRESS, _LOCAL = "SACRED_MONGO_URL", "mongodb://localhost:27017"
_CONTENT: Mapping[str, str] = {".png": "image/png", ".gif": "image/gif", ".yaml": "text/yaml", ".txt": "text/plain"}
_PACKAGES = ("hymarl", "torch", "numpy", "hydra-core", "omegaconf", "sacred")
_LARGEST_SHARE = 0.02
"""Of the run's time that may go into heartbeats, each of which writes the whole ``metrics.json`` again."""


@register("logger")
class SacredLogger(Logger):
    """One numbered run per run, as Sacred writes it, for Omniboard, Incense and whatever else reads Sacred.

    In files, it is a directory with ``run.json config.json metrics.json info.json cout.txt`` and the artifacts; in
    MongoDB, an entry of the collection ``runs``. Its config has the labels of the run (``env``, ``mixer``, ``agents``,
    ...) at the top; what it has printed is what ``train.log`` says; the artifacts are the configuration, the learning
    curve, the table of the test and the film if there is one; ``info.json`` has the numbers of the test. The address of
    MongoDB may hold a password and is therefore no setting: it is in the environment variable ``SACRED_MONGO_URL``,
    ``mongodb://localhost:27017`` if that is not set.

    Sacred wants to call a main function, reseeds every global generator for it and captures its output. Training needs
    none of this, so the logger drives Sacred's observer, which does the writing, through the events an experiment
    would send it. Ids are safe with several processes in one directory: the observer claims one by ``mkdir`` and goes
    on to the next when it is taken. A resumed run gets an id of its own; ``resumed_from`` in ``info.json`` is the
    earlier one. Metrics are named ``<table>/<name>``.

    Args:
        run: the run.
        observer: ``file`` or ``mongo``.
        directory: of ``file``: where the numbered directories are.
        database: of ``mongo``: its name.
        timeout_s: of ``mongo``: seconds to wait for it.
        heartbeat_s: seconds after which what was logged is on disk, longer when writing takes long.

    Raises:
        ConfigError: MongoDB was asked for, and its package is missing or it does not answer.
    """

    def __init__(
        self,
        run: RunInfo,
        *,
        observer: Literal["file", "mongo"],
        directory: PathText,
        database: str,
        timeout_s: Seconds,
        heartbeat_s: Seconds,
    ) -> None:
        self._heartbeat_s = heartbeat_s
        self._log = run.directory / "train.log"
        self._log_begins = self._log.stat().st_size if self._log.exists() else 0  # an earlier part's lines are its own
        self._pending: dict[str, dict[str, list[Any]]] = {}
        self._result: float | None = None
        # An environment may change to another folder.
        file = observer == "file"
        self._observer = _files(Path(directory).absolute()) if file else _mongo(database, timeout_s, run.directory)
        ids = "sacred" if file else "sacred_mongo"
        earlier = earlier_id(run, ids)
        new_id = self._observer.started_event(
            ex_info=_experiment(run),
            command="train",
            host_info=_host(),
            start_time=_now(),
            config=_safe({**run.config, **run.labels}),
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
        remember_id(run, ids, str(new_id))

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

    def conclude(self, results: Results) -> None:
        """Keep the files as artifacts, and the numbers."""
        self._info["results"] = _safe(dict(results.numbers))
        for path in results.files.values():
            self._observer.artifact_event(path.name, str(path), content_type=_CONTENT[path.suffix])

    def finish(self, status: Status, reason: str | None) -> None:
        """Write what is left and the status; the result is the mean return of the last evaluation."""
        self._observer.log_metrics(
            metrics_by_name={}, info=self._info
        )  # readers want the file, also of a run without any
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
        self._observer.heartbeat_event(
            info=self._info, captured_out=self._printed(), beat_time=_now(), result=self._result
        )
        ended = time.monotonic()
        self._due = ended + max(self._heartbeat_s, (ended - started) / _LARGEST_SHARE)

    def _printed(self) -> str:
        """What this part of the run has said so far."""
        if not self._log.exists():
            return ""
        with self._log.open("rb") as file:
            file.seek(self._log_begins)
            return file.read().decode(errors="replace")


def _files(directory: Path) -> RunObserver:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pkg_resources.*")
        from sacred.observers import FileStorageObserver

    return FileStorageObserver(directory, copy_sources=False)


def _mongo(database: str, timeout_s: float, failures: Path) -> RunObserver:
    """An observer that has reached MongoDB; where it is is not said, since the address may hold a password.

    Args:
        database: its name.
        timeout_s: seconds to wait for an answer, now and later.
        failures: where Sacred leaves a run that it could not store at the end.
    """
    try:
        from pymongo import MongoClient
        from pymongo.errors import PyMongoError
    except ImportError as error:
        raise ConfigError("logger=sacred_mongo needs another package: pip install 'hymarl[mongo]'") from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pkg_resources.*")
        from sacred.observers import MongoObserver

    address, wait_ms = os.environ.get(_ADDRESS) or _LOCAL, round(1000 * timeout_s)
    waits: dict[str, Any] = {
        "serverSelectionTimeoutMS": wait_ms,
        "connectTimeoutMS": wait_ms,
        "socketTimeoutMS": wait_ms,
    }
    try:
        client: MongoClient[dict[str, Any]] = MongoClient(address, **waits)
        client.admin.command("ping")
        client.close()
    except PyMongoError as error:
        raise ConfigError(
            f"logger=sacred_mongo: MongoDB does not answer at the address in {_ADDRESS} ({_LOCAL} if it is not set): "
            f"{type(error).__name__}"
        ) from None
    return MongoObserver(address, db_name=database, failure_dir=str(failures), **waits)


def _experiment(run: RunInfo) -> dict[str, Any]:
    """What Sacred says about an experiment; the sources are pinned by the run's ``protocol.json``."""
    installed = {distribution.name for distribution in metadata.distributions()}
    return {
        "name": run.group,
        "base_dir": str(Path.cwd()),
        "sources": [],
        "dependencies": [f"{package}=={metadata.version(package)}" for package in _PACKAGES if package in installed],
        "repositories": [vars(run.repository)] if run.repository else [],
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
