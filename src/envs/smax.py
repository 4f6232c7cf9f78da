"""SMAX, the battles of SMAC without StarCraft, from JaxMARL (Rutherford et al., NeurIPS 2024), compiled by JAX."""

from __future__ import annotations

import inspect
import json
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..components.rng import UInt64Array
from ..components.spec import BoolArray, EnvSpec, IntArray, TimeStep
from ..ranges import Count
from ..registry import register, suggest
from .adapters.importing import imported, with_agents
from .adapters.single import describe
from .contract.team_state import State, of_observations, state_dim

_INSTALL = "pip install 'hymarl[smax]'"
_OWN_ARGUMENTS = frozenset({"scenario", "max_steps", "action_type"})
"""Arguments of the library that are settings here, or not open."""


class Numbers(NamedTuple):
    """What the compiled functions return, as JAX arrays led by B.

    Attributes:
        obs: ``[B, A, O]``.
        state: ``[B, S]``.
        avail: ``[B, A, U]``.
        reward: ``[B]``.
        over: ``[B]`` whether one side is gone.
        won: ``[B]`` whether the enemies are gone and the allies are not.
    """

    obs: Any
    state: Any
    avail: Any
    reward: Any
    over: Any
    won: Any


@register("env")
class Smax:
    """An SMAX battle against the library's scripted enemies; all rows are one compiled computation.

    The agents are the allies. A dead one has zero observations and can only stop (action 4). The own state is the
    library's world state. The reward is the library's, which all allies have in common: the enemies' loss of health, as
    a share of all they had, and a bonus for winning. The episode is terminated when a side is gone and truncated at the
    time limit. The metric ``won`` is 1 at the end of a battle after which there are allies but no enemies; its mean is
    the win rate.

    The first reset and the first step compile for some seconds, once per process for the same settings and B. An
    episode's random numbers derive from all 64 bits of its seed and from the step's number.

    Args:
        agents: the number of allies asked for; ``None`` is the scenario's own.
        n_envs: B.
        scenario: a name that the library knows, such as ``3m``; ``None``: marines, as many as ``agents`` (or
            ``num_allies`` and ``num_enemies`` in ``kwargs``) say.
        kwargs: keyword arguments of the library's ``HeuristicEnemySMAX`` and ``SMAX``; ``None``: none.
        episode_limit: steps after which a battle is truncated; ``None``: the library's own.
        state: what mixers and central critics see in training, see `hymarl.envs.contract.team_state.State`.

    Raises:
        ValueError: jaxmarl is not installed, or the settings do not fit together.
    """

    def __init__(
        self,
        agents: int | None,
        n_envs: int,
        *,
        scenario: str | None,
        kwargs: dict[str, Any] | None,
        episode_limit: Count | None,
        state: State,
    ) -> None:
        arguments = _arguments(agents, scenario, kwargs, episode_limit)
        self._functions = _functions(scenario, json.dumps(arguments, sort_keys=True))
        battle = self._functions.battle
        if agents not in (None, battle.num_allies):
            raise ValueError(f"agents={agents}, but env.scenario={scenario} has {battle.num_allies} allies")
        self._keys = self._functions.keys(np.zeros(n_envs, np.uint64))
        self._state, numbers = self._functions.shapes(self._keys)
        self.n_envs, self._state_of = n_envs, state
        _, n_agents, obs_dim = numbers.obs.shape
        self.spec = EnvSpec(
            n_agents=n_agents,
            n_actions=numbers.avail.shape[2],
            obs_dim=obs_dim,
            state_dim=state_dim(state, n_agents, obs_dim, numbers.state.shape[1]),
            episode_limit=int(battle.max_steps),
            metric_names=("won",),
            headline_metrics=("won",),
        )
        self._t = np.zeros(n_envs, np.int32)

    def reset(self, seeds: UInt64Array, where: BoolArray) -> TimeStep:
        """Start new battles."""
        self._t[where] = 0
        self._keys, self._state, numbers = self._functions.reset(
            self._functions.keys(seeds), self._keys, self._state, where
        )
        return self._time_step(numbers, where)

    def step(self, actions: IntArray, active: BoolArray) -> TimeStep:
        """Execute one joint action in each active row."""
        self._t[active] += 1
        given = np.where(active[:, None], actions, 0).astype(np.int32)
        self._state, numbers = self._functions.step(self._keys, self._t, self._state, given, active)
        out = self._time_step(numbers, active)
        out.reward[active] = np.asarray(numbers.reward)[active]
        out.terminated[:] = active & np.asarray(numbers.over)
        out.truncated[:] = active & (self._t == self.spec.episode_limit) & ~out.terminated
        out.metrics[:, 0] = out.terminated & np.asarray(numbers.won)
        return out

    def close(self) -> None:
        """Nothing to release."""

    def _time_step(self, numbers: Numbers, where: BoolArray) -> TimeStep:
        """What is seen of the rows in play; the others are zeros."""
        out = TimeStep.zeros(self.spec, self.n_envs)
        out.obs[where] = np.asarray(numbers.obs)[where]
        own = self._state_of == "own"
        out.state[where] = (np.asarray(numbers.state) if own else of_observations(out.obs, self._state_of))[where]
        out.avail[where] = np.asarray(numbers.avail)[where]
        return out


class _Functions:
    """The library's functions over B battles, compiled at their first call for each B.

    Attributes:
        battle: the library's environment.
    """

    def __init__(self, battle: Any) -> None:
        import jax

        self._jax = jax
        self.battle = battle
        self.reset = jax.jit(self._reset)
        self.step = jax.jit(self._step)

    def keys(self, seeds: UInt64Array) -> Any:
        """The seeds ``[B]`` as keys: a key of this generator has two words of 32 bits."""
        words = np.stack([seeds >> np.uint64(32), seeds & np.uint64(0xFFFFFFFF)], axis=-1).astype(np.uint32)
        return self._jax.random.wrap_key_data(words, impl="threefry2x32")

    def shapes(self, keys: Any) -> tuple[Any, Numbers]:
        """A state of B battles of zeros, and what the numbers look like."""
        state, numbers = self._jax.eval_shape(self._start, keys)
        zeros = self._jax.tree.map(lambda leaf: self._jax.numpy.zeros(leaf.shape, leaf.dtype), state)
        return zeros, numbers

    def _reset(self, new_keys: Any, keys: Any, state: Any, where: Any) -> tuple[Any, Any, Numbers]:
        started, numbers = self._start(new_keys)
        return self._jax.numpy.where(where, new_keys, keys), self._chosen(where, started, state), numbers

    def _step(self, keys: Any, t: Any, state: Any, actions: Any, active: Any) -> tuple[Any, Numbers]:
        step_keys = self._jax.vmap(self._jax.random.fold_in)(keys, t)  # t is 1 at the first step, 0 is the start's
        stepped, numbers = self._jax.vmap(self._step_one)(step_keys, state, actions)
        return self._chosen(active, stepped, state), numbers

    def _start(self, keys: Any) -> tuple[Any, Numbers]:
        return self._jax.vmap(self._start_one)(keys)

    def _start_one(self, key: Any) -> tuple[Any, Numbers]:
        obs, state = self.battle.reset(self._jax.random.fold_in(key, 0))
        return state, self._numbers(obs, state, self._jax.numpy.zeros(()))

    def _step_one(self, key: Any, state: Any, actions: Any) -> tuple[Any, Numbers]:
        names = self.battle.agents
        given = {name: actions[agent] for agent, name in enumerate(names)}
        obs, state, rewards, _, _ = self.battle.step_env(key, state, given)
        reward = self._jax.numpy.stack([rewards[name] for name in names]).mean()
        return state, self._numbers(obs, state, reward)

    def _numbers(self, obs: Any, state: Any, reward: Any) -> Numbers:
        stack, names = self._jax.numpy.stack, self.battle.agents
        avail = self.battle.get_avail_actions(state)
        alive = state.state.unit_alive
        allies, enemies = alive[: self.battle.num_allies].any(), alive[self.battle.num_allies :].any()
        return Numbers(
            obs=stack([obs[name] for name in names]),
            state=obs["world_state"],
            avail=stack([avail[name] for name in names]) > 0,
            reward=reward,
            over=~(allies & enemies),
            won=allies & ~enemies,
        )

    def _chosen(self, where: Any, new: Any, old: Any) -> Any:
        """The new rows where asked for, else the old ones, of everything that a state consists of."""
        jnp = self._jax.numpy
        return self._jax.tree.map(lambda a, b: jnp.where(where.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old)


@cache
def _functions(scenario: str | None, arguments: str) -> _Functions:
    """The functions of a battle with these arguments (JSON); training and evaluation share what is compiled."""
    return _Functions(_make(scenario, json.loads(arguments)))


def _arguments(
    agents: int | None, scenario: str | None, kwargs: dict[str, Any] | None, episode_limit: int | None
) -> dict[str, Any]:
    """Keyword arguments of the library's environment."""
    taken = sorted(_OWN_ARGUMENTS & (kwargs or {}).keys())
    if taken:
        raise ValueError(
            f"leave {', '.join(taken)} out of env.kwargs: env.scenario and env.episode_limit say that, and actions are "
            "discrete"
        )
    limit = {} if episode_limit is None else {"max_steps": episode_limit}
    return with_agents(kwargs, "num_allies" if scenario is None else None, agents) | limit


def _make(scenario: str | None, arguments: dict[str, Any]) -> Any:
    """The library's environment.

    Raises:
        ValueError: there is no such scenario, or it refuses its arguments.
    """
    jnp = imported("jax.numpy", _INSTALL)
    library = imported("jaxmarl.environments.smax", _INSTALL)
    known: set[str] = set()
    for kind in (library.HeuristicEnemySMAX, library.SMAX):
        known |= inspect.signature(kind).parameters.keys() - {"env_kwargs"}
    wrong = sorted(arguments.keys() - known)
    if wrong:
        raise ValueError(f"SMAX has no argument {wrong[0]!r}; {suggest(wrong[0], known - _OWN_ARGUMENTS)}")
    chosen = None
    if scenario is not None:
        maps = imported("jaxmarl.environments.smax.smax_env", _INSTALL).MAP_NAME_TO_SCENARIO
        if scenario not in maps:
            raise ValueError(f"there is no scenario {scenario!r}; {suggest(scenario, maps)}")
        chosen = library.map_name_to_scenario(scenario)
    try:
        tables = {k: jnp.asarray(v) for k, v in arguments.items() if isinstance(v, list) and not isinstance(v[0], str)}
        return library.HeuristicEnemySMAX(scenario=chosen, **(arguments | tables))
    except (Exception, SystemExit) as error:
        raise ValueError(f"SMAX cannot be made with {arguments}: {describe(error)}") from error
