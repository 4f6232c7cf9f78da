"""The training loop: a generator that sequences collecting, learning and evaluating, and says what happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from ..components.buffer import EpisodeBuffer
from ..components.episode import EpisodeBatch
from ..components.loggers.base import Record
from ..components.spec import EnvSpec
from ..learners.base import Learner
from ..policies.learned import LearnedPolicy
from ..runners.base import EpisodeStatistics, Runner
from .collecting import Collection, Collector, OverlappedCollector
from .evaluation import Evaluation, evaluate

_ROUNDING = 1e-9  # ten times a tenth of an update is one


@dataclass
class Progress:
    """Every counter of a run.

    Attributes:
        steps: environment steps.
        episodes: episodes handed to the buffer.
        next_episode: number of the next episode to play; failed ones are skipped for good.
        update_credit: updates due, a fraction below 1 between collections.
        last_evaluation: step of the last evaluation, -1 before the first.
        next_log: step at which the next row is due; likewise the other two.
        best_return: best mean validation return so far.
    """

    steps: int = 0
    episodes: int = 0
    next_episode: int = 0
    update_credit: float = 0.0
    last_evaluation: int = -1
    next_log: int = 0
    next_evaluation: int = 0
    next_checkpoint: int = 0
    best_return: float = float("-inf")


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


@dataclass
class _Since:
    """What has been seen since the last row of metrics."""

    returns: list[float] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)
    metrics: list[list[float]] = field(default_factory=list)
    updates: dict[str, list[Tensor | float]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        updates = {name: [float(x) for x in values] for name, values in self.updates.items()}
        return asdict(replace(self, updates={})) | {"updates": updates}


class Trainer:
    """Trains a policy off-policy from replayed episodes.

    Args:
        runner: plays training episodes.
        validation: plays validation episodes, in environments of its own.
        policy: what is trained, exploring; it shares its controller with the learner.
        greedy: the same controller as it is evaluated.
        learner: updates it.
        seed: of the run, for replay.
        device: where batches are learned from.
        evaluation_episodes: episodes per validation.
        total_steps: environment steps after which no new episode begins.
        batch_episodes: episodes per update; learning begins when so many are stored.
        buffer_episodes: episodes kept for replay.
        updates_per_episode: optimizer steps per collected episode, may be below 1; the same for any number of
            environments.
        log_interval_steps: environment steps between rows of metrics.
        eval_interval_steps: environment steps between validations; there is one at step 0 and one at the end.
        checkpoint_interval_steps: environment steps between resumable checkpoints.
        keep_checkpoints: number of weights files kept beside the best.

    Raises:
        ValueError: a count or interval below 1, a ratio that is negative or infinite, or a buffer smaller than a batch
            or larger than memory.
    """

    def __init__(
        self,
        runner: Runner,
        validation: Runner,
        policy: LearnedPolicy,
        greedy: LearnedPolicy,
        learner: Learner,
        seed: int,
        device: str,
        evaluation_episodes: int,
        *,
        total_steps: int,
        batch_episodes: int,
        buffer_episodes: int,
        updates_per_episode: float,
        log_interval_steps: int,
        eval_interval_steps: int,
        checkpoint_interval_steps: int,
        keep_checkpoints: int,
    ) -> None:
        for name, value in (
            ("total_steps", total_steps),
            ("batch_episodes", batch_episodes),
            ("log_interval_steps", log_interval_steps),
            ("eval_interval_steps", eval_interval_steps),
            ("checkpoint_interval_steps", checkpoint_interval_steps),
            ("keep_checkpoints", keep_checkpoints),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 <= updates_per_episode < float("inf"):
            raise ValueError(f"updates_per_episode must be a number from 0 on, got {updates_per_episode}")
        if batch_episodes > buffer_episodes:
            raise ValueError(
                f"batch_episodes={batch_episodes} must not be above buffer_episodes={buffer_episodes}, "
                "or learning would never begin"
            )
        self.runner, self.validation, self.policy, self.greedy = runner, validation, policy, greedy
        self.learner, self.device, self.total_steps = learner, device, total_steps
        self.buffer = _buffer(runner.spec, buffer_episodes, seed)
        self.keep_checkpoints = keep_checkpoints
        self._evaluation_episodes, self._batch_episodes = evaluation_episodes, batch_episodes
        self._updates_per_episode = updates_per_episode
        self._log_interval, self._eval_interval = log_interval_steps, eval_interval_steps
        self._checkpoint_interval = checkpoint_interval_steps
        self.progress = Progress(
            next_log=log_interval_steps, next_evaluation=eval_interval_steps, next_checkpoint=checkpoint_interval_steps
        )
        self._since = _Since()
        self._stopwatch = Stopwatch()
        self._collector = (OverlappedCollector if runner.overlap else Collector)(runner, policy)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Columns of a row of metrics, after the step."""
        counters = ("episodes", "updates", "return_mean", "length_mean")
        return (*counters, *self.policy.metric_names, *self.runner.spec.metric_names, *self.learner.metric_names)

    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Record | Evaluation | Checkpoint]:
        """Train until ``total_steps``, or until ``stop`` after a collection; yields what happened, in order.

        A `Checkpoint` is yielded where `state_dict` may be taken; it ends what belongs to a collection.
        """
        if self.progress.last_evaluation < 0:
            yield from self._evaluate()
            yield Checkpoint(0, best=True, resumable=True)
        while self.progress.steps < self.total_steps and not stop():
            self._collect(stop)
            self._learn()
            if self._due("next_log", self._log_interval):
                yield from self._log()
            best = False
            if self._due("next_evaluation", self._eval_interval):
                best = yield from self._evaluate()
            resumable = self._due("next_checkpoint", self._checkpoint_interval)
            if best or resumable:
                yield Checkpoint(self.progress.steps, best, resumable)
        best = False
        if self.progress.steps >= self.total_steps and self.progress.last_evaluation < self.progress.steps:
            best = yield from self._evaluate()
        yield Checkpoint(self.progress.steps, best, resumable=True)

    def state_dict(self) -> dict[str, Any]:
        """All state but the replayed episodes, as tensors and plain data; taken where a `Checkpoint` is yielded."""
        return {
            "learner": self.learner.state_dict(),
            "collector": self._collector.state_dict(),
            "progress": asdict(self.progress),
            "since": self._since.plain(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; the buffer is restored apart."""
        self.learner.load_state_dict(state["learner"])
        self._collector.load_state_dict(state["collector"])
        self.progress = Progress(**state["progress"])
        self._since = _Since(**state["since"])
        self.runner.steps, self.runner.episodes = self.progress.steps, self.progress.next_episode
        self._stopwatch = Stopwatch(self.progress.steps)

    def close(self) -> None:
        """Stop collecting and learning, and close all environments."""
        self._collector.close()
        self.learner.close()
        self.runner.close()
        self.validation.close()

    def _collect(self, stop: Callable[[], bool]) -> None:
        with self._stopwatch.measure("collect_s"):
            collection = self._collector.take(self.learner.updates)
            self.learner.observe(collection.batch)
            self.buffer.insert(collection.batch)
        self._count(collection)
        self._collector.prepare(self.learner.updates, begin=self.progress.steps < self.total_steps and not stop())

    def _count(self, collection: Collection) -> None:
        n_episodes = collection.batch.n_episodes
        self.progress.episodes += n_episodes
        self.progress.steps, self.progress.next_episode = collection.steps, collection.next_episode
        self._remember(collection.statistics)
        # The episode with which learning can begin earns the first credit, collected alone or with others.
        earning = self.progress.episodes - self._batch_episodes + 1
        self.progress.update_credit += self._updates_per_episode * max(0, min(n_episodes, earning))

    def _learn(self) -> None:
        with self._stopwatch.measure("update_s"):
            while self.progress.update_credit >= 1 - _ROUNDING:
                self.progress.update_credit -= 1
                batch = self.buffer.sample(self._batch_episodes, self.learner.updates).to(self.device)
                for name, value in self.learner.update(batch).items():
                    self._since.updates.setdefault(name, []).append(value)

    def _remember(self, statistics: EpisodeStatistics) -> None:
        self._since.returns += statistics.returns.tolist()
        self._since.lengths += statistics.lengths.tolist()
        self._since.metrics += statistics.metrics.tolist()

    def _due(self, name: str, interval: int) -> bool:
        due: int = self.progress.__dict__[name]
        if self.progress.steps < due:
            return False
        self.progress.__dict__[name] = due + interval * ((self.progress.steps - due) // interval + 1)
        return True

    def _log(self) -> Iterator[Record]:
        p, since = self.progress, self._since
        values: dict[str, float] = {"episodes": p.episodes, "updates": self.learner.updates}
        values |= {"return_mean": _mean(since.returns), "length_mean": _mean(since.lengths)}
        columns = zip(*since.metrics, strict=True)
        values |= {name: _mean(column) for name, column in zip(self.runner.spec.metric_names, columns, strict=False)}
        values |= self.policy.metrics(p.steps)
        values |= {name: _mean([float(x) for x in updates]) for name, updates in since.updates.items()}
        self._since = _Since()
        yield Record("metrics", p.steps, values)
        yield Record("timing", p.steps, self._stopwatch.lap(p.steps))

    def _evaluate(self) -> Generator[Evaluation, None, bool]:
        """Validate; returns whether these are the best weights so far."""
        with self._stopwatch.measure("evaluate_s"):
            evaluation = evaluate(
                self.greedy, self.validation, self._evaluation_episodes, step=self.progress.steps, stream="validation"
            )
        best = evaluation.return_mean > self.progress.best_return
        self.progress.best_return = max(self.progress.best_return, evaluation.return_mean)
        self.progress.last_evaluation = self.progress.steps
        yield evaluation
        return best


def _buffer(spec: EnvSpec, n_episodes: int, seed: int) -> EpisodeBuffer:
    try:
        return EpisodeBuffer(spec, n_episodes, seed)
    except (RuntimeError, MemoryError) as error:  # torch has its own words for a lack of memory
        gigabytes = EpisodeBatch.bytes_per_episode(spec) * n_episodes / 1e9
        raise ValueError(
            f"there is no memory for {n_episodes} episodes of replay, {gigabytes:.0f} GB; lower buffer_episodes"
        ) from error


class Stopwatch:
    """Seconds per phase and steps per second since the last `lap`."""

    columns = ("env_steps_per_s", "wall_s", "collect_s", "update_s", "evaluate_s")

    def __init__(self, steps: int = 0) -> None:
        self._seconds = dict.fromkeys(self.columns[2:], 0.0)
        self._began, self._steps = time.perf_counter(), steps

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        """Add the time spent inside to a phase."""
        began = time.perf_counter()
        yield
        self._seconds[phase] += time.perf_counter() - began

    def lap(self, steps: int) -> dict[str, float]:
        """What was measured since the last lap, and start the next."""
        now = time.perf_counter()
        wall = max(now - self._began, 1e-9)
        lap = {"env_steps_per_s": (steps - self._steps) / wall, "wall_s": wall, **self._seconds}
        self._seconds = dict.fromkeys(self._seconds, 0.0)
        self._began, self._steps = now, steps
        return lap


def _mean(values: Sequence[float]) -> float:
    """Mean of what is known, NaN if nothing is."""
    known = [x for x in values if x == x]
    return sum(known) / len(known) if known else float("nan")
