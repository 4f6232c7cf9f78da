"""Balancers whose flows are served elsewhere: the simulator's own measuring, observing and deciding, without servers.

Whoever watches a real load balancer reports its flows here, gets the observations that the simulator would write for
the same flows, and turns actions into the weights that the simulator would give to its data plane: by the same compiled
functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...components import rng
from ...components.compiled import entry_point, sources
from ...components.rng import derive
from .assembly import parameters, sizes
from .draws import PACKETS, STREAM_NUMBERS, next_exponential
from .estimator import Estimates
from .layout import Flags, Floats, Integers, Records, Singles, World, allocate
from .observations import measure_all, observe_balancers, offer
from .parameters import COMPLETION, DURATION, Parameters
from .reservoirs import offer_sample, reservoir_of
from .servers import hear
from .settings import Settings
from .simulation import decide, in_use, row_of
from .traces import read_trace

EVENT = np.dtype(
    [("kind", "i8"), ("balancer", "i8"), ("server", "i8"), ("flow", "i8"), ("start", "f8"), ("time", "f8")], align=True
)
"""What happened to a flow. Balancer, server and flow are numbers from 0, the latter that of its place."""

BEGAN, GOES_ON, FINISHED = 0, 1, 2
"""Kinds of event: a flow began at ``start``; it goes on at ``time``; it began at ``start`` and finished at ``time``."""

MOST_GROWTH = 100.0
"""The logarithm of ``decay ** -t`` at which times are counted from a later instant on."""
_LEAST = 1e-300
"""What is left of a sample's weight that has decayed to nothing: 0 would be an empty slot."""


class Live:
    """The balancers' side of an environment.

    Args:
        settings: of the environment; ``cpus`` has as many servers as there are, their numbers do not matter.
        n_balancers: L.
        seed: of the places in reservoirs, and of the instants at which durations are sampled.

    Attributes:
        parameters: what stays the same.
        n_servers: S.
        n_places: places for flows of which the beginning was reported and the end was not.
        needs_durations: whether observations have durations, for which beginnings must be reported, too.

    Raises:
        ValueError: settings at odds with each other.
    """

    def __init__(self, settings: Settings, n_balancers: int, seed: int) -> None:
        settings.check()
        trace = None if settings.trace is None else read_trace(settings.trace)
        self.parameters = p = parameters(settings, trace)
        shape = sizes(settings, p, 1, n_balancers)._replace(instants=1, records=1, served=1, state_dim=1, rewards=1)
        self._world, self._origin = allocate(shape), 0.0
        self._estimates, self._fresh = Estimates.chosen(settings, p.measuring.n_features), np.ones(1, np.bool_)
        self.n_servers, self.n_places = shape.slots, self._world.flows.shape[1]
        self.needs_durations = p.measuring.last == DURATION and p.measuring.ack_rate > 0.0
        key = derive(np.array([seed], np.uint64), STREAM_NUMBERS[PACKETS])
        self._world.streams["key"][0, PACKETS] = key[0]
        self._world.servers["known"][0] = True
        self._world.servers["nominal"][0] = 1.0
        self._world.reservoirs["n"][0] = p.measuring.reservoir if p.measuring.zero_fill else 0

    def configure(self, nominal: Floats, known: Flags) -> None:
        """Set the configured weights ``[S]`` of servers, and which of them ``[S]`` may get flows."""
        self._world.servers["nominal"][0] = nominal
        self._world.servers["known"][0] = known

    def report(self, events: Records) -> None:
        """Take note of events ``[n]`` of `EVENT`, those of a flow in the order of time."""
        if len(events):
            self._keep_in_range(float(events["time"].max()))
        events = events.copy()
        events["start"] -= self._origin
        events["time"] -= self._origin
        _report(self.parameters, self._world, events)

    def hold(self, times: Floats, values: Floats, full: Flags, now: float) -> None:
        """Have reservoirs hold other samples, of a balancer that keeps its own; not together with `report`.

        Args:
            times: when samples were taken, ``[L, S, 2, K]``: completion times, then durations; K as in the settings.
            values: the samples, in seconds.
            full: which of these slots hold one.
            now: the time of the next `observe`; it may be earlier than before.
        """
        world, samples = self._world, self._world.samples[0]
        times, values, full = (x.reshape(samples.shape) for x in (times, values, full))
        self._origin = now
        ages = np.where(full, now - times, 0.0)
        grown = np.maximum(np.exp(-self.parameters.measuring.growth * ages), _LEAST)
        samples["value"], samples["grown"] = np.where(full, values, 0.0), np.where(full, grown, 0.0)
        zero_fill = self.parameters.measuring.zero_fill
        reservoirs = world.reservoirs[0]
        reservoirs["n"] = full.shape[-1] if zero_fill else full.sum(axis=-1)
        reservoirs["values"] = samples["value"].sum(axis=-1)
        reservoirs["squares"] = np.square(samples["value"]).sum(axis=-1)
        world.by_value[0] = _sorted(samples["value"], full | zero_fill)
        self._weigh(full)

    def observe(self, now: float, counts: Integers, arrivals: Integers) -> tuple[Singles, Flags]:
        """What the balancers see at a time: observations ``[L, O]``, and which actions are available ``[L, U]``.

        Args:
            now: seconds.
            counts: ``[L, S]`` on-going flows.
            arrivals: ``[L]`` flows that began since the last call.
        """
        self._keep_in_range(now)
        world = self._world
        world.pairs["count"][0] = counts
        world.balancers["arrivals"][0] = arrivals
        _look(self.parameters, world, now - self._origin)
        if self._estimates is not None:
            self._estimates.write(world, self._fresh, np.ones(1, np.bool_))
            self._fresh[:] = False
        return world.obs[0].copy(), world.avail[0].copy()

    def decide(self, actions: Integers) -> Floats:
        """The weights ``[L, S]`` that follow from what was last seen and from actions ``[L]``.

        Actions have no effect where the settings have a rule, such as ``latency``.
        """
        _decide(self.parameters, self._world, np.asarray(actions, np.int64)[None])
        weights: Floats = self._world.pairs["weight"][0].copy()
        return weights

    def forget_moves(self) -> None:
        """Begin with the configured weights again."""
        for name in ("tilt", "lean", "push"):
            self._world.pairs[name][0] = 0.0
        self._fresh[:] = True

    def statistics(self) -> Records:
        """What `observe` found of completion times and durations: ``[L, S, 2]`` records of `RESERVOIR`."""
        shape = (*self._world.pairs.shape[1:], 2)
        return self._world.reservoirs[0].reshape(shape).copy()

    def _keep_in_range(self, now: float) -> None:
        """Count times from ``now`` on if it is far from the origin, which changes no statistic."""
        world, passed = self._world, now - self._origin
        if self.parameters.measuring.growth * passed <= MOST_GROWTH:
            return
        shrink = math.exp(-self.parameters.measuring.growth * passed)
        samples = world.samples[0]
        full = samples["grown"] > 0.0
        samples["grown"] = np.where(full, np.maximum(samples["grown"] * shrink, _LEAST), 0.0)
        self._weigh(full)
        for name in ("start", "next_ack"):
            world.flows[name][0] -= passed
        self._origin = now

    def _weigh(self, full: Flags) -> None:
        """Take sums and order of the weighted samples anew."""
        world, samples = self._world, self._world.samples[0]
        products = samples["value"] * samples["grown"]
        world.by_weighted[0] = _sorted(products, full | self.parameters.measuring.zero_fill)
        world.reservoirs["weighted"][0] = products.sum(axis=-1)
        world.reservoirs["grown"][0] = samples["grown"].sum(axis=-1)


def _sorted(numbers: Floats, counted: Flags) -> Floats:
    """Those of the last axis that are counted, in their order, and zeros."""
    ordered = np.sort(np.where(counted, numbers, np.inf), axis=-1)
    return np.where(np.isinf(ordered), 0.0, ordered)


def _compile(version: int) -> tuple[Callable[..., int], ...]:
    """The entry points; the version becomes part of numba's key in its cache of compiled functions."""

    @entry_point
    def report(p: Parameters, w: World, events: Records) -> int:
        row = row_of(w, 0)
        for n in range(len(events)):
            event = events[n]
            flow = row.flows[event.flow]
            if event.kind == BEGAN:
                flow.start = event.start
                flow.balancer = event.balancer
                flow.next_ack = math.inf
                if p.measuring.ack_rate > 0.0 and p.measuring.last == DURATION:
                    flow.next_ack = event.start + next_exponential(row.streams[PACKETS]) / p.measuring.ack_rate
                continue
            if event.kind == FINISHED:
                flow.start = event.start
                flow.balancer = event.balancer
            if p.measuring.last == DURATION:
                hear(p, row, event.server, event.flow, event.time)
            if event.kind == FINISHED:
                r = reservoir_of(row, event.balancer, event.server, COMPLETION)
                offer_sample(p.measuring, row, row.streams[PACKETS], r, event.time, event.time - event.start)
                flow.next_ack = math.inf
        return version

    @entry_point
    def look(p: Parameters, w: World, now: float) -> int:
        row = row_of(w, 0)
        row.episode.now = now
        measure_all(p, row)
        observe_balancers(p, row)
        offer(p, row)
        return version

    @entry_point
    def move(p: Parameters, w: World, actions: Integers) -> int:
        row = row_of(w, 0)
        decide(p, row, actions[0])
        for i in range(len(row.balancers)):
            for j in range(len(row.servers)):
                row.pairs[i, j].weight = in_use(p, row.pairs[i, j].pending)
        return version

    return report, look, move


_report, _look, _decide = _compile(sources(Path(rng.__file__), *Path(__file__).parent.glob("*.py")))
