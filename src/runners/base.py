"""Playing episodes: one mechanism for one or many environments, for training and for evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..components.episode import EpisodeBatch
from ..components.rng import Stream, UInt64Array, keys
from ..components.spec import BoolArray, EnvSpec, IntArray, TimeStep
from ..envs.contract.vector_env import EpisodeFailure, RowFailure
from ..policies.base import Policy, PolicyState
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


class TooManyFailures(Exception):
    """Environments failed more often than ``max_failures`` allows."""


@dataclass
class _Wave:
    """Episodes in play at once: environment row b plays batch row ``rows[b]`` where ``active[b]``.

    ``block`` is all of ``rows`` if they follow one another: whole blocks are stored in a third of the time.
    """

    rows: IntArray
    keys: UInt64Array
    active: NDArray[np.bool_]
    block: slice | None

    def without(self, failures: list[RowFailure]) -> None:
        self.active[[failure.row for failure in failures]] = False

    def now(self) -> _Wave:
        """The same episodes, whatever becomes inactive later."""
        return _Wave(self.rows, self.keys, self.active.copy(), self.block)

    def places(self, where: BoolArray) -> tuple[Any, Any]:
        """Indices of these rows in the batch and among the environments."""
        if self.block is not None and where.all():
            return self.block, slice(None)
        return self.rows[where], where


class Runner:
    """Plays episodes of one stream, each with its own key, in B environments at once.

    Finished rows ride along in the policy's forward pass, in a fixed order, but are not stepped; results therefore do
    not depend on how the environments are spread over processes.

    An episode whose environment fails is discarded and played once more with the same key, so a killed worker leaves
    results equal; if it fails again it is skipped. Every failure is noted in `failures`.

    Args:
        placement: the environments, and where they are stepped.
        overlap: whether training episodes may be collected while the learner updates.
        seed: of the stream.
        stream: training, validation or test.
        max_failures: failures that are tolerated.

    Attributes:
        env: the environments.
        where: where they are stepped and why there, for people.
        steps: environment steps executed in episodes handed over by `collect`.
        episodes: number of the next episode `collect` plays.
        failures: what went wrong so far.
    """

    def __init__(
        self, placement: Placement, seed: int, stream: Stream, max_failures: int, *, overlap: bool = False
    ) -> None:
        self.env, self.where = placement
        self.overlap = overlap
        self.steps, self.episodes = 0, 0
        self.failures: list[str] = []
        self._seed, self._stream, self._max_failures = seed, stream, max_failures
        self._storage = EpisodeBatch.empty(self.spec, self.env.n_envs)

    @property
    def spec(self) -> EnvSpec:
        """Sizes of the environment."""
        return self.env.spec

    def collect(self, policy: Policy, n_episodes: int) -> tuple[EpisodeBatch, EpisodeStatistics]:
        """Play the next ``n_episodes`` of the stream; the batch is valid until the next call."""
        index = np.arange(self.episodes, self.episodes + n_episodes)
        batch, statistics = self.play(policy, index)
        self.episodes += n_episodes
        self.steps += int(statistics.lengths.sum())
        return batch, statistics

    def play(self, policy: Policy, index: IntArray) -> tuple[EpisodeBatch, EpisodeStatistics]:
        """Play the episodes with these numbers, whatever was played before; the batch is valid until the next call.

        Raises:
            TooManyFailures: more than ``max_failures`` failures since the runner was made.
        """
        batch = self._cleared(len(index))
        metrics = np.zeros((len(index), len(self.spec.metric_names)))
        episode_keys = keys(self._seed, self._stream, index)
        failed = self._waves(policy, batch, metrics, list(range(len(index))), episode_keys)
        again = self._waves(policy, batch, metrics, failed, episode_keys)
        kept = np.array([row for row in range(len(index)) if row not in again], dtype=np.int64)
        if again:
            batch = batch.select(torch.from_numpy(kept))
        return batch, _statistics(batch, index[kept], metrics[kept])

    def close(self) -> None:
        """Close the environments."""
        self.env.close()

    def _cleared(self, n_episodes: int) -> EpisodeBatch:
        if self._storage.n_episodes != n_episodes:
            self._storage = EpisodeBatch.empty(self.spec, n_episodes)
            return self._storage
        for name, x in self._storage.tensors().items():
            x.fill_(name == "avail")
        return self._storage

    def _waves(
        self,
        policy: Policy,
        batch: EpisodeBatch,
        metrics: NDArray[np.float64],
        todo: list[int],
        episode_keys: UInt64Array,
    ) -> list[int]:
        """Play the episodes of these batch rows, B at a time; returns the rows that failed."""
        b = self.env.n_envs
        waves = [np.array(todo[n : n + b]) for n in range(0, len(todo), b)]
        return [row for rows in waves for row in self._wave(policy, batch, metrics, rows, episode_keys)]

    def _wave(
        self,
        policy: Policy,
        batch: EpisodeBatch,
        metrics: NDArray[np.float64],
        rows: IntArray,
        episode_keys: UInt64Array,
    ) -> list[int]:
        """Play up to B episodes side by side into the given rows of the batch; returns the rows that failed."""
        arrays = {name: x.numpy() for name, x in batch.tensors().items()}
        wave = self._start(rows, episode_keys)
        lost: list[int] = []
        step = self._guard(partial(self.env.reset, wave.keys, wave.active.copy()), wave, lost)
        state = PolicyState.start(self.spec, wave.keys, self.steps)
        t = 0
        _store_observation(arrays, step, wave, t)
        while wave.active.any():
            avail = step.avail | ~wave.active[:, None, None]  # finished rows ride along: any action will do
            actions, state = policy.act(step.obs, avail, state)
            played = wave.now()
            step = self._guard(partial(self.env.step, actions, wave.active.copy()), wave, lost)
            played.active &= wave.active
            _store_transition(arrays, step, actions, played, t)
            t += 1
            _store_observation(arrays, step, played, t)
            ended = played.active & (step.terminated | step.truncated)
            metrics[wave.rows[ended]] = step.metrics[ended]
            wave.active &= ~ended
        self._erase(arrays, lost)
        return lost

    def _start(self, rows: IntArray, episode_keys: UInt64Array) -> _Wave:
        """Spare environments get the first episode's key and stay inactive."""
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

    def _erase(self, arrays: dict[str, NDArray[np.generic]], rows: list[int]) -> None:
        for name, x in arrays.items():
            x[rows] = name == "avail"


def _store_observation(arrays: dict[str, NDArray[np.generic]], step: TimeStep, wave: _Wave, t: int) -> None:
    rows, on = wave.places(wave.active)
    arrays["obs"][rows, t] = step.obs[on]
    arrays["state"][rows, t] = step.state[on]
    rows, alive = wave.places(wave.active & ~step.terminated)
    arrays["avail"][rows, t] = step.avail[alive]


def _store_transition(
    arrays: dict[str, NDArray[np.generic]], step: TimeStep, actions: IntArray, wave: _Wave, t: int
) -> None:
    rows, on = wave.places(wave.active)
    arrays["actions"][rows, t] = actions[on]
    arrays["reward"][rows, t] = step.reward[on]
    arrays["terminated"][rows, t] = step.terminated[on]
    arrays["filled"][rows, t] = True


def _statistics(batch: EpisodeBatch, index: IntArray, metrics: NDArray[np.float64]) -> EpisodeStatistics:
    reward = batch.reward.double()
    per_step = reward.mean(dim=-1) if reward.dim() == 3 else reward
    return EpisodeStatistics(index, per_step.sum(dim=1).numpy(), batch.lengths.numpy(), metrics)
