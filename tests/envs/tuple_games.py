"""Gymnasium environments in the tuple style with the peculiarities that an adapter must cope with."""

import random

import gymnasium
import numpy as np
from gymnasium import spaces


class Parts(gymnasium.Env):
    """Agent 0 sees 2 numbers and has 2 actions, agent 1 sees 3 and has 3; each is paid its action's number.

    Agent 1 dies at its first action 2, agent 0 ends the episode with its action 1. After ``steps`` steps the episode is
    called terminated, or truncated if ``honest``.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, steps=4, lists=True, honest=False, masked=False, common=False, render_mode=None):
        self.max_steps, self.lists, self.honest, self.masked, self.common = steps, lists, honest, masked, common
        self.render_mode = render_mode
        self.action_space = spaces.Tuple((spaces.Discrete(2), spaces.Discrete(3)))
        self.observation_space = spaces.Tuple([spaces.Box(-9, 99, (n,)) for n in (2, 3)])
        self.given = []

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.dead = 0, False
        return self.look(), self.info()

    def step(self, actions):
        assert all(type(action) is int for action in actions)
        self.given.append(list(actions))
        self.t += 1
        self.dead |= actions[1] == 2
        won, late = actions[0] == 1, self.t == self.max_steps
        terminated = [won or (late and not self.honest), won or self.dead or (late and not self.honest)]
        truncated = [late and self.honest] * 2
        rewards = [float(action) for action in actions]
        if not self.lists:
            terminated, truncated = terminated[0], truncated[0]
        return self.look(), sum(rewards) if self.common else rewards, terminated, truncated, self.info()

    def look(self):
        chance = random.random(), np.random.rand()  # noqa: NPY002
        return np.array([self.t, chance[0]]), np.array([self.t, *chance])

    def info(self):
        masks = [np.array([1, self.t % 2]), np.array([1, 1, self.t % 2])]
        return {"won": self.t * 0.1, **({"action_mask": masks} if self.masked else {})}

    def render(self):
        return np.full((2, 3, 3), self.t, np.uint8)


class Fight(gymnasium.Env):
    """Has masks that are longer than the action spaces, a state that keeps the last actions, and no time limit."""

    def __init__(self):
        self.action_space = spaces.Tuple((spaces.Discrete(2), spaces.Discrete(2)))
        self.observation_space = spaces.Tuple([spaces.Box(-9, 99, (1,))] * 2)
        self.last_actions = np.zeros(2)
        self.t = 0

    def reset(self, seed=None, options=None):
        self.t = 0
        return self.get_obs(), {"battle_won": False}

    def step(self, actions):
        self.t, self.last_actions = self.t + 1, np.array(actions, np.float64)
        return self.get_obs(), 1.5, self.t == 3, False, {"battle_won": self.t == 3}

    def get_obs(self):
        return [np.array([self.t])] * 2

    def get_state(self):
        return np.append(self.last_actions, self.t)

    def get_avail_actions(self):
        return [np.array([0.0, 1.0, 1.0])] * 2


class Alone(gymnasium.Env):
    """For one agent."""

    action_space, observation_space = spaces.Discrete(2), spaces.Box(0, 1, (1,))


gymnasium.register("Parts-v0", Parts)
gymnasium.register("Limited-v0", Parts, max_episode_steps=3, kwargs={"steps": None})
gymnasium.register("Endless-v0", Parts, kwargs={"steps": None})
gymnasium.register("Fight-v0", Fight)
gymnasium.register("Alone-v0", Alone)
