"""Weights from an estimate of what a balancer cannot see: how many flows a server has, and what it can do.

A small network is shown what one balancer observes of all servers, and taught by the simulator, which knows the truth:
it learns by supervision from privileged information (as in Chen et al., 2020, "Learning by cheating"), on the courses
of events that it brings about itself (DAgger; Ross, Gordon and Bagnell, 2011). It acts by NumPy alone.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .layout import Flags, Floats, World
from .settings import Settings

N_TIMES = 5
"""Features of completion times that are used; they follow the number of own flows in an observation."""

DECAYS = (0.5, 0.8, 0.95)
"""Per step, of the moving averages by which the past is remembered."""

N_INPUTS = 1 + (1 + N_TIMES) * (1 + len(DECAYS))
"""Inputs per server: the nominal weight; own flows and completion times, now and averaged."""

SHIPPED = Path(__file__).with_name("estimator.npz")
"""The estimator of `policy=pretrained` unless it is given another."""

_CLIP = 4.0
_NO_SAMPLE = -0.999
"""Observed mean completion time of a server that there is no sample of."""
_MOST = 1e6
_MOST_UNITS = 4096
_UNREADABLE = (OSError, KeyError, ValueError, EOFError, TypeError, AttributeError, RuntimeError, MemoryError)


class Seen(NamedTuple):
    """What balancers see of servers, and may use for dispatching; leading axes as one likes.

    Attributes:
        counts: ``[..., S]``, own on-going flows.
        times: ``[..., S, 5]``, completion times as they are observed: logarithms, in any unit.
        nominal: ``[..., S]``, configured weights.
        known: ``[..., S]``, which of them are servers in use.
    """

    counts: Floats
    times: Floats
    nominal: Floats
    known: Flags


def seen(world: World, n_servers: int, n_features: int) -> Seen:
    """What all balancers of a simulation see, ``[B, L, S]``, in observations of ``n_features`` per server."""
    b, n_balancers, _ = world.obs.shape
    times = world.obs[:, :, : n_servers * n_features].reshape(b, n_balancers, n_servers, n_features)
    shape = (b, n_balancers, n_servers)
    return Seen(
        world.pairs["count"].astype(np.float64),
        times[..., 1 : 1 + N_TIMES].astype(np.float64),
        np.broadcast_to(world.servers["nominal"][:, None], shape),
        np.broadcast_to(world.servers["known"][:, None], shape),
    )


class Memory:
    """Turns what is seen step by step into inputs of an estimator."""

    def __init__(self) -> None:
        self._averages: Floats | None = None

    def inputs(self, now: Seen, fresh: ArrayLike = False, active: ArrayLike = True) -> Floats:
        """Inputs ``[..., S, N_INPUTS]``, zeros for servers that are not in use.

        Args:
            now: what is seen in this step.
            fresh: ``[...]``, for which of the leading axes an episode begins; all do at the first call.
            active: ``[...]``, which of them take this step; the others are not remembered.
        """
        sampled = now.known & (now.times[..., 0] > _NO_SAMPLE)
        times = now.times - _mean(now.times[..., :1], sampled)  # so the unit of times has no effect
        x = np.concatenate([np.log1p(now.counts)[..., None] / 4.0, times], axis=-1)[..., None, :]  # ... S 1 F
        decays = np.array(DECAYS)[:, None]
        if self._averages is None:
            self._averages = np.repeat(x, len(DECAYS), axis=-2)
        old = np.where(np.asarray(fresh)[..., None, None, None], x, self._averages)
        averages = decays * old + (1.0 - decays) * x  # ... S D F
        self._averages = np.where(np.asarray(active)[..., None, None, None], averages, self._averages)
        nominal = np.log(np.where(now.known, np.maximum(now.nominal, 1e-9), 1.0))
        nominal = nominal - _mean(nominal[..., None], now.known)[..., 0]
        steps = np.concatenate([x, averages], axis=-2)
        together = np.concatenate([nominal[..., None], steps.reshape(*steps.shape[:-2], -1)], axis=-1)
        return np.where(now.known[..., None], together, 0.0)


class Estimator(NamedTuple):
    """A network that is the same for all servers, balancers, and numbers of them (Deep Sets; Zaheer et al., 2017).

    Attributes:
        own: ``[N_INPUTS, H]``, applied to a server's inputs.
        mean: ``[N_INPUTS, H]``, applied to the mean of the inputs over servers.
        bias: ``[H]``, added to both.
        hidden: ``[H, H]``, of the second layer.
        hidden_bias: ``[H]``.
        out: ``[H]``, of the estimate.
        out_bias: ``[1]``.
    """

    own: Floats
    mean: Floats
    bias: Floats
    hidden: Floats
    hidden_bias: Floats
    out: Floats
    out_bias: Floats

    def estimate(self, inputs: Floats, known: Flags) -> Floats:
        """Logarithms ``[..., S]`` of (flows of all balancers on a server + 1) / capacity, up to a constant.

        Args:
            inputs: ``[..., S, N_INPUTS]``, see `Memory.inputs`.
            known: ``[..., S]``, which of them are servers in use.
        """
        x = np.maximum(inputs @ self.own + _mean(inputs, known) @ self.mean + self.bias, 0.0)
        x = np.maximum(x @ self.hidden + self.hidden_bias, 0.0)
        return x @ self.out + self.out_bias[0]

    def log_weights(self, inputs: Floats, now: Seen) -> Floats:
        """Logarithms ``[..., S]`` of the weights with which (own flows + 1) / weight is the estimate, centered.

        Later flows of the same step raise the own count, so that they do not all go to one server. The last digits
        are rounded off: they would depend on how many environments are computed together.
        """
        log_weights = (np.log1p(now.counts) - self.estimate(inputs, now.known))[..., None]
        centered = (log_weights - _mean(log_weights, now.known))[..., 0]
        return np.where(now.known, np.round(np.clip(centered, -_CLIP, _CLIP), 6), 0.0)

    def save(self, path: Path) -> None:
        """Write the numbers to an ``.npz`` file."""
        with path.open("wb") as file:
            arrays: dict[str, Any] = {name: np.asarray(x, np.float32) for name, x in self._asdict().items()}
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> Estimator:
        """Read what `save` wrote; the file is data and nothing in it is executed.

        Raises:
            ValueError: there is no such file, or it holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: np.asarray(file[name], np.float64) for name in cls._fields}
        except FileNotFoundError as error:
            raise ValueError(f"estimator={path}: there is no such file") from error
        except (*_UNREADABLE, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"estimator={path}: it holds no estimator, or cannot be read") from error
        _check(arrays, path)
        return cls(**arrays)


class Estimates:
    """Writes weights that follow from estimates into a simulation, step by step.

    Args:
        estimator: what estimates.
        n_features: per server in observations.
    """

    def __init__(self, estimator: Estimator, n_features: int) -> None:
        self._estimator, self._n_features, self._memory = estimator, n_features, Memory()

    @classmethod
    def chosen(cls, settings: Settings, n_features: int) -> Estimates | None:
        """As the settings say; None if they have no estimator.

        Raises:
            ValueError: its file cannot be used.
        """
        if not settings.estimates:
            return None
        file = SHIPPED if settings.estimator is None else Path(settings.estimator)
        return cls(Estimator.load(file), n_features)

    def write(self, world: World, fresh: Flags, active: Flags) -> None:
        """Write the logarithms of the weights that follow from the present observations.

        Args:
            world: the simulation.
            fresh: ``[B]``, in which of its rows an episode begins.
            active: ``[B]``, rows that were played; nothing happens to the others.
        """
        now = seen(world, world.servers.shape[1], self._n_features)
        inputs = self._memory.inputs(now, fresh[:, None], active[:, None])
        world.pairs["lean"][active] = self._estimator.log_weights(inputs, now)[active]


def _check(arrays: Mapping[str, NDArray[np.float64]], path: Path) -> None:
    shape = arrays["own"].shape
    h = shape[1] if len(shape) == 2 else 0
    expected = dict(zip(Estimator._fields, ((N_INPUTS, h), (N_INPUTS, h), (h,), (h, h), (h,), (h,), (1,)), strict=True))
    shapes_fit = all(arrays[name].shape == size for name, size in expected.items())
    if not (0 < h <= _MOST_UNITS and shapes_fit and all((abs(x) < _MOST).all() for x in arrays.values())):
        raise ValueError(f"estimator={path}: it was trained for other inputs than these, or is damaged; train it again")


def _mean(x: Floats, known: Flags) -> Floats:
    """Mean ``[..., 1, F]`` of ``[..., S, F]`` over the servers in use."""
    n = np.maximum(known.sum(axis=-1), 1)[..., None, None]
    total: Floats = np.where(known[..., None], x, 0.0).sum(axis=-2, keepdims=True) / n
    return total


def target(world: World) -> Floats:
    """The truth ``[B, S]`` that `Estimator.estimate` is taught; minus infinity for servers that do not work."""
    capacity = world.servers["cpus"] * world.servers["speed"]
    at_work = capacity > 0.0
    log_capacity = np.log(np.where(at_work, capacity, 1.0))
    return np.where(at_work, np.log1p(world.servers["load"]) - log_capacity, -math.inf)
