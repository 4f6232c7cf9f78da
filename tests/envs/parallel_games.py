"""PettingZoo environments with the peculiarities that an adapter must cope with."""

import sys

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from hymarl.envs.adapters.pettingzoo_export import to_pettingzoo
from hymarl.envs.matrix_game import MatrixGame


class Uneven(ParallelEnv):
    """Agent ``a`` sees 2 numbers and has actions 3, 4 (masked in infos); ``b`` sees 3 and has 0, 1, 2 (masked in obs).

    ``b`` dies at its first action 2, and is cut off at ``b_until``. The episode is cut off after ``max_cycles`` steps,
    or terminates when ``a`` plays 4. An agent is paid its action number, a dead one 100.
    """

    metadata = {"name": "uneven"}  # noqa: RUF012

    def __init__(self, n=2, cycles=4, has_state=True, raise_at=None, b_until=None, shrink_at=None, render_mode=None):
        self.possible_agents = ["a", "b"][:n]
        self.max_cycles, self.render_mode = cycles, render_mode
        self.has_state, self.raise_at, self.b_until, self.shrink_at = has_state, raise_at, b_until, shrink_at
        box = spaces.Box(-np.inf, np.inf, (3,))
        masked = spaces.Dict({"observation": box, "action_mask": spaces.MultiBinary(3)})
        self.observation_spaces = {"a": spaces.Box(-np.inf, np.inf, (2,)), "b": masked}
        self.action_spaces = {"a": spaces.Discrete(2, start=3), "b": spaces.Discrete(3)}
        self.seeds = []

    def observation_space(self, agent):
        return self.observation_spaces[agent]

    def action_space(self, agent):
        return self.action_spaces[agent]

    def reset(self, seed=None, options=None):
        self.seeds.append(seed)
        self.seed, self.t, self.agents = seed, 0, list(self.possible_agents)
        return self.look(self.agents), self.infos(self.agents)

    def step(self, actions):
        assert set(actions) == set(self.agents), "only the living act"
        assert all(self.action_spaces[agent].contains(u) for agent, u in actions.items())
        self.t += 1
        if self.raise_at is not None and self.t == self.raise_at:
            self.raise_at = None
            raise RuntimeError("the board fell off the table")
        won = actions.get("a") == 4
        terminations = {agent: won or (agent == "b" and u == 2) for agent, u in actions.items()}
        truncations = {agent: self.t in (self.max_cycles, agent == "b" and self.b_until) for agent in actions}
        played = self.agents
        self.agents = [agent for agent in played if not (terminations[agent] or truncations[agent])]
        rewards = {agent: float(actions.get(agent, 100)) for agent in self.possible_agents}
        return self.look(played), rewards, terminations, truncations, self.infos(played)

    def state(self):
        if not self.has_state:
            raise NotImplementedError
        return np.array([self.seed % 97, self.t][: 1 if self.t == self.shrink_at else 2], np.float64)

    def look(self, agents):
        now = np.float32(self.t)
        mask = np.array([1, self.t % 2, 1], np.int8)
        seen = {"a": np.array([1, now]), "b": {"observation": np.array([2, now, now]), "action_mask": mask}}
        return {agent: seen[agent] for agent in agents}

    def infos(self, agents):
        own = {"a": {"action_mask": np.array([1, self.t > 0]), "score": self.t}, "b": {"score": 3 * self.t, "only": 1}}
        return {agent: own[agent] for agent in agents}

    def render(self):
        return np.full((2, 3, 4), self.t, np.uint8)


class Clipped(Uneven):
    """Says at its time limit that it is terminated."""

    def step(self, actions):
        observations, rewards, terminations, truncations, infos = super().step(actions)
        if self.t == self.max_cycles:
            terminations, truncations = dict.fromkeys(truncations, True), dict.fromkeys(truncations, False)
        return observations, rewards, terminations, truncations, infos


class Lingering(Uneven):
    """Lists, shows and calls ended its ended agents for the rest of the episode."""

    def reset(self, seed=None, options=None):
        self.ends = {}, {}
        return super().reset(seed, options)

    def step(self, actions):
        self.agents = [agent for agent in self.agents if not any(ends.get(agent) for ends in self.ends)]
        _, rewards, terminations, truncations, infos = super().step(actions)
        self.agents = list(self.possible_agents)
        self.ends = self.ends[0] | terminations, self.ends[1] | truncations
        return self.look(self.agents), rewards, *self.ends, infos


class Undeclared(Uneven):
    """Declares the space of the observation alone, as PettingZoo's tutorial on masks does, and observes tuples."""

    def __init__(self):
        super().__init__()
        self.observation_spaces = {"a": spaces.MultiDiscrete([2, 5]), "b": spaces.Box(-np.inf, np.inf, (3,))}

    def look(self, agents):
        seen = super().look(agents)
        mask = np.array([1, self.t > 0])
        return seen | ({"a": {"observation": (1, self.t), "action_mask": mask}} if "a" in seen else {})

    def infos(self, agents):
        return {agent: {} for agent in agents}


class NoState(Uneven):
    """Has no state but an attribute of that name, as PettingZoo's games between two have."""

    state = {"a": 1}  # noqa: RUF012


class BrokenState(Uneven):
    """Has a state that cannot be computed."""

    def state(self):
        return self.forgotten


class DictState(Uneven):
    """Has a state that is not an array."""

    def state(self):
        return {"a": 1}


class Damaged(Uneven):
    """Has one defect, ``what``, in observations, masks, the state, rewards or ends from the first step on."""

    def __init__(self, what, number=0):
        super().__init__()
        self.what, self.number = what, float(number)

    def look(self, agents):
        seen = super().look(agents)
        if self.what == "obs" and self.t:
            seen["a"] = np.array([1, self.number])
        return seen

    def state(self):
        return np.array([self.number if self.what == "state" and self.t else 0.0, 0.0])

    def step(self, actions):
        observations, rewards, *rest = super().step(actions)
        if self.what == "ends":
            rest[0] = rest[1] = {"__all__": True}
        return observations, rewards | ({"b": self.number} if self.what == "reward" else {}), *rest

    def infos(self, agents):
        infos = super().infos(agents)
        if self.what == "mask" and self.t:
            infos["a"]["action_mask"] = np.ones(int(self.number))
        return infos


class Quitting(Uneven):
    """Ends the program, at ``when``: making, reset or step."""

    def __init__(self, when="step"):
        super().__init__()
        self.when = when
        if when == "making":
            sys.exit("no licence")

    def reset(self, seed=None, options=None):
        if self.when == "reset" and self.seeds:
            sys.exit(3)
        return super().reset(seed, options)

    def step(self, actions):
        sys.exit(3)


class Over(Uneven):
    """Has no agents from its second reset on."""

    def reset(self, seed=None, options=None):
        result = super().reset(seed, options)
        self.agents = self.agents if len(self.seeds) == 1 else []
        return result


class Talking(Uneven):
    """Tells ``won`` in the last step only, a list in every one, and ``lucky`` never or after the first step."""

    def __init__(self, lucky=False, silent=False):
        super().__init__()
        self.lucky, self.silent = lucky, silent

    def infos(self, agents):
        if self.silent:
            return {}
        told = {"list": [1, 2]} | ({"won": 1} if self.t == self.max_cycles else {})
        told |= {"lucky": 1} if self.lucky and self.t == 1 else {}
        return dict.fromkeys(agents, told)


class Picky(Uneven):
    """Cannot be made: raises what is asked for."""

    def __init__(self, error="OSError"):
        if error == "TypeError":
            len(3)
        raise {"OSError": OSError, "ValueError": ValueError}[error]("there is\nno display")


class FailingFirst(Uneven):
    """Cannot be reset."""

    def reset(self, seed=None, options=None):
        raise KeyError("board")


class Drawing(Uneven):
    """Draws ``what``."""

    def __init__(self, what):
        super().__init__(render_mode="rgb_array")
        self.what = what

    def render(self):
        match self.what:
            case "float":
                return np.full((2, 3, 3), 0.5)
            case "bytes as float":
                return np.full((2, 3, 3), 200.0)
            case "bool":
                return np.full((2, 3, 3), True)
            case "nothing":
                return None
        raise OSError("no display\nat :0")


def last_available(situation):
    """A scripted agent; says what it saw."""
    assert (situation.name, situation.names) == ("b", ("a", "b"))
    assert situation.observation[0] == 2
    return int(np.flatnonzero(situation.available)[-1])


def chance(situation):
    """A scripted agent that plays 0 or 1."""
    return int(situation.generator.integers(2)) if situation.available[1] else 0


def undecided(situation):
    """A scripted agent that does not say what it does."""


def mistaken(situation):
    """A scripted agent that plays an action which there is not."""
    return 3


def climbing(steps=3):
    """One of our own environments, as other libraries see it."""
    tables = [[11, -30, 0], [-30, 7, 0], [0, 6, 5]]
    game = MatrixGame(
        None, 1, payoffs=tables, next_state=None, steps=steps, observe_step=True, individual_rewards=False
    )
    return to_pettingzoo(game)


def drawn():
    """An agent with continuous actions."""
    game = Uneven()
    game.action_spaces["a"] = spaces.Box(-1, 1, (1,))
    return game


def endless():
    """An environment that does not say how long it lasts."""
    game = Uneven()
    del game.max_cycles
    return game
