"""What algorithms make of one-step games under uniform data: ``python examples/matrix_games.py [ALGORITHM ...]``.

Each algorithm learns 5 times (seeds 11 to 15 of the initial weights) from a batch with every joint action once. The
table has the payoffs of the joint actions that the agents then take; the largest are 8, 8, 11 and 10.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import torch

import hymarl
from hymarl.app.assembly import build_learner
from hymarl.components.episode import EpisodeBatch
from hymarl.components.replay.base import Sample
from hymarl.components.spec import EnvSpec
from hymarl.learners.values import greedy

GAMES = ("qtran_game", "qplex_game", "climbing", "penalty")
SETTINGS = ("network=mlp", "network.hidden_dims=[32]", "controller.last_action=false")
ALGORITHMS: Mapping[str, tuple[int, Sequence[str]]] = {
    **dict.fromkeys(("iql", "vdn", "qmix", "qatten", "cw_qmix", "ow_qmix"), (1000, ("optimizer.lr=0.01",))),
    "qplex": (5000, ("optimizer.lr=0.003", "mixer.n_heads=10", "mixer.lambda_layers=3")),
    "qtran": (5000, ("optimizer.lr=0.001", "learner.embed_dim=128")),
}
"""Updates and settings."""


def play_everything(game: str) -> tuple[EnvSpec, EpisodeBatch, np.ndarray]:
    """Sizes, a batch with every joint action once, and their payoffs as a table."""
    spec = hymarl.make_env(game).spec
    joint = np.array(list(itertools.product(range(spec.n_actions), repeat=spec.n_agents)))
    env, on = hymarl.make_env(game, n_envs=len(joint)), np.ones(len(joint), np.bool_)
    batch = EpisodeBatch.empty(spec, len(joint), 1)
    first = env.reset(np.zeros(len(joint), np.uint64), on)
    batch.obs[:, 0], batch.state[:, 0] = torch.from_numpy(first.obs), torch.from_numpy(first.state)
    last = env.step(joint, on)
    batch.actions[:, 0], batch.reward[:, 0] = torch.from_numpy(joint), torch.from_numpy(last.reward)
    batch.terminated[:], batch.filled[:] = True, True
    return spec, batch, last.reward.reshape([spec.n_actions] * spec.n_agents)


def payoff(algorithm: str, game: str, seed: int) -> float:
    """The payoff of the agents' best actions after learning."""
    n_updates, settings = ALGORITHMS[algorithm]
    config = hymarl.compose(f"env={game}", f"algo={algorithm}", *SETTINGS, *settings)
    spec, batch, payoffs = play_everything(game)
    torch.manual_seed(seed)
    learner = build_learner(config, spec)
    sample = Sample(batch, np.arange(batch.n_episodes))
    for _ in range(n_updates):
        learner.update(sample)
    with torch.no_grad():
        controller = learner.networks["controller"]
        scores, _ = controller.unroll(batch)
    best = greedy(scores, batch.avail)[0, 0]
    return float(payoffs[tuple(best.tolist())])


def main(algorithms: Sequence[str]) -> None:
    """Print the table, a line after each algorithm."""
    torch.set_num_threads(1)
    print("| `algo=` |", " | ".join(f"`{game}`" for game in GAMES), "|", flush=True)
    print("|---" * (1 + len(GAMES)) + "|", flush=True)
    for algorithm in algorithms or ALGORITHMS:
        cells = [" ".join(f"{payoff(algorithm, game, seed):g}" for seed in range(11, 16)) for game in GAMES]
        print(f"| `{algorithm}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
