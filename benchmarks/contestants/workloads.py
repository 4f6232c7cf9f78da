"""What every contestant is measured on, in plain Python: it is read in every contestant's own environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

FC, GRU, MIXING, HYPERNET = 64, 64, 32, 64
"""Widths: the agents' layer before the GRU, the GRU, the mixing network, its hypernetworks."""

BATCH_EPISODES, BUFFER_EPISODES = 32, 5000
WARM_UPDATES = 3
"""Training is measured from this update on: everything is allocated and compiled by then."""


class Sizes(NamedTuple):
    """A synthetic batch: B episodes of T steps."""

    agents: int
    obs: int
    actions: int
    state: int
    steps: int
    episodes: int


class Game(NamedTuple):
    """A training workload.

    Attributes:
        name: ``lbf`` (Level-Based Foraging), ``spread`` (simple_spread) or ``loadbalance``.
        task: of Level-Based Foraging, without its version.
        agents: their number.
        limit: steps of an episode.
        n_envs: environments; there is one update per so many episodes.
    """

    name: str
    task: str
    agents: int
    limit: int
    n_envs: int


LEARNER: Mapping[str, Sizes] = {
    "w3": Sizes(agents=8, obs=80, actions=12, state=200, steps=120, episodes=32),
    "lbf": Sizes(agents=2, obs=15, actions=6, state=30, steps=50, episodes=32),
}

ACTING: Mapping[str, tuple[int, Sizes]] = {
    "1x2": (1, LEARNER["lbf"]),
    "8x2": (8, LEARNER["lbf"]),
    "8x8": (8, LEARNER["w3"]),
}
"""Number of environments, and the sizes of each."""

GAMES: Mapping[str, Game] = {
    "w1-1": Game("lbf", "Foraging-8x8-2p-3f", 2, 50, 1),
    "w1-8": Game("lbf", "Foraging-8x8-2p-3f", 2, 50, 8),
    "w2-1": Game("spread", "", 3, 25, 1),
    "w2-8": Game("spread", "", 3, 25, 8),
    "loadbalance-8": Game("loadbalance", "", 4, 100, 8),
}


def update_flop(s: Sizes) -> float:
    """Floating-point operations of the matrix products of one QMIX update: 8.93e9 for W3.

    A product of ``[n, i]`` and ``[i, o]`` counts 2 n i o. With B episodes, T steps, A agents, the rows are

    - agents: B (T+1) A; layers: input -> 64, GRU 64 -> 3 * 64 twice (input and state), 64 -> actions, where the input
      is the observation, the last action and the agent's id;
    - mixer: B T; layers: four first ones of the state (hypernetwork of w1: 64, of w2: 64, bias: 32, V: 32), three
      second ones (64 -> 32 A, 64 -> 32, 32 -> 1), and the mix itself (A * 32 + 32).

    forward = 2 * rows * weights. The backward pass is twice that, less the gradient of what is not learned: the agents'
    input and the state. One update is forward + backward of the live networks + forward of the target networks.
    """
    agent_rows, mixer_rows = s.episodes * (s.steps + 1) * s.agents, s.episodes * s.steps
    agent_first = (s.obs + s.actions + s.agents) * FC
    agent = agent_first + 3 * GRU * (FC + GRU) + GRU * s.actions
    mixer_first = s.state * (2 * HYPERNET + 2 * MIXING)
    mixer = mixer_first + HYPERNET * MIXING * s.agents + HYPERNET * MIXING + MIXING + MIXING * (s.agents + 1)
    forward = 2 * (agent_rows * agent + mixer_rows * mixer)
    not_learned = 2 * (agent_rows * agent_first + mixer_rows * mixer_first)
    return 4 * forward - not_learned
