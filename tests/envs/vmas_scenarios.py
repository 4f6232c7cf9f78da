"""Scenarios of VMAS whose every number is known."""

import torch
from vmas.simulator.core import Agent, World
from vmas.simulator.scenario import BaseScenario


class Counting(BaseScenario):
    """Two agents of different sizes; the episode is over after as many steps as agent 0 was told at the start.

    What it counts is kept in all the ways in which scenarios keep something: changed in place, replaced, expanded, held
    in two places, in lists, tuples and dictionaries.
    """

    def make_world(self, batch_dim, device, **kwargs):
        self.n = kwargs.pop("n_agents", 2)
        self.lasts = kwargs.pop("lasts", 4)
        self.noise = kwargs.pop("noise", 0.0)
        world = World(batch_dim, device)
        for i in range(self.n):
            world.add_agent(Agent(name=f"agent_{i}", discrete_action_nvec=[3, 3] if i == 0 else [2, 2]))
        self.in_place = torch.zeros(batch_dim)
        self.replaced = torch.zeros(batch_dim)
        self.twice = {"same": self.in_place}
        self.nested = [(torch.zeros(batch_dim, 1),)]
        self.expanded = torch.zeros(1).expand(batch_dim)
        self.limit = torch.full((batch_dim,), self.lasts)
        return world

    def reset_world_at(self, env_index=None):
        rows = slice(None) if env_index is None else env_index
        start = torch.rand(self.world.batch_dim if env_index is None else 1)
        self.in_place[rows] = start
        self.replaced[rows] = 0
        self.nested[0][0][rows] = 0  # self.expanded is left as the last episode left it

    def post_step(self):
        self.in_place += 1
        self.replaced = self.replaced + self.world.agents[0].action.u.sum(dim=1)
        self.nested[0][0].add_(2)
        self.expanded = self.expanded + 3

    def reward(self, agent):
        return self.replaced + self.world.agents.index(agent)

    def observation(self, agent):
        known = [self.in_place, self.replaced, self.twice["same"], self.nested[0][0][:, 0], self.expanded]
        if self.noise:
            known[0] = known[0] + self.noise * torch.rand(self.world.batch_dim)
        return {"known": torch.stack(known if agent is self.world.agents[0] else known[:2], dim=1)}

    def done(self):
        return self.nested[0][0][:, 0] >= 2 * self.limit


class OneGoal(Counting):
    """One goal for all rows, chosen only when all are reset, as some of the library's scenarios do."""

    def reset_world_at(self, env_index=None):
        super().reset_world_at(env_index)
        if env_index is None:
            self.goal = float(torch.randint(0, 5, (1,)))

    def observation(self, agent):
        return {**super().observation(agent), "goal": torch.full((self.world.batch_dim, 1), self.goal)}


class Unmade(Counting):
    """Cannot be made."""

    def __init__(self):
        super().__init__()
        raise OSError("no\nengine")


class Worldless(Counting):
    """Its world cannot be made."""

    def make_world(self, batch_dim, device, **kwargs):
        raise KeyError("gravity")


class LateNoise(Counting):
    """Draws random numbers, but not in the first steps."""

    def reward(self, agent):
        late = bool(self.in_place[0] > 4)
        return super().reward(agent) + (torch.rand(self.world.batch_dim) if late else 0)
