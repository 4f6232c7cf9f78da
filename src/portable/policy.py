"""Reading an exported policy, and acting with it."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from .operations import FUNCTIONS, Array, FloatArray, IntArray, Operation, network, team

FORMAT = 1
"""The format version of exported policies."""
DOCUMENT, ARRAYS = "policy.json", "policy.npz"
"""The files of an exported policy."""
FIRST = "networks.0."
"""What the names of the first network's arrays begin with; those of network 1 begin with ``networks.1.``, and so on."""

_LARGEST, _MOST = 10**6, 2**24  # a size that a file may state; the numbers that values of two agents may have


class PortableError(ValueError):
    """An exported policy is missing, damaged, or not what it says; the message is one sentence."""


class State(NamedTuple):
    """What a policy remembers; the axes ``[A]`` or ``[B, A]`` are those of the observations.

    Attributes:
        hidden: what the networks remember, with `PortablePolicy.state_shape` behind these axes.
        last_actions: -1 before the first.
    """

    hidden: FloatArray
    last_actions: IntArray


class PortablePolicy:
    """A greedy policy: it takes the available action with the largest score, the first of equals.

    Args:
        about: the content of ``policy.json``.
        arrays: that of ``policy.npz``.
        agents: see `load`.

    Attributes:
        about: as given; among others what the observation and the actions mean, and the run that trained it.
        n_agents: number of agents that act here, ``None`` for any number.
        n_actions: U.
        obs_dim: O.
        state_shape: shape of what an agent's network remembers, ``(0,)`` for nothing.

    Raises:
        PortableError: they do not fit together, or an agent does not exist.
    """

    def __init__(self, about: Mapping[str, Any], arrays: Mapping[str, Array], agents: Sequence[int] | None = None):
        try:
            self._build(about, arrays, agents)
        except PortableError:
            raise
        except Exception as error:  # whatever a file made by somebody else leads to
            raise PortableError(f"this is no exported policy, or a damaged one: {_reason(error)}") from error

    @classmethod
    def load(cls, directory: str | Path, agents: Sequence[int] | None = None) -> Self:
        """The policy in a directory that ``export=RUN`` has written; nothing in it is executed.

        Args:
            directory: it holds ``policy.json`` and ``policy.npz``.
            agents: numbers, from 0, of the trained agents that act here, such as ``[2]`` in the program of the third
                one; ``None``: all of them, or any number where agents are interchangeable.

        Raises:
            PortableError: it cannot be read, or an agent does not exist.
        """
        folder = Path(directory)
        document, content = (_read(folder / name) for name in (DOCUMENT, ARRAYS))
        try:
            return cls.parse(document, content, agents)
        except PortableError as error:
            raise PortableError(f"{folder}: {error}") from error

    @classmethod
    def parse(cls, document: bytes, content: bytes, agents: Sequence[int] | None = None) -> Self:
        """`load` from the contents of ``policy.json`` and ``policy.npz``."""
        try:
            about = json.loads(document)
            if not isinstance(about, dict):
                raise ValueError("it is no object")
        except (ValueError, RecursionError) as error:
            raise PortableError(f"{DOCUMENT} cannot be read as JSON: {error}") from error
        if about.get("checksum") != checksum(content):
            raise PortableError(f"{ARRAYS} is damaged, or is not the file that {DOCUMENT} belongs to")
        return cls(about, _arrays(content), agents)

    def __repr__(self) -> str:
        n = self.n_agents
        agents = "any number of agents" if n is None else f"{n} agent{'s' * (n != 1)}"
        return f"PortablePolicy({agents}, {self.obs_dim} observations, {self.n_actions} actions)"

    def initial_state(self, n_agents: int | None = None, n_rows: int | None = None) -> State:
        """What is remembered at the start of an episode.

        Args:
            n_agents: A; ``None``: those that act here, or as many as were trained.
            n_rows: B, for observations ``[B, A, O]``; ``None``: for ``[A, O]``.
        """
        agents = n_agents or self.n_agents or len(self._groups)
        lead = (agents,) if n_rows is None else (n_rows, agents)
        return State(np.zeros((*lead, *self.state_shape), np.float32), np.full(lead, -1, np.int64))

    def act(self, obs: ArrayLike, avail: ArrayLike | None = None, state: State | None = None) -> tuple[IntArray, State]:
        """Actions and the next state.

        Args:
            obs: ``[A, O]``, or ``[B, A, O]`` for B environments.
            avail: ``[A, U]`` or ``[B, A, U]``: which actions there are; ``None``: all.
            state: what the previous call returned; ``None``: an episode begins.

        Returns:
            Actions ``[A]`` or ``[B, A]`` int64, and what to give to the next call.

        Raises:
            ValueError: arrays of another shape.
        """
        scores, hidden = self.scores(obs, state)
        if avail is not None:
            available = np.asarray(avail, np.bool_)
            if available.shape != scores.shape:
                raise ValueError(f"avail must have the shape {list(scores.shape)}, got {list(available.shape)}")
            scores = np.where(available, scores, -np.inf)
        actions = scores.argmax(axis=-1)
        return actions, State(hidden, actions)

    def scores(self, obs: ArrayLike, state: State | None = None) -> tuple[FloatArray, FloatArray]:
        """Scores of all actions, ``[A, U]`` or ``[B, A, U]``, and what the networks remember next; see `act`."""
        given = np.asarray(obs, np.float32)
        if given.ndim not in (2, 3) or given.shape[-1] != self.obs_dim or self.n_agents not in (None, given.shape[-2]):
            shape = f"{'A' if self.n_agents is None else self.n_agents}, {self.obs_dim}"
            raise ValueError(f"observations must have the shape [{shape}] or [B, {shape}], got {list(given.shape)}")
        hidden, last = state or self.initial_state(given.shape[-2], len(given) if given.ndim == 3 else None)
        if hidden.shape != (*given.shape[:-1], *self.state_shape) or last.shape != given.shape[:-1]:
            raise ValueError(
                f"the state is that of {list(last.shape)} agents, the observations are of {list(given.shape[:-1])}"
            )
        if given.ndim == 3:
            scores, hidden = self._team(given, last, hidden)
            return scores, hidden
        scores, hidden = self._team(given[None], last[None], hidden[None])
        return scores[0], hidden[0]

    def _build(self, about: Mapping[str, Any], arrays: Mapping[str, Array], agents: Sequence[int] | None) -> None:
        if about["format"] != FORMAT:
            raise PortableError(f"its format is {about['format']}, and this program reads format {FORMAT}")
        self.about, sizes = about, about["sizes"]
        self.n_actions, self.obs_dim = _size(sizes["actions"]), _size(sizes["observation"])
        self.state_shape = tuple(_size(n, least=0) for n in sizes["state"])
        self._groups = [_size(g, least=0) for g in about["networks"]]
        if set(self._groups) != set(range(max(self._groups) + 1)):
            raise ValueError("networks are not numbered from 0 on")
        if agents is not None and not (agents and set(agents) <= set(range(len(self._groups)))):
            raise PortableError(f"agents={agents}: the agents have the numbers 0 to {len(self._groups) - 1}")
        operations = [Operation(str(k), tuple(i), tuple(a), str(o)) for k, i, a, o in about["operations"]]
        outputs = [about["outputs"]["scores"], about["outputs"]["hidden"]]
        networks = []
        for g in range(max(self._groups) + 1):
            mine = [o._replace(arrays=tuple(of_network(name, g) for name in o.arrays)) for o in operations]
            self._try(mine, arrays, outputs, g)
            networks.append(network(mine, arrays, outputs))
        anyone = about["any_number_of_agents"] is True and len(networks) == 1 and agents is None
        numbers = agents if agents is not None else None if anyone else range(len(self._groups))
        self.n_agents = None if numbers is None else len(numbers)
        self._team = team(networks, self._groups, numbers)

    def _try(self, operations: list[Operation], arrays: Mapping[str, Array], outputs: list[str], group: int) -> None:
        """Carry out the operations for two agents, and check what comes of it."""
        number = max(agent for agent, g in enumerate(self._groups) if g == group)
        values: dict[str, Array] = {
            "obs": np.zeros((2, self.obs_dim), np.float32),
            "last_actions": np.array([-1, self.n_actions - 1]),
            "agents": np.array([number, number]),
            "hidden": np.zeros((2, *self.state_shape), np.float32),
        }
        for operation in operations:
            x, constants = [values[name] for name in operation.inputs], [arrays[name] for name in operation.arrays]
            grown = len(constants[0]) * x[0].size // x[0].shape[-1] if operation.kind in ("linear", "gru") else 0
            if grown + sum(part.size for part in x) > _MOST:
                raise ValueError("its values do not fit into memory")
            values[operation.output] = FUNCTIONS[operation.kind](*x, *constants)
        wanted = (2, self.n_actions), (2, *self.state_shape)
        if tuple(values[name].shape for name in outputs) != wanted or values[outputs[0]].dtype != np.float32:
            raise ValueError("its operations do not give the scores and the state that it states")


def of_network(name: str, group: int) -> str:
    """The name of an array of another network, from that of the first one's; other names stay as they are."""
    return f"networks.{group}.{name.removeprefix(FIRST)}" if name.startswith(FIRST) else name


def checksum(content: bytes) -> str:
    """The BLAKE2b hash of a file's content, 256 bits in hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=32).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PortableError(f"cannot read {path}: {error.strerror or error}") from error


def _arrays(content: bytes) -> dict[str, Array]:
    """The arrays in an ``.npz`` file, none of them larger than the file itself."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(member.file_size for member in archive.infolist()) > len(content):
                raise ValueError("its arrays are compressed")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        for name, array in arrays.items():
            if array.dtype not in (np.float32, np.int64) or not np.isfinite(array).all():
                raise ValueError(f"{name} must be finite float32 or int64 numbers")
    except Exception as error:  # zipfile and NumPy do not check what they read, so a damaged file can raise any error
        raise PortableError(f"{ARRAYS} cannot be read: {_reason(error)}") from error
    return arrays


def _reason(error: Exception) -> str:
    """An error's message in one line."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return " ".join(str(error).split()) or type(error).__name__


def _size(value: Any, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _LARGEST:
        raise ValueError(f"a size must be a whole number from {least} to {_LARGEST:,}, got {value!r}")
    return value
