"""The state that mixers and central critics see in training, made of the agents' observations."""

from __future__ import annotations

from typing import Literal

from ...components.spec import FloatArray

State = Literal["own", "concat", "mean"]
"""``own``: what the environment gives, where it has a state, else as ``concat``; ``concat``: all agents' observations,
one after the other; ``mean``: their mean over the agents, whose size does not grow with their number."""


def of_observations(obs: FloatArray, state: State) -> FloatArray:
    """The state ``[..., S]`` that is made of observations ``[..., A, O]``; with ``own``, for want of another one."""
    if state == "mean":
        return obs.mean(axis=-2)
    return obs.reshape(*obs.shape[:-2], -1)


def state_dim(state: State, n_agents: int, obs_dim: int, own: int | None = None) -> int:
    """S.

    Args:
        state: what it is made of.
        n_agents: A.
        obs_dim: O.
        own: the size of the environment's own state; ``None``: it has none.
    """
    if state == "own" and own is not None:
        return own
    return obs_dim if state == "mean" else n_agents * obs_dim
