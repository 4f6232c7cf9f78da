"""One small game of two agents with each of three interfaces, and what people get wrong when they write one.

``DEFECTS`` has, by interface and by name, the sentence that must be said and the methods that are wrong; ``ODDITIES``
has what is unusual but clear, and plays as the game itself does: an agent is paid its action.
"""

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv

AGENTS = ("a", "b")
LIMIT = 3


class Parallel(ParallelEnv):
    """PettingZoo's interface."""

    metadata = {"name": "parallel"}  # noqa: RUF012
    possible_agents = AGENTS
    max_cycles = LIMIT

    def observation_space(self, agent):
        return spaces.Box(-9, 9, (2,))

    def action_space(self, agent):
        return spaces.Discrete(2)

    def look(self):
        return {agent: np.full(2, self.t) for agent in AGENTS}

    def reset(self, seed=None, options=None):
        self.t, self.agents = 0, list(AGENTS)
        return self.look(), {agent: {} for agent in AGENTS}

    def step(self, actions):
        self.t += 1
        late = self.t == LIMIT
        self.agents = [] if late else self.agents
        paid = {agent: float(action) for agent, action in actions.items()}
        return self.look(), paid, dict.fromkeys(AGENTS, False), dict.fromkeys(AGENTS, late), {a: {} for a in AGENTS}


class Tuples(gymnasium.Env):
    """Gymnasium's interface with one space per agent."""

    max_steps = LIMIT

    def __init__(self):
        self.action_space = spaces.Tuple([spaces.Discrete(2)] * 2)
        self.observation_space = spaces.Tuple([spaces.Box(-9, 9, (2,))] * 2)

    def look(self):
        return tuple(np.full(2, self.t) for _ in AGENTS)

    def reset(self, seed=None, options=None):
        self.t = 0
        return self.look(), {}

    def step(self, actions):
        self.t += 1
        return self.look(), [float(action) for action in actions], False, self.t == LIMIT, {}


class Old:
    """PyMARL's interface."""

    def get_env_info(self):
        return {"n_agents": 2, "n_actions": 2, "obs_shape": 2, "state_shape": 1, "episode_limit": LIMIT}

    def reset(self):
        self.t = 0

    def step(self, actions):
        self.t += 1
        return [float(action) for action in actions], self.t == LIMIT, {}

    def get_obs(self):
        return [np.full(2, self.t) for _ in AGENTS]

    def get_state(self):
        return np.array([self.t])

    def get_avail_actions(self):
        return [[1, 1]] * 2


class Turns(AECEnv):
    """PettingZoo's other interface."""

    possible_agents = AGENTS


def reset_to(value):
    """Methods of an environment whose reset returns something."""

    def reset(self, seed=None, options=None):
        type(self).__mro__[1].reset(self)
        return value

    return {"reset": reset}


def step_to(change):
    """Methods of an environment whose step returns what ``change`` makes of the list of what it should."""

    def step(self, actions):
        return change(list(type(self).__mro__[1].step(self, actions)))

    return {"step": step}


def with_part(number, value):
    """Methods of an environment whose step returns something else in one place."""
    return step_to(lambda returned: (*returned[:number], value, *returned[number + 1 :]))


def constant(**values):
    """Methods that return something whatever they are given."""
    return {name: lambda self, *args, value=value: value for name, value in values.items()}


RESET_PAIR = r"reset\(\) must return \(observations, infos?\), it returned"
STEP_FIVE = r"step\(\) must return \(observations, rewards, terminat\w+, truncat\w+, infos?\), it returned"
TAKES_SEED = r"reset\(\) must take a seed, def reset\(self, seed=None, options=None\), but got an unexpected .*'seed'"
OLD_RESET = {"reset": lambda self: None}

COMMON = {
    "reset returns nothing": (f"{RESET_PAIR} None", reset_to(None)),
    "reset takes no seed": (TAKES_SEED, OLD_RESET),
    "step returns nothing": (f"{STEP_FIVE} None", step_to(lambda _: None)),
    "step returns four values": (rf"{STEP_FIVE} (4 values|\(\()", step_to(lambda returned: tuple(returned[:4]))),
    "infos are a list": (
        r"step\(\) must return the infos as a dictionary, it returned \['a', 'b'\]",
        with_part(4, [*AGENTS]),
    ),
}

DEFECTS = {
    "pettingzoo": COMMON
    | {
        "reset returns observations alone": (f"{RESET_PAIR} {{'a': 0, 'b': 0}}", reset_to({"a": 0, "b": 0})),
        "observations are a list": (
            r"reset\(\) must return the observations as a dictionary with one for each agent, it returned \[1, 2\]",
            reset_to(([1, 2], {})),
        ),
        "an observation is missing": (
            "there is no observation for agent 'b', which plays",
            with_part(0, {"a": [1, 1]}),
        ),
        "an observation is too short": (
            "the observation of agent 'a' must be in its observation_space, which has 2 numbers; it is array",
            with_part(0, dict.fromkeys(AGENTS, np.zeros(1))),
        ),
        "an observation is nothing": (
            "must be in its observation_space, .*it is None",
            with_part(0, dict.fromkeys(AGENTS)),
        ),
        "terminated is one for all": (
            r"must return the terminations as a dictionary .*it returned False",
            with_part(2, False),
        ),
        "truncated is one for all": (
            r"must return the truncations as a dictionary .*it returned True",
            with_part(3, True),
        ),
        "a reward is nothing": (
            r"step\(\) must return each reward as a number, it returned None",
            with_part(1, {"a": None}),
        ),
        "a reward is two numbers": (r"each reward as a number, it returned \[1, 2\]", with_part(1, {"a": [1, 2]})),
        "rewards are three": (
            r"one reward for all or one for each of the 2 agents, it returned \[1, 2, 3\]",
            with_part(1, [1, 2, 3]),
        ),
        "a mask is a word": (
            "agent 'a' has 2 actions, but its action_mask is 'all'",
            with_part(4, {"a": {"action_mask": "all"}}),
        ),
        "agents take turns": ("it is an AEC environment, whose agents take turns; .*aec_to_parallel", Turns),
        "it is something else": (
            "a dict does not have the interface of PettingZoo's ParallelEnv: it lacks possible_a",
            dict,
        ),
        "it lists no agents": ("possible_agents is empty", constant() | {"possible_agents": None}),
    },
    "gymnasium": COMMON
    | {
        "reset returns observations alone": (
            r"reset\(\) must return the infos as a dictionary, it returned \[0, 0\]",
            reset_to(([0, 0], [0, 0])),
        ),
        "an observation is missing": (
            r"step\(\) must return one observation for each of the 2 agents, it returned \(\[1, 1\],\)",
            with_part(0, ([1, 1],)),
        ),
        "an observation is nothing": ("must be in its observation_space, .*it is None", with_part(0, (None, None))),
        "observations are a number": (r"one observation for each of the 2 agents, it returned 7", with_part(0, 7)),
        "rewards are three": (
            r"one reward for all or one for each of the 2 agents, it returned \[1, 2, 3\]",
            with_part(1, [1, 2, 3]),
        ),
        "the reward is nothing": (
            "one reward for all or one for each of the 2 agents, it returned None",
            with_part(1, None),
        ),
        "ends are three": (
            r"one value of terminated for all or one for each of the 2 agents, it returned \[False, False, False\]",
            with_part(2, [False] * 3),
        ),
        "masks are for one": (
            r"the action_mask in the info of step\(\) must be a list with one mask for each agent, it is \[\[1, 1\]\]",
            with_part(4, {"action_mask": [[1, 1]]}),
        ),
        "masks are by name": (
            r"the action_mask in the info of step\(\) must be a list with one mask for each agent, it is {'a': 1}",
            with_part(4, {"action_mask": {"a": 1}}),
        ),
    },
    "pymarl": {
        "reset takes an argument": (
            r"reset\(\) must need nothing, or a seed, def reset\(self, seed=None\), but missing .*'level'",
            {"reset": lambda self, level: None},
        ),
        "step takes nothing": (
            r"step\(\) must take the agents' actions, def step\(self, actions\), but too many",
            {"step": lambda self: None},
        ),
        "step returns nothing": (
            r"step\(\) must return \(reward, terminated, info\) or \(observations, .*, info\), it returned None",
            step_to(lambda _: None),
        ),
        "step returns four values": (
            r", info\), it returned 4 values \(list, list, bool, dict\)",
            step_to(lambda returned: ([[1] * 30] * 2, *returned)),
        ),
        "infos are a list": (r"step\(\) must return the infos as a dictionary, it returned \[1\]", with_part(2, [1])),
        "rewards are three": (
            r"one reward for all or one for each of the 2 agents, it returned \[1, 2, 3\]",
            with_part(0, [1, 2, 3]),
        ),
        "the reward is nothing": (
            "one reward for all or one for each of the 2 agents, it returned None",
            with_part(0, None),
        ),
        "observations are ragged": (
            r"get_obs\(\) must return 2 numbers for each of 2 agents, it returned rows of 2, 1",
            constant(get_obs=[[0, 0], [0]]),
        ),
        "observations are for three": (
            r"get_obs\(\) must .*, it returned rows of 2, 2, 2",
            constant(get_obs=[[0, 0]] * 3),
        ),
        "observations are nothing": (r"get_obs\(\) must return 2 numbers .*, it returned None", constant(get_obs=None)),
        "observations are words": (r"get_obs\(\) must .*, it returned rows of 0, 0", constant(get_obs=["one", "two"])),
        "state is too long": (r"get_state\(\) must return 1 numbers, it returned 2", constant(get_state=[0, 1])),
        "state is nothing": (r"get_state\(\) must return 1 numbers, it returned None", constant(get_state=None)),
        "masks are ragged": (
            r"get_avail_actions\(\) must return 2 .*rows of 2, 3",
            constant(get_avail_actions=[[1] * 2, [1] * 3]),
        ),
        "masks are nothing": (r"get_avail_actions\(\) must return 2 .*returned None", constant(get_avail_actions=None)),
        "sizes are nothing": (
            r"get_env_info\(\) must return a dictionary with n_agents, .*",
            constant(get_env_info=None),
        ),
        "a size lacks": (
            r"get_env_info\(\) must return .*; it lacks n_actions",
            constant(get_env_info={"n_agents": 2}),
        ),
        "a size is a fraction": (
            r"get_env_info\(\) must give n_agents as a whole number from 1 on, got 2.0",
            constant(get_env_info={"n_agents": 2.0}),
        ),
        "it is something else": ("a dict does not have the interface of PyMARL: it lacks reset, step, get_obs", dict),
    },
}

NUMBERS = {
    "arrays of one number": lambda x: np.array([x]),
    "arrays without an axis": lambda x: np.array(x),
    "arrays of one row": lambda x: np.array([[x]]),
    "lists of one number": lambda x: [x],
    "tensors": lambda x: torch.tensor(x),
    "NumPy's numbers": np.float32,
    "whole numbers": int,
}


def paid_as(form, place, of_all=False):
    """Methods of an environment whose rewards are numbers in another form."""

    def change(returned):
        rewards = returned[place]
        if of_all:
            paid = form(sum(rewards.values() if isinstance(rewards, dict) else rewards))
        elif isinstance(rewards, dict):
            paid = {agent: form(reward) for agent, reward in rewards.items()}
        else:
            paid = [form(reward) for reward in rewards]
        return (*returned[:place], paid, *returned[place + 1 :])

    return step_to(change)


ODDITIES = {
    interface: {
        **{name: paid_as(form, place) for name, form in NUMBERS.items()},
        **{f"one for all, {name}": paid_as(form, place, of_all=True) for name, form in NUMBERS.items()},
        "no infos": with_part(place if place == 0 else 4, None) if interface != "pymarl" else with_part(2, None),
    }
    for interface, place in (("pettingzoo", 1), ("gymnasium", 1), ("pymarl", 0))
}
ODDITIES["pettingzoo"] |= {
    "an agent's info is nothing": with_part(4, dict.fromkeys(AGENTS)),
    "neither has reset": {"reset": lambda self, seed=None, options=None: (Parallel.reset(self)[0], None)},
}
ODDITIES["gymnasium"] |= {
    "no info of reset": {"reset": lambda self, seed=None, options=None: (Tuples.reset(self)[0], None)},
    "ends in arrays": step_to(lambda r: (*r[:2], np.array(r[2]), np.array([r[3]]), r[4])),
}


def made(interface, base, name):
    """The game with the defect or oddity of this name."""
    known = ODDITIES[interface] | {defect: methods for defect, (_, methods) in DEFECTS[interface].items()}
    methods = known[name]
    return type("Broken", (base,), methods)() if isinstance(methods, dict) else methods()


def pettingzoo(name):
    return made("pettingzoo", Parallel, name)


def pymarl(name):
    return made("pymarl", Old, name)


gymnasium.register("Broken-v0", lambda name: made("gymnasium", Tuples, name))
