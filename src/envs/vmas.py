"""Scenarios of VMAS, a batched two-dimensional physics engine in PyTorch (Bettini et al., DARS 2022)."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..components.rng import UInt64Array
from ..components.spec import BoolArray, EnvSpec, IntArray, TimeStep
from ..ranges import Count
from ..registry import register, suggest
from .adapters.importing import agents_hint, imported, loaded, with_agents
from .adapters.single import describe
from .adapters.tensor_rows import batched_tensors, put_rows, rows_kept
from .contract.scene import PictureScene
from .contract.team_reward import Reward, of_team
from .contract.team_state import State, of_observations, state_dim

_INSTALL = "pip install 'hymarl[vmas]'"
_SEED_SHIFT = np.uint64(32)  # NumPy's old generator, which the library seeds too, takes 32 bits
_OWN_ARGUMENTS = frozenset(
    {"num_envs", "device", "continuous_actions", "wrapper", "max_steps", "seed", "dict_spaces", "clamp_actions"}
    | {"multidiscrete_actions", "grad_enabled", "terminated_truncated", "wrapper_kwargs"}
)
"""Arguments of ``vmas.make_env`` that are not the scenario's: this adapter decides them."""

_ROWS_TOGETHER = 32
"""What the number of simulated rows is a multiple of; those beyond B idle.

Torch computes as many float32 numbers at once as fit two of the processor's registers (32 with AVX-512) and what is
left over one by one, which can round differently. With nothing left over, an episode is the same in every row and for
every B. Up to 32 rows a step takes about as long as with one.
"""

_PROBES = 8
_Call = Callable[["Simulation", NDArray[Any], BoolArray], TimeStep]


@register("env")
class Vmas:
    """A VMAS scenario with discrete actions.

    Each agent has one discrete action: the library's product of its movement, rotation and communication choices.
    Observations and actions are padded to the largest agent's; there is no state of the library's own. Scripted agents
    belong to the environment. The episode is terminated when the scenario says that it is done and
    truncated at ``episode_limit``.

    All rows are played in one simulation. It steps all of them, so before a call that would change a row which waits in
    mid-episode, that row of every tensor is kept and put back afterwards; nothing is kept where no row waits.

    A scenario may draw random numbers while stepping (noise, respawning), or choose something once for all rows (a
    goal); then an episode would depend on other rows. Where a few episodes at the beginning show that, each row is
    played in a simulation of its own, which costs B times as much. How the physics rounds can still depend on other
    rows in a few scenarios: the library leaves out pairs of bodies that are far apart in all rows.

    Args:
        agents: the number of agents asked for; ``None`` is the scenario's own.
        n_envs: B.
        scenario: a file of ``vmas.scenarios`` without ``.py``, or ``module:Class`` of a ``BaseScenario``.
        kwargs: the scenario's keyword arguments; ``None``: none.
        agents_kwarg: the one of them that takes the number of agents; ``None``: the number is fixed.
        episode_limit: steps after which an episode is truncated.
        reward: the team's reward: ``sum`` or ``mean`` over all agents; ``individual``: one reward per agent.
        state: what mixers and central critics see in training, see `hymarl.envs.contract.team_state.State`.

    Raises:
        ValueError: vmas is not installed, or the settings do not fit the scenario.
    """

    def __init__(
        self,
        agents: int | None,
        n_envs: int,
        *,
        scenario: str,
        kwargs: dict[str, Any] | None,
        agents_kwarg: str | None,
        episode_limit: Count,
        reward: Reward,
        state: State,
    ) -> None:
        taken = sorted(_OWN_ARGUMENTS & (kwargs or {}).keys())
        if taken:
            raise ValueError(f"env.kwargs are the scenario's; leave out {', '.join(taken)}")
        arguments = with_agents(kwargs, agents_kwarg, agents)

        def simulation(n_rows: int, alone: bool) -> Simulation:
            env = _make(scenario, -(-n_rows // _ROWS_TOGETHER) * _ROWS_TOGETHER, arguments)
            return Simulation(env, alone=alone, episode_limit=episode_limit, reward=reward, state=state)

        together = simulation(n_envs, False)
        self.spec, self.n_envs = together.spec, n_envs
        if agents not in (None, self.spec.n_agents):
            hint = agents_hint(agents_kwarg)
            raise ValueError(f"agents={agents}, but env.scenario={scenario} has {self.spec.n_agents} agents{hint}")
        self._simulations = [together]
        if not together.rows_are_independent():
            self._simulations = [simulation(1, True) for _ in range(n_envs)]

    def reset(self, seeds: UInt64Array, where: BoolArray) -> TimeStep:
        """Start new episodes, each from the upper 32 bits of its seed."""
        return self._each(Simulation.reset, seeds, where)

    def step(self, actions: IntArray, active: BoolArray) -> TimeStep:
        """Execute one joint action in each active row."""
        return self._each(Simulation.step, actions, active)

    def scene(self, row: int) -> PictureScene:
        """The library's own drawing of a row.

        Raises:
            ValueError: the library finds nothing to draw with (EGL, or a display such as Xvfb's).
        """
        together = len(self._simulations) == 1
        return self._simulations[0].scene(row) if together else self._simulations[row].scene(0)

    def close(self) -> None:
        """Close the windows that pictures are drawn in."""
        for simulation in self._simulations:
            simulation.close()

    def _each(self, call: _Call, values: NDArray[Any], where: BoolArray) -> TimeStep:
        """Reset or step the rows ``where`` is true, in whichever simulations they are."""
        out = TimeStep.zeros(self.spec, self.n_envs)
        arrays: tuple[NDArray[Any], ...] = tuple(out)
        n = self.n_envs // len(self._simulations)
        for start, simulation in zip(range(0, self.n_envs, n), self._simulations, strict=True):
            rows = slice(start, start + n)
            if where[rows].any():
                idle = simulation.n_rows - n
                given = np.concatenate([values[rows], np.zeros((idle, *values.shape[1:]), values.dtype)])
                asked = np.append(where[rows], np.zeros(idle, np.bool_))
                parts: Iterable[NDArray[Any]] = call(simulation, given, asked)
                for array, part in zip(arrays, parts, strict=True):
                    array[rows] = part[:n]
        return out


class Simulation:
    """All rows of one of the library's environments; see `Vmas`.

    Args:
        env: the library's environment.
        alone: whether one episode has all rows for itself; then they are reset together, else one by one.
        episode_limit: see `Vmas`.
        reward: see `Vmas`.
        state: see `Vmas`.
    """

    def __init__(self, env: Any, *, alone: bool, episode_limit: int, reward: Reward, state: State) -> None:
        self._env, self._alone, self._reward, self._state_of = env, alone, reward, state
        self.n_rows = int(env.num_envs)
        self._n_actions = np.array([int(space.n) for space in env.action_space])
        obs_dim = max(_flat(obs).shape[1] for obs in self._observe())
        self.spec = EnvSpec(
            n_agents=env.n_agents,
            n_actions=self._n_actions.max(),
            obs_dim=obs_dim,
            state_dim=state_dim(state, env.n_agents, obs_dim),
            episode_limit=episode_limit,
            individual_rewards=reward == "individual",
        )
        self._avail = np.arange(self.spec.n_actions) < self._n_actions[:, None]  # A U
        self._running = np.zeros(self.n_rows, np.bool_)
        self._t = np.zeros(self.n_rows, np.int64)
        self._stream = _RandomState.of(env)
        self._fresh = {path: place.tensor.clone() for path, place in batched_tensors(env.scenario, self.n_rows).items()}

    def reset(self, seeds: UInt64Array, where: BoolArray) -> TimeStep:
        """See `Vmas.reset`."""
        index = torch.from_numpy(np.flatnonzero(where))
        with self._kept(self._running & ~where), self._random_numbers():
            # Some scenarios do not reset all that an episode changes.
            fresh = {path: tensor[index] for path, tensor in self._fresh.items()}
            put_rows(self._env.scenario, self.n_rows, index, fresh)
            for row in index.tolist():
                self._env.seed(int(seeds[row] >> _SEED_SHIFT))
                if self._alone:
                    self._env.reset(return_observations=False)
                else:
                    self._env.reset_at(row, return_observations=False)
            observations = self._observe()
        self._running |= where
        self._t[where] = 0
        return self._time_step(where, observations)

    def step(self, actions: IntArray, active: BoolArray) -> TimeStep:
        """See `Vmas.step`.

        Raises:
            SharedDraws: random numbers were drawn while stepping, and several episodes are played.
        """
        given = torch.from_numpy(np.where(active[:, None], actions, 0).T[..., None].copy())  # A rows 1
        with self._kept(self._running & ~active), self._random_numbers():
            before = _RandomState.of(self._env)
            observations, rewards, dones, _ = self._env.step(list(given))
            if not self._alone and not before.equals(_RandomState.of(self._env)):
                raise SharedDraws(
                    "the scenario drew random numbers while stepping, which its first episodes did not, so that its "
                    "rows depend on each other; choose other kwargs"
                )
        self._t[active] += 1
        out = self._time_step(active, observations)
        each = torch.stack([reward.flatten() for reward in rewards], dim=1).numpy()  # B A
        out.reward[active] = of_team(each, self._reward)[active]
        out.terminated[:] = active & dones.flatten().numpy()
        out.truncated[:] = active & (self._t == self.spec.episode_limit) & ~out.terminated
        self._running &= ~(out.terminated | out.truncated)
        return out

    def rows_are_independent(self) -> bool:
        """Whether an episode, played in two rows after and beside others, is each time the same up to rounding."""
        seen = []
        for probe in range(_PROBES):
            self._env.seed(probe)
            self._env.reset(return_observations=False)
            row, other = np.eye(2, self.n_rows, dtype=np.bool_)[:: -1 if probe % 2 else 1]
            first = self.reset(np.zeros(self.n_rows, np.uint64), row)
            self.reset(np.full(self.n_rows, probe, np.uint64) << _SEED_SHIFT, other)
            try:
                now = self.step(np.tile(self._n_actions - 1, (self.n_rows, 1)), row)
            except SharedDraws:
                return False
            seen.append(np.concatenate([x[row].ravel() for x in (first.obs, now.obs, now.reward, now.terminated)]))
        self._running[:] = False
        return all(np.allclose(seen[0], again, rtol=1e-3, atol=1e-3) for again in seen)

    def scene(self, row: int) -> PictureScene:
        """See `Vmas.scene`."""
        try:
            pixels = self._env.render(mode="rgb_array", env_index=row)
        except Exception as error:
            raise ValueError(f"vmas cannot draw here: install EGL, or start a display (Xvfb): {error}") from error
        return PictureScene(np.ascontiguousarray(pixels, dtype=np.uint8))

    def close(self) -> None:
        """See `Vmas.close`."""
        viewer, self._env.viewer = self._env.viewer, None
        if viewer is not None:
            viewer.close()

    def _kept(self, rows: BoolArray) -> AbstractContextManager[None]:
        return rows_kept(self._env.scenario, self.n_rows, torch.from_numpy(np.flatnonzero(rows)))

    @contextmanager
    def _random_numbers(self) -> Iterator[None]:
        """Draw from this simulation's stream inside: the library has one for all environments of a process."""
        self._stream.install(self._env)
        yield
        self._stream = _RandomState.of(self._env)

    def _observe(self) -> list[Any]:
        parts = self._env.get_from_scenario(get_observations=True, get_rewards=False, get_infos=False, get_dones=False)
        return list(parts[0])

    def _time_step(self, where: BoolArray, observations: list[Any]) -> TimeStep:
        """Observations of the rows in play; the others are zeros."""
        out = TimeStep.zeros(self.spec, self.n_rows)
        for agent, observation in enumerate(observations):
            flat = _flat(observation).numpy()
            out.obs[where, agent, : flat.shape[1]] = flat[where]
        out.state[:] = of_observations(out.obs, self._state_of)
        out.avail[where] = self._avail
        return out


class SharedDraws(ValueError):
    """A scenario whose rows draw from one random generator while they are stepped."""


class _RandomState(NamedTuple):
    """Where the library's random numbers are: torch's, NumPy's and Python's."""

    torch_state: Tensor
    numpy_state: tuple[Any, ...]
    python_state: tuple[Any, ...]

    @classmethod
    def of(cls, env: Any) -> Self:
        return cls(*env.vmas_random_state)

    def install(self, env: Any) -> None:
        env.vmas_random_state[:] = self

    def equals(self, other: _RandomState) -> bool:
        (_, words, position, *_), (_, other_words, other_position, *_) = self.numpy_state, other.numpy_state
        return (
            torch.equal(self.torch_state, other.torch_state)
            and position == other_position
            and np.array_equal(words, other_words)
            and self.python_state == other.python_state
        )


def _make(scenario: str, n_rows: int, arguments: Mapping[str, Any]) -> Any:
    """The library's environment.

    Raises:
        ValueError: there is no such scenario, or it refuses its arguments.
    """
    vmas = imported("vmas", _INSTALL)
    found = _load(scenario)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Scenario kwargs")  # arguments that the scenario does not know
            return vmas.make_env(found, n_rows, continuous_actions=False, seed=0, **arguments)
    except (Exception, SystemExit) as error:
        raise ValueError(f"scenario {scenario} cannot be made with {dict(arguments)}: {describe(error)}") from error


def _load(scenario: str) -> Any:
    """A new scenario object."""
    module, _, name = scenario.partition(":")
    if name:
        make = loaded(scenario, None, "env.scenario")
        try:
            return make()
        except (Exception, SystemExit) as error:
            raise ValueError(f"env.scenario={scenario} cannot be made: {describe(error)}") from error
    folder = importlib.import_module("vmas.scenarios")  # as an attribute of vmas it is hidden by a list of names
    known = {path.stem for path in Path(str(folder.__file__)).parent.rglob("*.py")} - {"__init__"}
    if module not in known:
        raise ValueError(f"there is no scenario {scenario!r}; {suggest(scenario, known)}")
    return folder.load(f"{scenario}.py").Scenario()


def _flat(observation: Tensor | Mapping[str, Any]) -> Tensor:
    """An observation, possibly a dictionary of observations, as ``[B, O]``."""
    if isinstance(observation, Tensor):
        return observation.flatten(1)
    return torch.cat([_flat(part) for part in observation.values()], dim=1)
