"""Everything a training run writes: tables, loggers, checkpoints, status."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..components.files import CheckpointError, WriteError, keep_newest, load, save, writing
from ..components.loggers.base import LoggerSet, Record, Results, Status, TableName
from .checkpoint import ReplayFiles
from .evaluation import Evaluation
from .metrics import Stopwatch
from .run_directory import RunDirectory, check_table
from .trainer import Checkpoint, Trainer


class Recorder:
    """Writes what `Trainer.run` yields; as a context manager, it closes all files and writes how the run ended.

    Args:
        directory: the run's directory.
        trainer: the trainer, whose state is saved.
        policy: the policy's description as plain data, saved together with the weights.
        loggers: receive records and messages.
        show: receives important messages if no logger shows messages.
    """

    def __init__(
        self,
        directory: RunDirectory,
        trainer: Trainer,
        policy: Mapping[str, Any],
        loggers: LoggerSet,
        show: Callable[[str], None],
    ) -> None:
        self._directory, self._trainer, self._policy, self._loggers = directory, trainer, policy, loggers
        self._show = show
        self._replay = ReplayFiles(directory.checkpoints / "replay")
        metric_names = trainer.collector.runner.spec.metric_names
        self._tables = {
            "metrics": directory.table("metrics", ("step", *trainer.metric_names)),
            "timing": directory.table("timing", ("step", *Stopwatch.columns)),
        }
        self._evaluations = directory.table("evaluations", Evaluation.columns(metric_names))
        self._log_path = directory.path / "train.log"
        with writing(self._log_path):
            self._log = self._log_path.open("a", encoding="utf-8")
        self._ended: tuple[Status, str | None] = ("finished", None)
        self._failures_told = [0, 0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is not None:
            interrupted = issubclass(kind, KeyboardInterrupt)
            said = str(error) if isinstance(error, WriteError) else f"{kind.__name__}: {error}"
            self.ended("interrupted" if interrupted else "failed", None if interrupted else said)
        status, reason = self._ended
        try:
            with ExitStack() as each:  # each is called even if others fail, e.g. on a full disk
                each.callback(self._close_log)
                each.callback(self._directory.close)
                each.callback(self._loggers.finish, status, reason)
                each.callback(self._directory.status, status, reason)
                self._tell_failures()
        except WriteError:
            if kind is None:  # else the first error, which says more, is raised
                raise

    def ended(self, status: Status, reason: str | None = None) -> None:
        """Set the status that the run ends with; without this call it is ``finished``."""
        self._ended = (status, reason)

    def say(self, text: str) -> None:
        """Send a message to the loggers, and write it to ``train.log``."""
        self._loggers.message(text)
        self.note(text)

    def say_or_show(self, text: str) -> None:
        """`say` an important message; if no logger shows messages, also pass it to ``show``."""
        self.say(text)
        if not self._loggers.show_messages:
            with suppress(OSError):  # standard output may be closed
                self._show(text)

    def note(self, text: str) -> None:
        """Write a line to ``train.log`` only."""
        with writing(self._log_path):
            self._log.write(text + "\n")
            self._log.flush()

    def take(self, event: Record | Evaluation | Checkpoint) -> None:
        """Write one event of `Trainer.run`."""
        self._tell_failures()
        if isinstance(event, Record):
            self._tables[event.table].append({"step": event.step, **event.values})
            self._tables[event.table].flush()
            self._loggers.log(event)
        elif isinstance(event, Evaluation):
            self.evaluated(event)
        else:
            self._save(event)

    def evaluated(self, evaluation: Evaluation) -> None:
        """Write an evaluation, one row per episode."""
        for row in evaluation.rows():
            self._evaluations.append(row)
        self._evaluations.flush()
        # The record has the trainer's step, but the tested weights may be of an earlier one.
        table: TableName = "test" if evaluation.stream == "test" else "evaluation"
        self._loggers.log(Record(table, self._trainer.steps, evaluation.summary()))

    def concluded(self, numbers: Mapping[str, float], table: str, files: Mapping[str, Path]) -> None:
        """Tell the loggers what the run has found, see `Results`."""
        self._loggers.conclude(Results(self._trainer.steps, numbers, table, files))

    def continue_from(self, saved: Mapping[str, Any] | None) -> None:
        """Cut the tables back to the checkpoint that `restore` returned; empty them if it returned None."""
        if saved is None:
            self._directory.clear()
            return
        self._replay = ReplayFiles(self._directory.checkpoints / "replay", saved["replay"])
        self._directory.cut(saved["tables"])

    def _close_log(self) -> None:
        with writing(self._log_path):
            self._log.close()

    def _tell_failures(self) -> None:
        """Say which environments have failed since the last call; their episodes are played again or skipped."""
        for i, runner in enumerate((self._trainer.collector.runner, self._trainer.evaluator.runner)):
            new = runner.failures[self._failures_told[i] :]  # a copy: a background thread may append more
            for failure in new:
                self.say(f"warning: {failure}")
            self._failures_told[i] += len(new)

    def _save(self, event: Checkpoint) -> None:
        folder, learner = self._directory.checkpoints, self._trainer.learner
        networks = {name: network.state_dict() for name, network in learner.networks.items()}
        weights = {"policy": dict(self._policy), "step": event.step, **networks}
        if event.best:
            save(folder / "best.pt", weights)
        if event.resumable:
            save(folder / f"weights_{event.step:012d}.pt", weights)
            replay = self._replay.append(self._trainer.replay)
            state = {"trainer": self._trainer.state_dict(), "replay": replay, "tables": self._directory.positions()}
            save(folder / "latest.pt", state)
            self._replay.prune()
            keep_newest(list(folder.glob("weights_*.pt")), self._trainer.settings.keep_checkpoints)


def scalar_names(trainer: Trainer) -> tuple[str, ...]:
    """Names of all scalars that loggers may receive, as ``<table>/<name>``."""
    evaluated = Evaluation.summary_names(trainer.collector.runner.spec.metric_names)
    tables: dict[TableName, tuple[str, ...]] = {"metrics": trainer.metric_names, "timing": Stopwatch.columns}
    tables |= {"evaluation": evaluated, "test": evaluated}
    return tuple(f"{table}/{name}" for table, names in tables.items() for name in names)


def restore(trainer: Trainer, path: Path) -> dict[str, Any] | None:
    """Load the last checkpoint of a run into a trainer; changes nothing on disk.

    Args:
        trainer: a newly built trainer.
        path: the run's directory.

    Returns:
        What `Recorder.continue_from` needs; None if the run had no checkpoint yet.

    Raises:
        CheckpointError: something is missing, damaged or does not fit.
    """
    folder = path / "checkpoints"
    if not (folder / "latest.pt").exists():
        if _has_begun(path):
            raise CheckpointError(
                f"{folder / 'latest.pt'} is gone, so {path} cannot be continued; begin a new run in another directory"
            )
        return None
    saved = load(folder / "latest.pt", sealed=True)
    try:
        trainer.load_state_dict(saved["trainer"])
        ReplayFiles(folder / "replay", saved["replay"]).restore(trainer.replay)
        for name, position in saved["tables"].items():
            check_table(path / f"{name}.csv", position)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{folder / 'latest.pt'} does not fit this run: {reason}") from error
    return saved


def _has_begun(path: Path) -> bool:
    """Whether a run has got so far that it must have written a checkpoint."""
    folder = path / "checkpoints"
    if any(folder.glob("replay/*.pt")) or {f.name for f in folder.glob("weights_*.pt")} - {f"weights_{0:012d}.pt"}:
        return True
    tables = [path / f"{name}.csv" for name in ("metrics", "evaluations")]
    rows = [row for table in tables if table.exists() for row in table.read_bytes().splitlines()[1:]]
    return not all(row.startswith(b"0,") for row in rows)
