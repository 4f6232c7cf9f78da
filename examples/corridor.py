"""A template: agents in a corridor are paid once they all stand in one place. Arrays are led by B, the rows."""

import numpy as np

from hymarl.components.rng import draw
from hymarl.components.spec import EnvSpec, TimeStep
from hymarl.envs.contract.scene import GridScene, Thing, team_color
from hymarl.registry import register


@register("env")
class Corridor:
    """Actions are left, stay, right; every step costs 0.1, the last one pays 1."""

    def __init__(self, agents: int | None, n_envs: int, *, length: int, steps: int) -> None:  # settings: after the *
        a = agents or 2
        self.n_envs, self.length = n_envs, length
        self.spec = EnvSpec(a, n_actions=3, obs_dim=2, state_dim=a, episode_limit=steps, metric_names=("together",))
        self.place, self.t = np.zeros((n_envs, a), np.int64), np.zeros(n_envs, np.int64)

    def reset(self, seeds, where):  # new episodes in the rows where[b]; all randomness derives from seeds[b]
        first = draw(seeds[:, None], np.arange(self.spec.n_agents)) % np.uint64(self.length)
        self.place[where], self.t[where] = first[where], 0
        return self.look().only(where)  # zeros in the other rows

    def step(self, actions, active):  # one joint action [B, A] in the rows active[b]; never resets by itself
        self.place[active] += actions[active] - 1
        self.t += active
        out, together = self.look(), (self.place == self.place[:, :1]).all(axis=1)
        out.reward[:] = np.where(together, 1.0, -0.1)
        out.terminated[:] = out.metrics[:, 0] = together  # over for good ...
        out.truncated[:] = ~together & (self.t == self.spec.episode_limit)  # ... or only cut off: never both
        return out.only(active)

    def look(self) -> TimeStep:
        out = TimeStep.zeros(self.spec, self.n_envs)
        out.state[:] = self.place / self.length
        out.obs[:] = np.stack([out.state, np.broadcast_to(out.state.mean(axis=1)[:, None], out.state.shape)], axis=-1)
        out.avail[:] = np.stack([self.place > 0, self.place >= 0, self.place < self.length - 1], axis=-1)
        return out

    def scene(self, row: int) -> GridScene:  # not required: render=gif and render=terminal show it
        things = [Thing(i, int(x), str(i), team_color(i)) for i, x in enumerate(self.place[row])]
        return GridScene(len(things), self.length, tuple(things), f"step {self.t[row]}")

    def close(self) -> None: ...
