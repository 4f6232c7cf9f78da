"""The training loop: a generator that sequences collecting, learning and evaluating, and yields what happened."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..components.loggers.base import Record
from ..components.replay.base import Replay, Sample
from ..learners.base import Learner
from .collecting import Collector
from .columns import COUNTERS
from .evaluation import Evaluation, Evaluator
from .metrics import SinceLastRow, Stopwatch
from .settings import TrainingSettings


@dataclass
class Every:
    """Something that happens when a multiple of an interval was reached or passed.

    Attributes:
        interval: in environment steps.
        next: step at which it is due.
    """

    interval: int
    next: int

    def due(self, step: int) -> bool:
        """Whether it is due at this step; if so, `next` moves on to the next multiple of the interval."""
        if step < self.next:
            return False
        self.next += self.interval * ((step - self.next) // self.interval + 1)
        return True


@dataclass
class Progress:
    """Where a run is, besides the counters of its parts.

    Attributes:
        last_evaluation: step of the last evaluation, -1 before the first.
        next_log: step at which the next row is due.
        next_evaluation: step at which the next validation is due.
        next_checkpoint: step at which the next resumable checkpoint is due.
        best_return: best mean validation return so far.
    """

    last_evaluation: int
    next_log: int
    next_evaluation: int
    next_checkpoint: int
    best_return: float


@dataclass(frozen=True)
class Checkpoint:
    """The moment to save: everything is consistent and a continuation starts with the next collection.

    Attributes:
        step: environment steps.
        best: whether the weights are the best so far by validation return.
        resumable: whether the whole state is to be saved, not just the best weights.
    """

    step: int
    best: bool
    resumable: bool


class Trainer:
    """Trains a policy: collects episodes, replays them to the learner, evaluates the policy.

    Args:
        collector: brings training episodes.
        evaluator: validates.
        learner: is updated.
        replay: keeps episodes and says which of them the learner is updated on, and how often.
        settings: how long to train, and how often to log, validate and save.
        device: where batches are learned from.
    """

    def __init__(
        self,
        collector: Collector,
        evaluator: Evaluator,
        learner: Learner,
        replay: Replay,
        settings: TrainingSettings,
        device: str,
    ) -> None:
        self.collector, self.evaluator, self.learner, self.replay = collector, evaluator, learner, replay
        self.settings, self._device = settings, device
        self._log_due = Every(settings.log_interval_steps, settings.log_interval_steps)
        self._evaluation_due = Every(settings.eval_interval_steps, settings.eval_interval_steps)
        self._checkpoint_due = Every(settings.checkpoint_interval_steps, settings.checkpoint_interval_steps)
        self._last_evaluation, self._best_return = -1, float("-inf")
        self._since = SinceLastRow()
        self._stopwatch = Stopwatch()

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return self.collector.steps

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Columns of a row of metrics, after the step."""
        collector = self.collector
        return (
            *COUNTERS,
            *collector.policy.metric_names,
            *collector.runner.spec.metric_names,
            *self.learner.metric_names,
        )

    @property
    def progress(self) -> Progress:
        """Where the run is."""
        return Progress(
            last_evaluation=self._last_evaluation,
            next_log=self._log_due.next,
            next_evaluation=self._evaluation_due.next,
            next_checkpoint=self._checkpoint_due.next,
            best_return=self._best_return,
        )

    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Record | Evaluation | Checkpoint]:
        """Train until ``total_steps``, or until ``stop`` after a collection; yields what happened, in order.

        A `Checkpoint` is yielded where `state_dict` may be taken; it ends what belongs to a collection.
        """
        if self._last_evaluation < 0:
            yield from self._evaluate()
            yield Checkpoint(0, best=True, resumable=True)
        while self.steps < self.settings.total_steps and not stop():
            self._collect(stop)
            self._learn()
            if self._log_due.due(self.steps):
                yield from self._log()
            best = False
            if self._evaluation_due.due(self.steps):
                best = yield from self._evaluate()
            resumable = self._checkpoint_due.due(self.steps)
            if best or resumable:
                yield Checkpoint(self.steps, best, resumable)
        best = False
        if self.steps >= self.settings.total_steps and self._last_evaluation < self.steps:
            best = yield from self._evaluate()
        yield Checkpoint(self.steps, best, resumable=True)

    def state_dict(self) -> dict[str, Any]:
        """All state but the replayed episodes, as tensors and plain data; taken where a `Checkpoint` is yielded."""
        return {
            "learner": self.learner.state_dict(),
            "collector": self.collector.state_dict(),
            "replay": self.replay.state_dict(),
            "progress": asdict(self.progress),
            "since": self._since.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; the replayed episodes are restored apart, afterwards."""
        progress = Progress(**state["progress"])
        self.learner.load_state_dict(state["learner"])
        self.collector.load_state_dict(state["collector"])
        self.replay.load_state_dict(state["replay"])
        self._last_evaluation, self._best_return = progress.last_evaluation, progress.best_return
        self._log_due.next, self._evaluation_due.next = progress.next_log, progress.next_evaluation
        self._checkpoint_due.next = progress.next_checkpoint
        self._since = SinceLastRow(**state["since"])
        self._stopwatch = Stopwatch(self.steps)

    def close(self) -> None:
        """Stop collecting and learning, and close all environments."""
        self.learner.close()
        self.collector.runner.close()
        self.evaluator.runner.close()

    def _collect(self, stop: Callable[[], bool]) -> None:
        with self._stopwatch.measure("collect_s"):
            played = self.collector.take()
            self.replay.insert(self.learner.prepare(played.batch))
        self._since.played(played.statistics)
        self.collector.publish(begin=self.steps < self.settings.total_steps and not stop())

    def _learn(self) -> None:
        with self._stopwatch.measure("update_s"):
            for sample in self.replay.due(self.learner.updates):
                update = self.learner.update(self._on_device(sample))
                self.replay.learned(sample, update.priorities)
                self._since.updated(update.metrics)
            self.learner.finish_collection()

    def _on_device(self, sample: Sample) -> Sample:
        device = torch.device(self._device)
        weights = None if sample.weights is None else sample.weights.to(device)
        return sample._replace(episodes=sample.episodes.to(device), weights=weights)

    def _log(self) -> Iterator[Record]:
        since, collector = self._since, self.collector
        values: dict[str, float] = {"episodes": self.replay.n_inserted, "updates": self.learner.updates}
        values |= since.means(collector.runner.spec.metric_names)
        values |= collector.policy.metrics(self.steps)
        values |= since.update_means()
        self._since = SinceLastRow()
        yield Record("metrics", self.steps, values)
        yield Record("timing", self.steps, self._stopwatch.lap(self.steps))

    def _evaluate(self) -> Generator[Evaluation, None, bool]:
        """Validate; returns whether these are the best weights so far."""
        with self._stopwatch.measure("evaluate_s"):
            evaluation = self.evaluator.evaluate(self.learner.policy_weights(), self.steps)
        best = evaluation.return_mean > self._best_return
        self._best_return = max(self._best_return, evaluation.return_mean)
        self._last_evaluation = self.steps
        yield evaluation
        return best
