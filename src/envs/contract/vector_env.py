"""The contract between runners and everything that can be played: B environments stepped together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ...components.rng import UInt64Array
from ...components.spec import BoolArray, EnvSpec, IntArray, TimeStep


@runtime_checkable
class VectorEnv(Protocol):
    """B environments of one kind, stepped together; the only thing runners know of an environment.

    An environment is a class in ``src/envs/`` decorated with ``@register("env")`` whose constructor takes
    ``(agents, n_envs, *, settings...)``: the number of agents asked for (``None``: its own number) and B. Nothing is
    assumed to be fast, local or cheap to restart.

    Attributes:
        spec: the sizes.
        n_envs: B.
    """

    spec: EnvSpec
    n_envs: int

    def reset(self, seeds: UInt64Array, where: BoolArray) -> TimeStep:
        """Start new episodes in the rows ``where`` ``[B]`` is true.

        Args:
            seeds: ``[B]`` uint64 keys; all randomness of row b's episode derives from ``seeds[b]`` alone, not from b,
                the other rows or the actions.
            where: ``[B]`` bool; the other rows are left alone and return zeros.
        """
        ...

    def step(self, actions: IntArray, active: BoolArray) -> TimeStep:
        """Execute one joint action in each active row; never resets by itself.

        Args:
            actions: ``[B, A]`` int64, available ones in active rows, anything in the others.
            active: ``[B]`` bool; inactive rows are not advanced and return zeros.

        Raises:
            EpisodeFailure: some rows could not be stepped; the others were.
        """
        ...

    def close(self) -> None:
        """Release processes, memory and windows; may be called twice."""
        ...


@dataclass(frozen=True)
class RowFailure:
    """One environment that raised, died or hung.

    Attributes:
        row: its index in B.
        seed: the key its episode was started with.
        actions: the joint action it was given, ``None`` when it failed in reset.
        reason: what happened, for people.
    """

    row: int
    seed: int
    actions: tuple[int, ...] | None
    reason: str

    def __str__(self) -> str:
        given = "at reset" if self.actions is None else f"given the joint action {list(self.actions)}"
        return f"environment {self.row} (episode seed {self.seed}) failed {given}: {self.reason}"


class EpisodeFailure(Exception):
    """Some environments lost their episode; they are ready for a new `VectorEnv.reset`, the others go on.

    Attributes:
        failures: the rows that failed.
        time_step: what the call would have returned; zeros in the failed rows.
    """

    def __init__(self, failures: list[RowFailure], time_step: TimeStep) -> None:
        super().__init__("; ".join(map(str, failures)))
        self.failures = failures
        self.time_step = time_step
