"""What algorithms make of one-step games under uniform data: ``python examples/matrix_games.py [ALGORITHM ...]``.

Each algorithm learns 5 times (seeds 11 to 15 of the initial weights) from a batch with every joint action once. The
table has the payoffs of the joint actions that the agents then take; the largest are 8, 8, 11 and 10. With
``--curves FOLDER`` there is also a picture for each algorithm, ``games_ALGORITHM.png``: these payoffs over updates.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

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
    "qplex": (
        5000,
        (
            *("optimizer.lr=0.001", "optimizer.lr_of={mixer: 0.003}"),
            *("mixer.n_heads=10", "mixer.lambda_layers=3", "mixer.transform=false"),
        ),
    ),
    "qtran": (5000, ("optimizer.lr=0.001", "learner.embed_dim=128")),
}
"""Updates, a multiple of `PARTS`, and settings."""
SEEDS = range(11, 16)
PARTS = 100


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


def learn(algorithm: str, game: str, seed: int) -> list[float]:
    """The payoffs of the agents' best actions, at the start and after each hundredth part of the updates."""
    n_updates, settings = ALGORITHMS[algorithm]
    config = hymarl.compose(f"env={game}", f"algo={algorithm}", *SETTINGS, *settings)
    spec, batch, payoffs = play_everything(game)
    torch.manual_seed(seed)
    learner = build_learner(config, spec)
    sample, found = Sample(batch, np.arange(batch.n_episodes)), []
    for k in range(n_updates + 1):
        if k > 0:
            learner.update(sample)
        if k % (n_updates // PARTS) == 0:
            with torch.no_grad():
                scores, _ = learner.networks["controller"].unroll(batch)
            found.append(float(payoffs[tuple(greedy(scores, batch.avail)[0, 0].tolist())]))
    return found


def draw(algorithm: str, curves: Mapping[str, Sequence[Sequence[float]]], folder: Path) -> None:
    """A panel for each game, and in it a line for each seed.

    Args:
        algorithm: whose curves they are.
        curves: by game, the payoffs of every seed.
        folder: for the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 2.2), layout="constrained")
    updates = np.linspace(0, ALGORITHMS[algorithm][0], PARTS + 1)
    for axes, (game, lines) in zip(figure.subplots(1, len(curves)), curves.items(), strict=True):
        best = play_everything(game)[2].max()
        axes.axhline(best, color="0.6", linestyle="--", linewidth=1)
        for k, line in enumerate(lines):  # lifted a little, so that equal ones are seen
            axes.step(updates, np.array(line) + 0.025 * k * best, where="post", linewidth=1.2, alpha=0.8)
        axes.set_ylim(-1.6 * best, 1.2 * best)  # some payoffs are far below
        axes.set_title(game, fontsize=10)
        axes.set_xlabel("updates")
    figure.axes[0].set_ylabel("payoff")
    figure.savefig(folder / f"games_{algorithm}.png", dpi=110)


def main(algorithms: Sequence[str], folder: Path | None) -> None:
    """Print the table, a line after each algorithm, and draw the curves if there is a folder for them."""
    torch.set_num_threads(1)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    print("| `algo=` |", " | ".join(f"`{game}`" for game in GAMES), "|", flush=True)
    print("|---" * (1 + len(GAMES)) + "|", flush=True)
    for algorithm in algorithms or ALGORITHMS:
        curves = {game: [learn(algorithm, game, seed) for seed in SEEDS] for game in GAMES}
        cells = [" ".join(f"{line[-1]:g}" for line in lines) for lines in curves.values()]
        print(f"| `{algorithm}` | {' | '.join(cells)} |", flush=True)
        if folder is not None:
            draw(algorithm, curves, folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What algorithms make of one-step games under uniform data.")
    parser.add_argument("algorithms", nargs="*", metavar="ALGORITHM", help=f"of {', '.join(ALGORITHMS)}; all of them")
    parser.add_argument("--curves", type=Path, metavar="FOLDER", help="for pictures of the payoffs over updates")
    given = parser.parse_args()
    if unknown := set(given.algorithms) - set(ALGORITHMS):
        parser.error(f"there is no {', '.join(sorted(unknown))} here; choose from {', '.join(ALGORITHMS)}")
    main(given.algorithms, given.curves)
