"""Playing episodes: one mechanism for one or many environments, for training and for evaluation."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..components.episode import EpisodeBatch, columns
from ..components.memory import require_memory
from ..components.rng import Stream, UInt64Array, keys
from ..components.spec import BoolArray, EnvSpec, IntArray, TimeStep
from ..envs.contract.vector_env import EpisodeFailure, RowFailure
from ..policies.base import Policy, PolicyState
from ..policies.learned import Job, LearnedPolicy
from .background import Background
from .placement import Placement


class EpisodeStatistics(NamedTuple):
    """One entry per episode.

    Attributes:
        numbers: ``[N]`` the episodes' numbers in their stream.
        returns: ``[N]`` undiscounted sum of rewards, averaged over agents where rewards are individual.
        lengths: ``[N]`` executed steps.
        metrics: ``[N, M]`` in the order of `EnvSpec.metric_names`.
    """

    numbers: IntArray
    returns: NDArray[np.float64]
    lengths: IntArray
    metrics: NDArray[np.float64]


class Played(NamedTuple):
    """Episodes that were played.

    Attributes:
        batch: the episodes.
        statistics: of these episodes.
    """

    batch: EpisodeBatch
    statistics: EpisodeStatistics


class TooManyFailures(Exception):
    """Environments failed more often than ``max_failures`` allows."""


@dataclass
class _Wave:
    """Episodes in play at once: environment row b plays batch row ``rows[b]`` where ``active[b]``.

    ``block`` is ``rows`` as a slice if they follow one another, else ``None``: storing by a slice is faster than by an
    array of indices.
    """

    rows: IntArray
    keys: UInt64Array
    active: NDArray[np.bool_]
    block: slice | None

    def without(self, failures: list[RowFailure]) -> None:
        self.active[[failure.row for failure in failures]] = False

    def snapshot(self) -> _Wave:
        """A copy whose ``active`` does not change with this one's."""
        return _Wave(self.rows, self.keys, self.active.copy(), self.block)

    def rows_of(self, where: BoolArray) -> tuple[Any, Any]:
        """Indices of these rows in the batch and among the environments."""
        if self.block is not None and where.all():
            return self.block, slice(None)
        return self.rows[where], where


class _Game(NamedTuple):
    """What `Runner.play` is to play, and where it puts the results."""

    policy: Policy
    batch: EpisodeBatch
    metrics: NDArray[np.float64]
    keys: UInt64Array
    steps: int


class Runner:
    """Plays episodes of one stream, each with its own key, in B environments at once.

    Rows whose episode has ended stay in the policy's forward pass but are not stepped. So the rows of a forward pass
    are always the same, and results do not depend on how the environments are spread over processes.

    An episode whose environment fails is discarded and played once more with the same key, so a killed worker leaves
    results equal; if it fails again it is skipped. Every failure is noted in `failures`.

    Args:
        placement: the environments, and where they are stepped.
        seed: of the stream.
        stream: training, validation or test.
        max_failures: failures that are tolerated.
        lag: how many collections are played while the learner updates, see `Collector`.

    Attributes:
        env: the environments.
        placement: where they are stepped and why there, for people.
        lag: as given.
        failures: what went wrong so far.

    Raises:
        ValueError: the episodes do not fit into memory.
    """

    def __init__(self, placement: Placement, seed: int, stream: Stream, max_failures: int, *, lag: int = 0) -> None:
        self.env, self.placement = placement
        self.lag = lag
        self.failures: list[str] = []
        self._seed, self._stream, self._max_failures = seed, stream, max_failures
        self._background = Background()
        # With a lag, as many collections as it says are waiting to be taken, being played, or being learned from.
        self._storages: list[EpisodeBatch | None] = [None] * max(1, lag)
        try:
            self.require_memory(self.n_envs * len(self._storages), "lower runner.n_envs or the length of episodes")
        except ValueError:
            self.env.close()
            raise

    @property
    def spec(self) -> EnvSpec:
        """Sizes of the environment."""
        return self.env.spec

    @property
    def n_envs(self) -> int:
        """B, how many episodes are played at once."""
        return self.env.n_envs

    def play(self, policy: Policy, numbers: IntArray, steps: int = 0) -> Played:
        """Play the episodes with these numbers; they do not depend on what was played before.

        Args:
            policy: acts.
            numbers: ``[N]``.
            steps: training steps so far, for schedules of exploration.

        Returns:
            The episodes, valid until the next call (with a lag, until as many further calls).

        Raises:
            TooManyFailures: more than ``max_failures`` failures since the runner was made.
        """
        batch = self._padding(len(numbers), policy)
        metrics = np.zeros((len(numbers), len(self.spec.metric_names)))
        game = _Game(policy, batch, metrics, keys(self._seed, self._stream, numbers), steps)
        failed = self._waves(game, list(range(len(numbers))))
        again = self._waves(game, failed)
        kept = np.array([row for row in range(len(numbers)) if row not in again], dtype=np.int64)
        if again:
            batch = batch.select(torch.from_numpy(kept))
        return Played(batch, _statistics(batch, numbers[kept], metrics[kept]))

    def perform(self, policy: LearnedPolicy, job: Job) -> Played:
        """`play` a job; the policy must not be used for anything else meanwhile."""
        policy.explore(job)
        return self.play(policy, job.numbers, job.steps)

    def submit(self, policy: LearnedPolicy, job: Job) -> Future[Played]:
        """`perform` a job in the background, after those submitted before."""
        return self._background.submit(partial(self.perform, policy, job))

    def require_memory(self, n_episodes: int, instead: str) -> None:
        """Refuse so many episodes at once if they do not fit into memory.

        Args:
            n_episodes: how many.
            instead: what to change, for people.

        Raises:
            ValueError: they do not fit.
        """
        n_bytes = EpisodeBatch.bytes_per_episode(self.spec) * n_episodes
        require_memory(n_bytes, f"{n_episodes:,} episodes of {self.spec.episode_limit:,} steps", instead)

    def close(self) -> None:
        """Wait for the job under way, whose episodes are lost, and close the environments."""
        self._background.close()
        self.env.close()

    def _padding(self, n_episodes: int, policy: Policy) -> EpisodeBatch:
        """Memory for the next episodes, all padding."""
        batch = self._storages.pop(0)
        if batch is not None and batch.n_episodes == n_episodes and batch.columns == columns(self.spec, policy.extras):
            batch.clear()
        else:
            batch = EpisodeBatch.empty(self.spec, n_episodes, extras=policy.extras)
        self._storages.append(batch)
        return batch

    def _waves(self, game: _Game, todo: list[int]) -> list[int]:
        """Play the episodes of these batch rows, B at a time; returns the rows that failed."""
        waves = [np.array(todo[n : n + self.n_envs]) for n in range(0, len(todo), self.n_envs)]
        return [row for rows in waves for row in self._wave(game, rows)]

    def _wave(self, game: _Game, rows: IntArray) -> list[int]:
        """Play up to B episodes side by side into the given rows of the batch; returns the rows that failed."""
        arrays = {name: x.numpy() for name, x in game.batch.tensors().items()}
        wave = self._start(rows, game.keys)
        arrays["key"][rows] = game.keys[rows].view(np.int64)
        lost: list[int] = []
        step = self._guard(partial(self.env.reset, wave.keys, wave.active.copy()), wave, lost)
        state = PolicyState.start(self.spec, wave.keys, game.steps)
        t = 0
        _store_observation(arrays, step, wave, t)
        while wave.active.any():
            avail = step.avail | ~wave.active[:, None, None]  # rows that have ended may do anything
            actions, state = game.policy.act(step.obs, avail, state)
            played = wave.snapshot()
            step = self._guard(partial(self.env.step, actions, wave.active.copy()), wave, lost)
            played.active &= wave.active
            _store_transition(arrays, step, actions, played, t)
            if t == 0:
                _check_extras(game.policy, state)
            if state.extras:
                _store_extras(arrays, game.batch, state, played, t)
            t += 1
            _store_observation(arrays, step, played, t)
            ended = played.active & (step.terminated | step.truncated)
            game.metrics[wave.rows[ended]] = step.metrics[ended]
            wave.active &= ~ended
        game.batch.clear(lost)
        return lost

    def _start(self, rows: IntArray, episode_keys: UInt64Array) -> _Wave:
        """The wave of these episodes; environments without one get the first episode's key and stay inactive."""
        spread = np.full(self.env.n_envs, rows[0])
        spread[: len(rows)] = rows
        whole = len(rows) == self.env.n_envs and bool((np.diff(rows) == 1).all())
        block = slice(int(rows[0]), int(rows[-1]) + 1) if whole else None
        return _Wave(spread, episode_keys[spread], np.arange(self.env.n_envs) < len(rows), block)

    def _guard(self, call: Callable[[], TimeStep], wave: _Wave, lost: list[int]) -> TimeStep:
        try:
            return call()
        except EpisodeFailure as failure:
            self.failures += map(str, failure.failures)
            lost += [int(wave.rows[f.row]) for f in failure.failures]
            wave.without(failure.failures)
            if len(self.failures) > self._max_failures:
                raise TooManyFailures(f"{len(self.failures)} environment failures; the last: {failure}") from failure
            return failure.time_step


def _store_observation(arrays: dict[str, NDArray[np.generic]], step: TimeStep, wave: _Wave, t: int) -> None:
    rows, on = wave.rows_of(wave.active)
    arrays["obs"][rows, t] = step.obs[on]
    arrays["state"][rows, t] = step.state[on]
    rows, alive = wave.rows_of(wave.active & ~step.terminated)
    arrays["avail"][rows, t] = step.avail[alive]


def _store_transition(
    arrays: dict[str, NDArray[np.generic]], step: TimeStep, actions: IntArray, wave: _Wave, t: int
) -> None:
    rows, on = wave.rows_of(wave.active)
    arrays["actions"][rows, t] = actions[on]
    arrays["reward"][rows, t] = step.reward[on]
    arrays["terminated"][rows, t] = step.terminated[on]
    arrays["filled"][rows, t] = True


def _check_extras(policy: Policy, state: PolicyState) -> None:
    """Refuse values that are not those of the columns that a policy has declared.

    Raises:
        ValueError: one is missing, was not declared, or has another shape.
    """
    shapes = {name: column.shape for name, column in policy.extras.items()}
    given = {name: values.shape[1:] for name, values in state.extras.items()}
    if given != shapes:
        raise ValueError(
            f"{type(policy).__name__} must give the extra columns that it declares, of the shapes (after [B]) "
            f"{shapes}; it gave {given}"
        )


def _store_extras(
    arrays: dict[str, NDArray[np.generic]], batch: EpisodeBatch, state: PolicyState, wave: _Wave, t: int
) -> None:
    """What the policy adds to the episodes; a column with one cell per episode keeps what came with the last action."""
    rows, on = wave.rows_of(wave.active)
    for name, values in state.extras.items():
        in_time = batch.columns[f"extras.{name}"].axis != "episode"
        arrays[f"extras.{name}"][(rows, t) if in_time else rows] = values[on]


def _statistics(batch: EpisodeBatch, index: IntArray, metrics: NDArray[np.float64]) -> EpisodeStatistics:
    reward = batch.reward.double()
    per_step = reward.mean(dim=-1) if reward.dim() == 3 else reward
    return EpisodeStatistics(index, per_step.sum(dim=1).numpy(), batch.lengths.numpy(), metrics)
