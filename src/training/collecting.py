"""Where the training loop gets episodes from, and with which weights they are played."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ..policies.learned import Job, LearnedPolicy
from ..runners.base import Played, Runner


class Weights(NamedTuple):
    """The learner's weights, for the acting policy.

    Attributes:
        tensors: as `LearnedPolicy.load_state_dict` takes them; the learner's own memory, to be copied.
        n_updates: updates they have seen.
    """

    tensors: Mapping[str, Tensor]
    n_updates: int


@dataclass
class _Planned:
    """A job, and its future episodes if it was begun in the background."""

    job: Job
    played: Future[Played] | None = None


class Collector:
    """Plays the training episodes, as many at a time as there are environments.

    Collection i is played with the weights after the updates that belong to collection i - 1 - ``lag`` (the initial
    ones where there is none). With a lag of 0 these are the newest, and collecting and learning alternate; with a
    larger one, up to ``lag`` collections are played while the learner updates on earlier ones. Which weights play which
    episodes does not depend on time, so results are reproducible; a checkpoint holds the jobs that are not done, with
    their weights, so they are continued exactly.

    Args:
        runner: plays training episodes.
        policy: acts; nobody else uses it.
        newest: the learner's weights of the moment.

    Attributes:
        runner: as given.
        policy: as given.
        steps: environment steps in the episodes taken so far.
        next_episode: number of the next episode that is not planned yet; failed ones are skipped for good.
    """

    def __init__(self, runner: Runner, policy: LearnedPolicy, newest: Callable[[], Weights]) -> None:
        self.runner, self.policy, self._newest = runner, policy, newest
        self._planned: deque[_Planned] = deque()
        self.steps, self.next_episode = 0, 0

    def take(self) -> Played:
        """The next episodes, valid until `publish`; waits for them if they are played in the background."""
        while len(self._planned) < max(1, self.runner.lag):  # at the start, and without a lag always
            self._plan()
        job = self._planned[0].job
        played = self._begin()[0].result() if self.runner.lag else self.runner.perform(self.policy, job)
        self._planned.popleft()
        self.policy.adapt(job, played.batch)
        played.batch.policy_updates.fill_(job.n_updates)
        self.steps += int(played.statistics.lengths.sum())
        return played

    def publish(self, *, begin: bool) -> None:
        """With a lag, plan one more collection with the weights of now, those before the updates on what was taken.

        Args:
            begin: whether it is to be played, and those planned before; planned it is anyway, so that a run that has
                ended, or was stopped, can go on as if it had not.
        """
        if self.runner.lag:
            self._plan()
            if begin:
                self._begin()
                return
            for planned in self._planned:
                if planned.played is not None and planned.played.cancel():  # one that is under way goes on
                    planned.played = None

    def state_dict(self) -> dict[str, Any]:
        """Counters, the scale of the policy's noise, and the jobs that are not done."""
        jobs = [{**planned.job._asdict(), "numbers": planned.job.numbers.tolist()} for planned in self._planned]
        return {"steps": self.steps, "next_episode": self.next_episode, "noise": self.policy.noise, "jobs": jobs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`; the jobs begin when the first is asked for.

        Raises:
            ValueError: it is of a run with another lag.
        """
        if len(state["jobs"]) not in (0, self.runner.lag):
            raise ValueError(f"{len(state['jobs'])} collections were planned, but runner.lag is {self.runner.lag}")
        self.steps, self.next_episode, self.policy.noise = (
            state["steps"],
            state["next_episode"],
            state.get("noise", 0.0),
        )
        jobs = [Job(**{"noise": 0.0, **job, "numbers": np.array(job["numbers"], np.int64)}) for job in state["jobs"]]
        self._planned = deque(map(_Planned, jobs))

    def _plan(self) -> None:
        weights = self._newest()
        tensors = {name: x.detach().clone() if self.runner.lag else x for name, x in weights.tensors.items()}
        numbers = np.arange(self.next_episode, self.next_episode + self.runner.n_envs)
        self.next_episode += len(numbers)
        self._planned.append(_Planned(Job(numbers, self.steps, weights.n_updates, tensors, self.policy.noise)))

    def _begin(self) -> list[Future[Played]]:
        """Begin every planned job in the background that has not begun."""
        for planned in self._planned:
            if planned.played is None:
                planned.played = self.runner.submit(self.policy, planned.job)
        return [planned.played for planned in self._planned if planned.played is not None]
