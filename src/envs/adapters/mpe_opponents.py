"""Scripted agents of the multi-agent particle environments (Lowe et al., NeurIPS 2017) that are not of the team.

Each is a `hymarl.envs.adapters.parallel_game.Behavior` for the layout of observations with everything in sight.
Positions are relative to the agent, and the actions are: stay, left, right, down, up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .parallel_game import Situation

_STAY, _LEFT, _RIGHT, _DOWN, _UP = range(5)
_EDGE = 0.9
"""Distance from the middle from which on ``simple_tag`` punishes its prey."""
_ARRIVED = 0.05


def flee(situation: Situation) -> int:
    """The prey of ``simple_tag``: away from the pursuers, the nearer the more, around obstacles and off the edge.

    Pursuers are the agents named ``adversary_…``; the others are prey too.
    """
    velocity, position, *rest = _points(situation.observation)
    names = [str(name) for name in situation.names if name != situation.name]
    n_prey = sum(not name.startswith("adversary") for name in names)
    n_obstacles = len(rest) - len(names) - n_prey  # then come the other agents, then the other prey's velocities
    obstacles, agents = rest[:n_obstacles], rest[n_obstacles : n_obstacles + len(names)]
    pursuers = [point for name, point in zip(names, agents, strict=True) if name.startswith("adversary")]
    push = np.zeros(2)
    for point in pursuers:
        push += _away_from(point)
    for point in obstacles:
        push += 0.1 * _away_from(point)
    # Where it will be in a moment counts at the edge: it is too fast to turn there.
    ahead = position + 0.5 * velocity
    beyond = np.maximum(np.abs(ahead) - (_EDGE - 0.2), 0.0)
    push -= 100.0 * np.sign(ahead) * beyond
    return _toward(push)


def approach_guarded_landmark(situation: Situation) -> int:
    """The adversary of ``simple_adversary``: to the landmark that one of the others is closest to.

    It does not know which landmark is the goal and takes the one that looks most like it.
    """
    points = _points(situation.observation)
    n_agents = len(situation.names) - 1
    landmarks, agents = np.array(points[:-n_agents]), np.array(points[-n_agents:])
    distances = np.linalg.norm(landmarks[:, None] - agents, axis=-1)  # landmarks, agents
    target = landmarks[distances.min(axis=1).argmin()]
    return _toward(target) if np.linalg.norm(target) > _ARRIVED else _STAY


def _points(observation: NDArray[np.floating]) -> list[NDArray[np.float64]]:
    return list(np.asarray(observation, np.float64).reshape(-1, 2))


def _away_from(point: NDArray[np.float64]) -> NDArray[np.float64]:
    """A push away from a point, inverse to the square of the distance."""
    distance = max(float(np.linalg.norm(point)), 1e-3)
    return -point / distance**3


def _toward(direction: NDArray[np.float64]) -> int:
    """The action along the longer component."""
    x, y = direction
    if abs(x) >= abs(y):
        return _LEFT if x < 0 else _RIGHT
    return _DOWN if y < 0 else _UP
