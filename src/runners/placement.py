"""Where environments are stepped: in this process, or in worker processes where that is faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import numpy as np

from ..components.rng import Stream, derive, draw, keys, uniform
from ..components.selectors.base import nth_available
from ..components.threads import available_cores
from ..envs.adapters.joint_agent import JointAgent
from ..envs.adapters.single import SingleEnvs
from ..envs.contract.vector_env import EpisodeFailure, VectorEnv
from ..envs.workers.pool import WorkerEnvs

MakeEnv = Callable[[int], VectorEnv]
"""Makes environments with the given number of rows."""

CALL_S, WORKER_S = 60e-6, 65e-6
"""Overhead of a step of all environments in seconds: per step, and per worker process that takes part in it."""

_LEAST_SPEEDUP = 1.5  # estimated; less is not worth the workers' memory and start, and cores are seldom all free
_MEASURE_S, _LEAST_STEPS, _MOST_STEPS = 0.1, 5, 200


class Placement(NamedTuple):
    """Environments and where they are.

    Attributes:
        env: all of them.
        reason: where, and why there, for people.
    """

    env: VectorEnv
    reason: str


def place(make_env: MakeEnv, n_envs: int, workers: int | None, timeout_s: float, *, busy: bool = False) -> Placement:
    """Make B environments in this process or in worker processes: as told, or as a short timing suggests.

    Args:
        make_env: makes a `VectorEnv` with the given number of rows; picklable where there are workers.
        n_envs: B.
        workers: number of processes; 0: none; ``None``: as many as there are cores, if the environments are stepped one
            by one (`SingleEnvs`) and slow enough by a short play of one more, else none; none too if such processes
            cannot be made.
        timeout_s: see `WorkerEnvs`.
        busy: whether this process learns at the same time; then only the time that collecting takes of it counts.
    """
    if workers:
        return Placement(WorkerEnvs(make_env, n_envs, workers, timeout_s=timeout_s), f"in {workers} worker processes")
    env, here = make_env(n_envs if workers == 0 else 1), "in this process"
    if workers == 0:
        return Placement(env, here)
    with closing(env):
        if isinstance(env.env if isinstance(env, JointAgent) else env, SingleEnvs):
            return _by_step_time(make_env, n_envs, timeout_s, busy, _step_time(env))
    return Placement(make_env(n_envs), here)


def _by_step_time(make_env: MakeEnv, n_envs: int, timeout_s: float, busy: bool, step_s: float | None) -> Placement:
    workers, here = min(n_envs, available_cores()), "in this process"
    if step_s is None:
        return Placement(make_env(n_envs), f"{here} (the time of a step could not be measured)")
    alone, shared = n_envs * step_s, -(-n_envs // workers) * step_s + CALL_S + workers * WORKER_S
    if busy:
        shared = CALL_S + workers * WORKER_S  # the time that it takes of this process
    reason = f"a step takes {step_s * 1e6:.0f} µs"
    if alone < _LEAST_SPEEDUP * shared:
        return Placement(make_env(n_envs), f"{here} ({reason}: worker processes would not be much faster)")
    try:
        env = WorkerEnvs(make_env, n_envs, workers, timeout_s=timeout_s)
    except Exception as error:  # of any kind: nobody asked for workers, and in this process it could be made
        why = " ".join(str(error).split()) or type(error).__name__
        return Placement(make_env(n_envs), f"{here} ({reason}, but worker processes cannot be made: {why})")
    return Placement(env, f"in {workers} worker processes ({reason})")


def _step_time(env: VectorEnv) -> float | None:
    """Seconds that a step of one environment takes, the median over a short random play; ``None`` if the first fails.

    A failure shows again, and is dealt with, when episodes are played.
    """
    where, times = np.ones(1, np.bool_), list[float]()
    seeds, started = keys(0, Stream.TRAINING, 0), time.perf_counter()
    try:
        step = env.reset(seeds, where)
        while len(times) < _LEAST_STEPS or (len(times) < _MOST_STEPS and time.perf_counter() - started < _MEASURE_S):
            if (step.terminated | step.truncated)[0]:
                seeds = derive(seeds, 0)
                step = env.reset(seeds, where)
            chance = uniform(draw(seeds[:, None], len(times) * env.spec.n_agents + np.arange(env.spec.n_agents)))
            actions, before = nth_available(step.avail, chance), time.perf_counter()
            step = env.step(actions, where)
            times.append(time.perf_counter() - before)
    except EpisodeFailure:
        pass
    return float(np.median(times)) if times else None
