"""XuanCe: ``python peer_xuance.py CASE SECONDS [KEY=VALUE ...]`` with keys of its configuration.

Its own agent class, vectorized environments, buffer and learner, in its own training loop (`QMIX_Agents.train`).
Stubbed: torchvision, wandb, moviepy, cv2, pyglet. Hooked: `run_episodes`, to read the clock between iterations. Added:
an environment class for Level-Based Foraging, which it does not bring.
"""

from __future__ import annotations

import contextlib
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from measure import Over, Window, first_step_hook, report, versions
from stubs import stub
from workloads import BATCH_EPISODES, BUFFER_EPISODES, FC, GAMES, GRU, HYPERNET, MIXING, Game

stub("torchvision.transforms", "torchvision.models", "wandb", "moviepy.editor", "cv2", "pyglet.resource")

import numpy as np  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from gymnasium.spaces import Box  # noqa: E402
from xuance.environment import REGISTRY_MULTI_AGENT_ENV, RawMultiAgentEnv, make_envs  # noqa: E402
from xuance.torch.agents import QMIX_Agents  # noqa: E402


class Foraging(RawMultiAgentEnv):
    """Level-Based Foraging as XuanCe wants an environment to be; the reward is the sum, the state all observations."""

    def __init__(self, config: Namespace) -> None:
        super().__init__()
        import gymnasium
        import lbforaging  # noqa: F401 (registers its tasks)

        self.env = gymnasium.make(config.env_id).unwrapped
        self.num_agents = self.env.n_agents
        self.agents = [f"agent_{i}" for i in range(self.num_agents)]
        spaces = self.env.observation_space, self.env.action_space
        self.observation_space = dict(zip(self.agents, spaces[0], strict=True))
        self.action_space = dict(zip(self.agents, spaces[1], strict=True))
        size = self.num_agents * spaces[0][0].shape[0]
        self.state_space = Box(-np.inf, np.inf, (size,), np.float32)
        self.max_episode_steps = self.env._max_episode_steps
        self.agent_groups = [self.agents]
        self._t, self._obs = 0, ()
        self._scores: dict[str, float] = {}

    def reset(self) -> tuple[dict[str, Any], dict[str, Any]]:
        self._obs, _ = self.env.reset()
        self._t, self._scores = 0, dict.fromkeys(self.agents, 0.0)
        return dict(zip(self.agents, self._obs, strict=True)), self._info()

    def step(self, actions: Mapping[str, int]) -> tuple[Any, ...]:
        self._obs, rewards, terminated, _, _ = self.env.step([int(actions[a]) for a in self.agents])
        self._t += 1
        team = dict.fromkeys(self.agents, float(sum(rewards)))
        for agent, reward in team.items():
            self._scores[agent] += reward
        ended = dict.fromkeys(self.agents, bool(terminated))
        return (
            dict(zip(self.agents, self._obs, strict=True)),
            team,
            ended,
            self._t >= self.max_episode_steps,
            self._info(),
        )

    def state(self) -> np.ndarray:
        return np.concatenate(self._obs)

    def agent_mask(self) -> dict[str, bool]:
        return dict.fromkeys(self.agents, True)

    def avail_actions(self) -> dict[str, np.ndarray]:
        return {a: np.ones(self.action_space[a].n, np.bool_) for a in self.agents}

    def render(self, *args: Any) -> None:
        pass

    def close(self) -> None:
        self.env.close()

    def _info(self) -> dict[str, Any]:
        return {"infos": {}, "individual_episode_rewards": self._scores}


def configuration(game: Game, overrides: Sequence[str]) -> Namespace:
    """Its own values for simple_spread, with the workload's sizes."""
    configs = files("xuance") / "configs"
    values: dict[str, Any] = yaml.safe_load((configs / "basic.yaml").read_text())
    values |= yaml.safe_load((configs / "qmix/mpe/simple_spread_v3.yaml").read_text())
    values |= {"representation": "Basic_RNN", "use_rnn": True, "rnn": "GRU", "use_parameter_sharing": True}
    values |= {"fc_hidden_sizes": [FC], "recurrent_hidden_size": GRU, "q_hidden_size": []}
    values |= {"hidden_dim_mixing_net": MIXING, "hidden_dim_hyper_net": HYPERNET, "use_actions_mask": False}
    values |= {"parallels": game.n_envs, "buffer_size": BUFFER_EPISODES, "batch_size": BATCH_EPISODES, "n_epochs": 1}
    values |= {"start_training": BATCH_EPISODES * game.limit, "training_frequency": 1, "sync_frequency": 200}
    values |= {"start_greedy": 1.0, "end_greedy": 0.05, "decay_step_greedy": 50_000, "learning_rate": 5e-4}
    values |= {
        "use_grad_clip": True,
        "grad_clip_norm": 10.0,
        "logger": "tensorboard",
        "device": "cpu",
        "dl_toolbox": "torch",
    }
    values |= {"distributed_training": False, "render": False, "render_mode": "rgb_array", "double_q": True}
    if game.name == "lbf":
        values |= {"env_name": "foraging", "env_id": f"{game.task}-v3"}
    for override in overrides:
        key, _, value = override.partition("=")
        values[key] = yaml.safe_load(value)
    return Namespace(**values)


def train(case: str, seconds: float, overrides: Sequence[str]) -> None:
    """Environment steps per second of its training loop."""
    game = GAMES[case]
    agents = make_agents(game, overrides)
    window, run_episodes = Window(seconds), agents.run_episodes

    def hooked(*args: Any, **kwargs: Any) -> Any:
        if window.over(agents.current_step, agents.learner.iterations):
            raise Over
        return run_episodes(*args, **kwargs)

    agents.run_episodes = hooked
    with contextlib.suppress(Over):
        agents.train(10**9)
    parameters = sum(p.numel() for p in agents.policy.parameters_model)
    names = versions("xuance", "torch", "numpy", "pettingzoo")
    report(**window.result(), parameters=parameters, versions=names)
    agents.train_envs.close()


def make_agents(game: Game, overrides: Sequence[str]) -> Any:
    """Its agents, on its environments."""
    torch.set_num_threads(1)
    REGISTRY_MULTI_AGENT_ENV["foraging"] = Foraging
    config = configuration(game, overrides)
    return QMIX_Agents(config, make_envs(config))


def start(case: str, seconds: float, overrides: Sequence[str]) -> None:
    """Seconds to the first step of an environment."""
    agents = make_agents(GAMES["w1-1"], overrides)
    agents.train_envs.step = first_step_hook(agents.train_envs.step)
    agents.train(10**9)


if __name__ == "__main__":
    kind, _, which = sys.argv[1].partition("-")
    {"train": train, "start": start}[kind](which, float(sys.argv[2]), sys.argv[3:])
