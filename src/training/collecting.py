"""Where the training loop gets episodes from: collected when asked, or while it was learning."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from ..components.episode import EpisodeBatch
from ..policies.learned import LearnedPolicy
from ..runners.base import EpisodeStatistics, Runner


class Collection(NamedTuple):
    """Episodes and the counters after them.

    Attributes:
        batch: the episodes, valid until the next collection begins.
        statistics: of these episodes.
        steps: environment steps so far.
        next_episode: number of the next episode to play.
    """

    batch: EpisodeBatch
    statistics: EpisodeStatistics
    steps: int
    next_episode: int


class Collector:
    """Plays the next episodes with the newest weights when it is asked for them.

    Args:
        runner: plays training episodes.
        policy: acts; shares its controller with the learner.
    """

    def __init__(self, runner: Runner, policy: LearnedPolicy) -> None:
        self._runner, self._policy = runner, policy

    def take(self, n_updates: int) -> Collection:
        """As many episodes as there are environments.

        Args:
            n_updates: number of updates so far.
        """
        return self._play(self._policy, n_updates)

    def prepare(self, n_updates: int, begin: bool) -> None:
        """The weights after ``n_updates`` may act from now on; called once a collection's episodes have been stored.

        Args:
            n_updates: number of updates so far.
            begin: whether there will be another collection.
        """

    def state_dict(self) -> dict[str, Any]:
        """What the next collection depends on, beside the learner."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""

    def close(self) -> None:
        """Stop collecting."""

    def _play(self, policy: LearnedPolicy, n_updates: int) -> Collection:
        batch, statistics = self._runner.collect(policy, self._runner.env.n_envs)
        batch.policy_updates.fill_(n_updates)
        return Collection(batch, statistics, self._runner.steps, self._runner.episodes)


class OverlappedCollector(Collector):
    """Plays the next episodes in the background while the learner updates on the ones before.

    They are played with a copy of the weights from before these updates: the policy lags by at most the updates that
    belong to one collection. Which weights play which episodes does not depend on time, so results are reproducible,
    and a checkpoint holds the copy, so they can be resumed exactly.

    Args:
        runner: plays training episodes.
        policy: as it would act without lag.
    """

    def __init__(self, runner: Runner, policy: LearnedPolicy) -> None:
        super().__init__(runner, copy.deepcopy(policy))
        self._newest = policy.controller
        self._n_updates: int | None = None  # of the copied weights, None before the first copy
        self._task: _Task | None = None

    def take(self, n_updates: int) -> Collection:
        """See `Collector.take`; waits for the collection under way."""
        if self._n_updates is None:
            self._copy(n_updates)
        self._task = self._task or self._begin()
        collection = self._task.result()
        self._task = None
        return collection

    def prepare(self, n_updates: int, begin: bool) -> None:
        """See `Collector.prepare`."""
        self._copy(n_updates)
        if begin:
            self._task = self._begin()

    def state_dict(self) -> dict[str, Any]:
        """See `Collector.state_dict`."""
        return {"controller": self._policy.controller.state_dict(), "n_updates": self._n_updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Collector.load_state_dict`."""
        self._policy.controller.load_state_dict(state["controller"])
        self._n_updates = state["n_updates"]

    def close(self) -> None:
        """See `Collector.close`; waits for the collection under way, whose episodes are lost."""
        if self._task is not None:
            self._task.wait()

    def _begin(self) -> _Task:
        assert self._n_updates is not None
        return _Task(partial(self._play, self._policy, self._n_updates))

    def _copy(self, n_updates: int) -> None:
        self._policy.controller.load_state_dict(self._newest.state_dict())
        self._n_updates = n_updates


class _Task(threading.Thread):
    """A call in the background that returns or raises to whoever asks for its result."""

    def __init__(self, call: Callable[[], Collection]) -> None:
        super().__init__(name="hymarl-collector", daemon=True)  # a second Ctrl-C need not wait for it
        self._call = call
        self._done: Collection | None = None
        self._error: BaseException | None = None
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        """See `threading.Thread.run`."""
        try:
            self._done = self._call()
        except BaseException as error:
            self._error = error
        finally:
            self._ended.set()

    def wait(self) -> None:
        """Wait for the end of the call, again and again if interrupted, which `threading.Thread.join` cannot."""
        self._ended.wait()

    def result(self) -> Collection:
        """What the call returned, when it has."""
        self.wait()
        if self._error is not None:
            raise self._error
        assert self._done is not None
        return self._done
