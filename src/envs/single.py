"""B environments that are stepped one at a time, played in this process as one `VectorEnv`."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..components.rng import UInt64Array
from ..components.spec import BoolArray, EnvSpec, IntArray, TimeStep
from . import global_generators
from .global_generators import GlobalGenerators, library_seed
from .vector_env import EpisodeFailure, RowFailure

_PACKAGE = Path(__file__).parents[1]


class SingleEnv(Protocol):
    """One environment behind arrays of fixed sizes: what an adapter for another library's interface implements.

    Both methods return a `TimeStep` without the B axis.

    Attributes:
        spec: the sizes.
    """

    spec: EnvSpec

    def reset(self, seed: int) -> TimeStep:
        """Start a new episode; ``seed`` has 64 bits."""
        ...

    def step(self, actions: IntArray) -> TimeStep:
        """Execute the joint action ``[A]``."""
        ...

    def close(self) -> None:
        """Release what the environment holds."""
        ...


class SingleEnvs:
    """A `VectorEnv` of B single environments.

    An environment that raises, wants to end the program, or gives arrays of another shape or numbers that are not
    finite loses its episode, is thrown away and made anew at its next reset; the others go on.
    Each has its own version of the global random generators, see `hymarl.envs.global_generators`.

    Args:
        make: makes one environment.
        n_envs: B.
    """

    def __init__(self, make: Callable[[], SingleEnv], n_envs: int) -> None:
        self._make = make
        self._generators = [GlobalGenerators() for _ in range(n_envs)]
        with global_generators.kept():
            envs = [self._new(row) for row in range(n_envs)]
        self._envs: list[SingleEnv | None] = [*envs]
        self.spec = envs[0].spec
        self.n_envs = n_envs
        self._seeds = np.zeros(n_envs, np.uint64)

    def reset(self, seeds: UInt64Array, where: BoolArray) -> TimeStep:
        """Start new episodes in the rows ``where`` is true."""
        self._seeds[where] = seeds[where]

        def reset(row: int) -> TimeStep:
            env = self._envs[row] = self._envs[row] or self._new(row)
            seed = int(seeds[row])
            with self._generators[row].installed(library_seed(seed)):
                return env.reset(seed)

        return self._each(where, reset, None)

    def step(self, actions: IntArray, active: BoolArray) -> TimeStep:
        """Execute one joint action in each active row."""

        def step(row: int) -> TimeStep:
            env = self._played(row)
            with self._generators[row].installed():
                return env.step(actions[row])

        return self._each(active, step, actions)

    def close(self) -> None:
        """Close every environment."""
        for row in range(self.n_envs):
            self._drop(row)

    def _each(self, where: BoolArray, play: Callable[[int], TimeStep], actions: IntArray | None) -> TimeStep:
        out = TimeStep.zeros(self.spec, self.n_envs)
        failures = []
        with global_generators.kept():
            for row in np.flatnonzero(where).tolist():
                try:
                    _store(play(row), out, row)
                except (Exception, SystemExit) as error:
                    given = None if actions is None else tuple(actions[row].tolist())
                    failures.append(RowFailure(row, int(self._seeds[row]), given, describe(error)))
                    self._drop(row)
                    _clear(out, row)
        if failures:
            raise EpisodeFailure(failures, out)
        return out

    def _new(self, row: int) -> SingleEnv:
        self._generators[row] = GlobalGenerators()
        with self._generators[row].installed():
            return self._make()

    def _played(self, row: int) -> SingleEnv:
        env = self._envs[row]
        if env is None:
            raise RuntimeError("the row must be reset after its failure")
        return env

    def _drop(self, row: int) -> None:
        env, self._envs[row] = self._envs[row], None
        if env is not None:
            with contextlib.suppress(Exception, SystemExit):  # a broken environment may not be able to close either
                env.close()


def describe(error: BaseException) -> str:
    """An exception in one line: its type, its message and where it was raised, outside this package if possible."""
    what = " ".join(f"{type(error).__name__}: {error}".split())
    frames = list(traceback.extract_tb(error.__traceback__))
    if not frames:
        return what
    frame = ([f for f in frames if not Path(f.filename).is_relative_to(_PACKAGE)] or frames)[-1]
    return f"{what} ({frame.filename}, line {frame.lineno}, in {frame.name})"


def _store(time_step: TimeStep, out: TimeStep, row: int) -> None:
    values: Iterable[Any] = time_step
    arrays: Iterable[NDArray[Any]] = out
    for name, value, array in zip(TimeStep._fields, values, arrays, strict=True):
        if np.shape(value) != array.shape[1:]:
            raise ValueError(f"{name} has the shape {np.shape(value)}, expected {array.shape[1:]}")
        array[row] = value
    for name, array in (("obs", out.obs), ("state", out.state), ("reward", out.reward)):
        finite = np.isfinite(array[row])
        if not finite.all():
            raise ValueError(_not_finite(name, array[row], finite))


def _not_finite(name: str, value: NDArray[Any], finite: NDArray[np.bool_]) -> str:
    where = np.argwhere(~np.atleast_1d(finite))[0].tolist()
    place = f"{name}{where}" if np.ndim(value) else name
    return f"{name} must be finite, but {place} is {np.atleast_1d(value)[tuple(where)]}"


def _clear(out: TimeStep, row: int) -> None:
    for array in out:
        array[row] = 0
