"""`env=loadbalance`: several load balancers share servers without seeing each other's traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...components.memory import require_memory
from ...components.rng import UInt64Array
from ...components.spec import BoolArray, Entities, EnvSpec, IntArray, TimeStep
from ...registry import register
from ..contract.scene import LevelScene
from .assembly import n_actions, parameters, sizes
from .estimator import Estimates
from .interface import interface
from .layout import n_bytes
from .metrics import episode_metrics, metric_names
from .settings import Settings
from .traces import read_trace

_AS_COMPILED: tuple[Literal["C"], Literal["W"]] = ("C", "W")
"""Contiguous and writable: for arrays with another layout, numba would compile the simulation once more."""


@register("env")
@dataclass(eq=False)
class LoadBalance(Settings):
    """Load balancers as agents, in an exact event-driven simulation of what Yao, Ding and Clausen (CIKM 2022) built.

    Each balancer sees the flows that it placed itself and how long they take. Its action changes the weights with which
    its data plane places new flows in the next control interval. See `docs/loadbalance.md`.

    Args:
        agents: number of balancers; ``None``: the setting ``balancers``.
        n_envs: B, simulations stepped together.

    Raises:
        ValueError: settings at odds with each other, an unusable trace, or more than fits into memory.
    """

    agents: int | None
    n_envs: int

    def __post_init__(self) -> None:
        self.check()
        n_balancers = self.balancers if self.agents is None else self.agents
        if n_balancers < 1:
            raise ValueError(f"there must be at least one balancer, got agents={n_balancers}")
        trace = None if self.trace is None else read_trace(self.trace)
        p = parameters(self, trace)
        lengths = sizes(self, p, self.n_envs, n_balancers)
        less = "lower workers, backlog, reservoir, slots, episode_limit or the number of arrivals and agents"
        require_memory(n_bytes(lengths), "the simulations played side by side", less)
        names = metric_names(self.metrics, () if self.swaps else self.cpus, n_balancers)
        self.spec = EnvSpec(
            n_agents=n_balancers,
            n_actions=lengths.actions,
            obs_dim=lengths.obs_dim,
            state_dim=lengths.state_dim,
            episode_limit=p.scenario.length,
            metric_names=names,
            entities=self._entities(lengths.slots, p.measuring.n_features),
            individual_rewards=self.reward_scope == "local",
            references=("random", "ecmp", "wcmp", "lsq", "sed_tie", "sed", "latency_robust", "latency"),
            baseline="sed",
            headline_metrics=tuple(name for name in ("jct_mean", "jain_tau") if name in names),
        )
        self._estimates = Estimates.chosen(self, p.measuring.n_features)
        from .engine import Engine  # numba takes its time: not before the settings have been checked

        self.engine = Engine(p, lengths, self.threads)
        self._zeros = TimeStep.zeros(self.spec, self.n_envs)

    def _entities(self, n_slots: int, n_features: int) -> Entities:
        """Servers in the observation; favoring, the same as raising a weight, and lowering are kinds of action."""
        servers = tuple(range(n_slots))
        action_entity, action_kind = servers, (0,) * n_slots
        if self.action_mode == "favour0":
            action_entity, action_kind = (-1, *servers), (1, *(0,) * n_slots)
        elif self.action_mode == "adjust":
            action_entity, action_kind = (-1, *servers, *servers), (2, *(0,) * n_slots, *(1,) * n_slots)
        assert len(action_entity) == n_actions(self, n_slots)
        return Entities(n_slots, n_features, 0, action_entity, action_kind)

    @classmethod
    def interface(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `Explained.interface`."""
        chosen = Settings(**settings)
        return interface(chosen, None if chosen.trace is None else read_trace(chosen.trace))

    def reset(self, seeds: UInt64Array, where: BoolArray) -> TimeStep:
        """See `VectorEnv.reset`."""
        where = np.require(where, np.bool_, _AS_COMPILED)
        self.engine.reset(np.asarray(seeds, np.uint64), where)
        if self._estimates is not None:
            self._estimates.write(self.engine.world, where, where)
        return self._time_step(np.zeros(self.n_envs, np.bool_))

    def step(self, actions: IntArray, active: BoolArray) -> TimeStep:
        """See `VectorEnv.step`.

        Raises:
            ValueError: actions that do not exist, or an active row whose episode is over or was never started.
        """
        actions = np.require(actions, np.int64, _AS_COMPILED)
        active = np.require(active, np.bool_, _AS_COMPILED)
        episode, scenario = self.engine.world.episode, self.engine.parameters.scenario
        end = scenario.warmup + scenario.length
        self._check(actions, active, (episode["instant"] >= end) | (episode["base_rate"] == 0.0))
        self.engine.step(actions, active)
        if self._estimates is not None:
            self._estimates.write(self.engine.world, np.zeros_like(active), active)
        return self._time_step(active & (episode["instant"] == end))

    def scene(self, row: int) -> LevelScene:
        """How many flows are on each server."""
        world, warmup = self.engine.world, self.engine.parameters.scenario.warmup
        servers = world.servers[row][: len(self.cpus)]
        names = tuple(f"server {k}, {c:g} CPUs" for k, c in enumerate(self.cpus))
        time = (float(world.episode[row]["instant"]) - warmup) * self.dt
        return LevelScene(names, tuple(map(float, servers["load"])), "flows on a server", time)

    def close(self) -> None:
        """See `VectorEnv.close`."""
        self.engine.close()

    def _check(self, actions: IntArray, active: BoolArray, over: BoolArray) -> None:
        expected = (self.n_envs, self.spec.n_agents)
        if actions.shape != expected:
            raise ValueError(f"actions must have the shape {expected}, got {actions.shape}")
        wrong = active & ((actions < 0) | (actions >= self.spec.n_actions)).any(axis=1)
        if wrong.any():
            b = int(wrong.argmax())
            raise ValueError(f"environment {b}: actions {actions[b].tolist()} must be in 0..{self.spec.n_actions - 1}")
        if (active & over).any():
            b = int((active & over).argmax())
            raise ValueError(f"environment {b} must be reset before it can be stepped")

    def _time_step(self, ended: BoolArray) -> TimeStep:
        world, metrics = self.engine.world, self._zeros.metrics
        if ended.any():
            metrics = np.zeros_like(metrics)
            for b in np.flatnonzero(ended):
                metrics[b] = episode_metrics(self.engine.parameters, world, int(b), self.metrics)
        return TimeStep(
            obs=world.obs,
            state=world.state,
            avail=world.avail,
            reward=world.reward if self.spec.individual_rewards else world.reward[:, 0],
            terminated=self._zeros.terminated,
            truncated=ended,
            metrics=metrics,
        )
