"""BenchMARL: ``python peer_benchmarl.py CASE SECONDS [KEY=VALUE ...]`` with keys of its experiment configuration.

Its own experiment: collector, replay buffer, loss and loop. Stubbed: torchvision, av, wandb. The clock is read in a
callback of its own kind. It has no Level-Based Foraging, so it plays simple_spread only.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import Over, Window, first_step_hook, report, versions
from stubs import stub
from workloads import BATCH_EPISODES, BUFFER_EPISODES, FC, GAMES, GRU, MIXING, Game

stub("torchvision.transforms", "av", "wandb")

import torch  # noqa: E402
import yaml  # noqa: E402
from benchmarl.algorithms import QmixConfig  # noqa: E402
from benchmarl.environments import PettingZooTask  # noqa: E402
from benchmarl.experiment import Callback, Experiment, ExperimentConfig  # noqa: E402
from benchmarl.models import GruConfig  # noqa: E402


def configuration(game: Game, overrides: Sequence[str]) -> ExperimentConfig:
    """Its own values, with the workload's sizes: an update per collection, on as many frames as 32 episodes have."""
    config: Any = ExperimentConfig.get_from_yaml()
    frames = game.n_envs * game.limit
    values: dict[str, Any] = {
        "prefer_continuous_actions": False,
        "lr": 5e-4,
        "clip_grad_val": 10,
        "soft_target_update": False,
        "hard_target_update_frequency": 200,
        "exploration_eps_init": 1.0,
        "exploration_eps_end": 0.05,
        "exploration_anneal_frames": 50_000,
        "max_n_frames": 10**9,
        "off_policy_collected_frames_per_batch": frames,
        "off_policy_n_envs_per_worker": game.n_envs,
        "off_policy_n_optimizer_steps": 1,
        "off_policy_train_batch_size": BATCH_EPISODES * game.limit,
        "off_policy_memory_size": BUFFER_EPISODES * game.limit,
        "off_policy_init_random_frames": BATCH_EPISODES * game.limit,
        "evaluation": False,
        "render": False,
        "loggers": [],
        "create_json": False,
        "save_folder": str(Path.cwd()),
    }
    values |= {key: yaml.safe_load(value) for key, _, value in (x.partition("=") for x in overrides)}
    for key, value in values.items():
        setattr(config, key, value)
    return config


def make_experiment(game: Game, overrides: Sequence[str], callbacks: Sequence[Callback]) -> Experiment:
    """Its experiment on simple_spread with QMIX and a GRU after one layer."""
    assert game.name == "spread", "BenchMARL brings no such environment"
    torch.set_num_threads(1)
    task = PettingZooTask.SIMPLE_SPREAD.get_from_yaml()
    task.config = {"task": "simple_spread_v3", "N": game.agents, "local_ratio": 0.5, "max_cycles": game.limit}
    algorithm: Any = QmixConfig.get_from_yaml()
    algorithm.mixing_embed_dim = MIXING
    model: Any = GruConfig.get_from_yaml()
    model.hidden_size, model.n_layers, model.mlp_num_cells = GRU, 1, [FC]
    return Experiment(
        task=task,
        algorithm_config=algorithm,
        model_config=model,
        seed=1,
        config=configuration(game, overrides),
        callbacks=list(callbacks),
    )


class _Clock(Callback):
    """Reads the clock when a batch has been collected, and counts updates from the 32nd episode on.

    It updates from the first on, but before that one acts at random.
    """

    def __init__(self, seconds: float, game: Game) -> None:
        super().__init__()
        self.window, self.updates = Window(seconds), 0
        self._random_frames = BATCH_EPISODES * game.limit

    def on_batch_collected(self, batch: Any) -> None:
        if self.window.over(self.experiment.total_frames, self.updates):
            raise Over

    def on_train_step(self, batch: Any, group: str) -> None:
        self.updates += self.experiment.total_frames > self._random_frames


def train(case: str, seconds: float, overrides: Sequence[str]) -> None:
    """Environment steps per second of its training loop."""
    game = GAMES[case]
    clock = _Clock(seconds, game)
    experiment = make_experiment(game, overrides, [clock])
    with contextlib.suppress(Over):
        experiment.run()
    report(**clock.window.result(), versions=versions("benchmarl", "torchrl", "torch", "numpy", "pettingzoo"))


def start(case: str, seconds: float, overrides: Sequence[str]) -> None:
    """Seconds to the first step of an environment; of simple_spread, unlike the others."""
    from torchrl.envs import PettingZooEnv

    PettingZooEnv._step = first_step_hook(PettingZooEnv._step)
    make_experiment(GAMES["w2-1"], overrides, []).run()


if __name__ == "__main__":
    kind, _, which = sys.argv[1].partition("-")
    {"train": train, "start": start}[kind](which, float(sys.argv[2]), sys.argv[3:])
