"""Environments with PyMARL's interface, and with what has become of it."""

import random

import numpy as np
import torch


class Duel:
    """Agents are paid the sum of their actions and win when all play 2; after ``limit`` steps it is over.

    It draws from the global generators at reset and in every step, and changes the dictionary that it is given.
    """

    def __init__(self, n=2, limit=4, tells=False, units=None):
        self.n, self.episode_limit, self.tells = n, limit, tells
        self.units = units
        if units:
            self.n = units["n_units"]
            units["n_units"] = None

    def get_env_info(self):
        return {
            "n_agents": self.n,
            "n_actions": 3,
            "obs_shape": 3,
            "state_shape": 2,
            "episode_limit": self.episode_limit,
        }

    def reset(self):
        self.t = 0
        self.draw()

    def step(self, actions):
        self.t += 1
        self.draw()
        won = min(actions) == 2
        late = self.t == self.episode_limit
        info = {"battle_won": won} | ({"episode_limit": True} if late and not won and self.tells else {})
        return float(sum(actions)), won or late, info

    def draw(self):
        self.chance = random.random(), np.random.randint(1000)  # noqa: NPY002

    def get_obs(self):
        return [np.array([i, self.t, self.chance[0]]) for i in range(self.n)]

    def get_state(self):
        return np.array([self.t, self.chance[1]])

    def get_avail_actions(self):
        return [[1, self.t % 2, 1]] * self.n


class Newer(Duel):
    """As EPyMARL has it: observations and truncation in what ``step`` returns, rewards per agent, a seed."""

    def reset(self, seed=None, options=None):
        self.seed = seed
        super().reset()
        return self.get_obs(), {}

    def step(self, actions):
        _, over, info = super().step(actions)
        won = info.pop("battle_won")
        return self.get_obs(), [float(u) for u in actions], won, over and not won, {"battle_won": won}


class Telling(Duel):
    """Has 77 under each of these names in its infos."""

    def __init__(self, names=()):
        super().__init__()
        self.names = names

    def step(self, actions):
        reward, over, info = super().step(actions)
        return reward, over, info | dict.fromkeys(self.names, 77.0)


class Stuck(Duel):
    """Leaves the second agent no action."""

    def get_avail_actions(self):
        return [[1, 1, 1], [0, 0, 0]]


class Tensors(Duel):
    """Uses the actions as the array that PyMARL gives, overwrites them, and returns tensors."""

    def step(self, actions):
        assert (actions.shape, actions.dtype, actions.tolist()) == ((self.n,), np.int64, list(actions))
        attackers = (actions == 2).sum()
        _, over, info = super().step(actions)
        actions[:] = 0
        over = torch.tensor([over] * self.n)
        return self.get_obs(), torch.tensor(float(attackers)), over, torch.zeros_like(over), info


class Unfinished:
    """Lacks most of the interface."""

    def reset(self):
        """Does nothing."""

    def step(self, actions):
        """Does nothing."""


class StarCraft2Env(Duel):
    """Takes the arguments of SMAC's class that this project sets, with its meaning of a time limit."""

    def __init__(self, map_name, continuing_episode):
        assert map_name == "2s3z"
        super().__init__(tells=continuing_episode)

    def step(self, actions):
        reward, over, info = super().step(actions)
        return reward, over, info | {"dead_allies": 0, "dead_enemies": 0}


class StarCraftCapabilityEnvWrapper(Duel):
    """The same for SMACv2, which changes its configuration."""

    def __init__(self, capability_config, **kwargs):
        assert kwargs["map_name"] == "10gen_terran"
        super().__init__(n=capability_config["n_units"], tells=kwargs["continuing_episode"])
        capability_config["team_gen"]["n_units"] = capability_config.pop("n_units")
