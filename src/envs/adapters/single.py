"""B environments that are stepped one at a time, played in this process as one `VectorEnv`."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...components.rng import UInt64Array
from ...components.spec import BoolArray, EnvSpec, IntArray, TimeStep
from ..contract.vector_env import EpisodeFailure, RowFailure
from . import global_generators
from .answers import InterfaceError
from .global_generators import GlobalGenerators, library_seed

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
    Each has its own version of the global random generators, see `hymarl.envs.adapters.global_generators`.

    Args:
        make: makes one environment.
        n_envs: B.
        global_random: whether they may draw from the global generators.
    """

    def __init__(self, make: Callable[[], SingleEnv], n_envs: int, *, global_random: bool = True) -> None:
        self._make = make
        self._global_random = global_random
        self._generators = [GlobalGenerators(global_random) for _ in range(n_envs)]
        with self._kept():
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
        with self._kept():
            for row in np.flatnonzero(where).tolist():
                try:
                    _store(play(row), out, row)
                except (Exception, SystemExit) as error:
                    given = None if actions is None else tuple(actions[row].tolist())
                    failures.append(RowFailure(row, int(self._seeds[row]), given, self._explained(error)))
                    self._drop(row)
                    _clear(out, row)
        for row in _not_finite_rows(out):
            given = None if actions is None else tuple(actions[row].tolist())
            failures.append(RowFailure(row, int(self._seeds[row]), given, _not_finite(out, row)))
            self._drop(row)
            _clear(out, row)
        if failures:
            raise EpisodeFailure(sorted(failures, key=lambda failure: failure.row), out)
        return out

    def _explained(self, error: BaseException) -> str:
        """Why an episode failed, in one line."""
        return describe(error)

    def _kept(self) -> contextlib.AbstractContextManager[None]:
        return global_generators.kept() if self._global_random else contextlib.nullcontext()

    def _new(self, row: int) -> SingleEnv:
        self._generators[row] = GlobalGenerators(self._global_random)
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
    """An exception in one line: its type, its message and where it was raised, outside this package if possible.

    Of an `InterfaceError` and of a mistake in a file's syntax the message says all.
    """
    if isinstance(error, InterfaceError):
        return " ".join(str(error).split())
    what = " ".join(f"{type(error).__name__}: {error}".split())
    frames = list(traceback.extract_tb(error.__traceback__))
    if not frames or isinstance(error, SyntaxError):
        return what
    frame = ([f for f in frames if not Path(f.filename).is_relative_to(_PACKAGE)] or frames)[-1]
    return f"{what} ({frame.filename}, line {frame.lineno}, in {frame.name})"


def _store(time_step: TimeStep, out: TimeStep, row: int) -> None:
    values: Iterable[Any] = time_step
    arrays: Iterable[NDArray[Any]] = out
    for name, value, array in zip(TimeStep._fields, values, arrays, strict=True):
        shape = value.shape if isinstance(value, np.ndarray) else np.shape(value)
        if shape != array.shape[1:]:
            raise InterfaceError(f"{name} has the shape {shape}, expected {array.shape[1:]}")
        array[row] = value


_MUST_BE_FINITE = ("obs", "state", "reward")


def _not_finite_rows(out: TimeStep) -> list[int]:
    """Rows with NaN or infinity, from which nothing can be learned; all rows at once, as it is rare."""
    if all(np.isfinite(getattr(out, name)).all() for name in _MUST_BE_FINITE):
        return []
    finite = [np.isfinite(getattr(out, name)).reshape(len(out.obs), -1).all(axis=1) for name in _MUST_BE_FINITE]
    return [int(row) for row in np.flatnonzero(~np.logical_and.reduce(finite))]


def _not_finite(out: TimeStep, row: int) -> str:
    """Which number of a row is not finite."""
    name = next(n for n in _MUST_BE_FINITE if not np.isfinite(getattr(out, n)[row]).all())
    value = np.atleast_1d(getattr(out, name)[row])
    where = np.argwhere(~np.isfinite(value))[0].tolist()
    place = f"{name}{where}" if getattr(out, name).ndim > 1 else name
    return f"{name} must be finite, but {place} is {value[tuple(where)]}"


def _clear(out: TimeStep, row: int) -> None:
    for array in out:
        array[row] = 0
