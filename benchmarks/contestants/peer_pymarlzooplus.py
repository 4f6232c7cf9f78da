"""pymarlzooplus: ``python peer_pymarlzooplus.py CASE SECONDS [KEY=VALUE ...]`` with keys of its configuration.

Its own environments, runner, buffer, controller and learner, in its own training loop (`run_sequential`). Stubbed:
cv2, IPython, ipywidgets, wandb, transformers, albumentations, torchvision. Hooked: the runner's `run`, to read the
clock between iterations. sacred and the console are left out.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Sequence
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

from measure import Over, Window, first_step_hook, report, report_update, versions
from stubs import stub
from workloads import BATCH_EPISODES, BUFFER_EPISODES, GAMES, GRU, HYPERNET, LEARNER, MIXING, Game, Sizes

stub("cv2", "IPython.display", "ipywidgets", "wandb", "transformers", "torchvision.models")
stub("albumentations.pytorch")

import torch  # noqa: E402
import yaml  # noqa: E402
from pymarlzooplus.components.episode_buffer import EpisodeBatch  # noqa: E402
from pymarlzooplus.components.transforms import OneHot  # noqa: E402
from pymarlzooplus.controllers import REGISTRY as CONTROLLERS  # noqa: E402
from pymarlzooplus.learners import REGISTRY as LEARNERS  # noqa: E402
from pymarlzooplus.learners.q_learner import QLearner  # noqa: E402
from pymarlzooplus.run import run_sequential  # noqa: E402
from pymarlzooplus.runners import REGISTRY as RUNNERS  # noqa: E402
from pymarlzooplus.utils.logging_setup import Logger  # noqa: E402


def configuration(overrides: Sequence[str]) -> dict[str, Any]:
    """Its own values for QMIX, with the workload's sizes."""
    config = files("pymarlzooplus") / "config"
    values: dict[str, Any] = yaml.safe_load((config / "default.yaml").read_text())
    values |= yaml.safe_load((config / "algs" / "qmix.yaml").read_text())
    values |= {"hidden_dim": GRU, "mixing_embed_dim": MIXING, "hypernet_layers": 2, "hypernet_embed": HYPERNET}
    values |= {"buffer_size": BUFFER_EPISODES, "batch_size": BATCH_EPISODES, "num_circle": 1, "double_q": True}
    values |= {"use_cuda": False, "use_cuda_cnn_modules": False, "device": "cpu", "device_cnn_modules": "cpu"}
    values |= {"standardise_rewards": False, "seed": 1, "t_max": 10**9, "test_interval": 10**9, "test_nepisode": 1}
    for override in overrides:
        key, _, value = override.partition("=")
        values[key] = yaml.safe_load(value)
    return values


def game_values(game: Game) -> dict[str, Any]:
    """Where it plays: `gymma`, its wrapper of Gymnasium; simple_spread is its own old copy."""
    key = f"lbforaging:{game.task}-v3" if game.name == "lbf" else f"mpe:SimpleSpread-{game.agents}-v0"
    env = {"key": key, "time_limit": game.limit, "seed": 1, "render": False}
    runner = "episode" if game.n_envs == 1 else "parallel"
    tests = {"test_nepisode": game.n_envs}  # one at the start, before the clock runs
    return {"env": "gymma", "env_args": env, "runner": runner, "batch_size_run": game.n_envs, **tests}


class _Quiet(Logger):
    """Its logger without its table on the console."""

    def print_recent_stats(self, *args: Any, **kwargs: Any) -> None:
        pass


def logger() -> Logger:
    """Its logger, silent."""
    return _Quiet(logging.getLogger("silent"))


def play(game: Game, overrides: Sequence[str], runner_type: type) -> None:
    """Its training loop with this runner."""
    torch.set_num_threads(1)
    values = configuration(overrides) | game_values(game)
    RUNNERS[values["runner"]] = runner_type
    run_sequential(SimpleNamespace(**values), logger())


def train(case: str, seconds: float, overrides: Sequence[str]) -> None:
    """Environment steps per second of its training loop."""
    game, window = GAMES[case], Window(seconds)

    class Hooked(RUNNERS["episode" if game.n_envs == 1 else "parallel"]):
        def run(self, test_mode: bool = False) -> Any:
            learner = self.mac.learner
            if not test_mode and window.over(self.t_env, learner.training_steps):
                parameters = sum(p.numel() for p in learner.params)
                names = versions("pymarlzooplus", "torch", "numpy", "lbforaging")
                report(**window.result(), parameters=parameters, versions=names)
                self.close_env()
                raise Over
            return super().run(test_mode=test_mode)

    with contextlib.suppress(Over):
        play(game, overrides, Hooked)


def start(case: str, seconds: float, overrides: Sequence[str]) -> None:
    """Seconds to the first step of an environment."""

    class Hooked(RUNNERS["episode"]):
        def setup(self, *args: Any, **kwargs: Any) -> None:
            super().setup(*args, **kwargs)
            self.env.step = first_step_hook(self.env.step)

    play(GAMES["w1-1"], overrides, Hooked)


def learner(case: str, seconds: float, overrides: Sequence[str]) -> None:
    """One update of its learner on a synthetic batch."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    s = LEARNER[case]
    values = configuration(overrides) | {"n_agents": s.agents, "n_actions": s.actions, "state_shape": s.state}
    args = SimpleNamespace(**values)
    batch = synthetic_batch(s)
    controller = CONTROLLERS[args.mac](batch.scheme, {"agents": s.agents}, args)
    made: QLearner = LEARNERS[args.learner](controller, batch.scheme, logger(), args)
    made.log_stats_t = 0  # it has just logged
    names = versions("pymarlzooplus", "torch", "numpy")
    report_update(lambda: made.train(batch, 0, 0), s, seconds, versions=names)


def synthetic_batch(s: Sizes) -> EpisodeBatch:
    """Full episodes of noise, with the fields its training loop uses."""
    agents = {"group": "agents"}
    scheme = {
        "state": {"vshape": s.state},
        "obs": {"vshape": s.obs, **agents},
        "actions": {"vshape": (1,), "dtype": torch.long, **agents},
        "avail_actions": {"vshape": (s.actions,), "dtype": torch.int, **agents},
        "reward": {"vshape": (1,)},
        "terminated": {"vshape": (1,), "dtype": torch.uint8},
    }
    preprocess = {"actions": ("actions_onehot", [OneHot(out_dim=s.actions)])}
    batch = EpisodeBatch(scheme, {"agents": s.agents}, s.episodes, s.steps + 1, preprocess=preprocess)
    rows = (s.episodes, s.steps + 1)
    noise = {
        "state": torch.randn(*rows, s.state),
        "obs": torch.randn(*rows, s.agents, s.obs),
        "actions": torch.randint(s.actions, (*rows, s.agents, 1)),
        "avail_actions": torch.ones(*rows, s.agents, s.actions, dtype=torch.int),
        "reward": torch.randn(*rows, 1),
    }
    batch.update(noise)
    return batch


if __name__ == "__main__":
    kind, _, which = sys.argv[1].partition("-")
    {"train": train, "start": start, "learner": learner}[kind](which, float(sys.argv[2]), sys.argv[3:])
