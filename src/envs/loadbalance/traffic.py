"""The traffic of an episode alone, for whoever plays it elsewhere: on other servers, or in another program."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...components import rng
from ...components.compiled import entry_point, sources
from ...components.rng import derive
from .arrivals import change_rate, entrance, schedule, size_of, start_trace
from .draws import STREAM_NUMBERS
from .layout import Floats, Integers, Sizes, World, allocate
from .parameters import Parameters
from .scenarios import start_script, write_script
from .simulation import row_of

_ONE = np.uint64(1)


class Traffic(NamedTuple):
    """The flows of an episode, in the order of their arrival.

    Attributes:
        times: ``[n]``, seconds from the beginning of the warm-up.
        balancers: ``[n]``, at which of them a flow arrives.
        sizes: ``[n]``, CPU-seconds.
    """

    times: Floats
    balancers: Integers
    sizes: Floats


def traffic(p: Parameters, sizes: Sizes, seed: np.uint64) -> Traffic:
    """The flows of the episode that `Engine.reset` starts with this seed; they are the same under any rule.

    Args:
        p: of the simulation.
        sizes: of the simulation.
        seed: the episode's key.
    """
    world = allocate(sizes._replace(rows=1, max_clients=1, served=1, reservoir=1))
    for stream, number in enumerate(STREAM_NUMBERS):
        world.streams["key"][0, stream] = derive(np.array([seed], np.uint64), number)[0]
    n = 1024
    while True:
        found = Traffic(np.zeros(n), np.zeros(n, np.int64), np.zeros(n))
        count, _ = _list_flows(p, world, *found)
        if count <= n:
            return Traffic(found.times[:count], found.balancers[:count], found.sizes[:count])
        n = count


def _compile(version: int) -> Callable[..., tuple[int, int]]:
    """The entry point; the version becomes part of numba's key in its cache of compiled functions."""

    @entry_point
    def list_flows(p: Parameters, w: World, times: Floats, balancers: Integers, sizes: Floats) -> tuple[int, int]:
        row = row_of(w, 0)
        episode, n, last = row.episode, 0, len(row.rates) - 1
        episode.now = 0.0
        episode.instant = 0
        episode.n_flows = np.uint64(0)
        episode.trace_at = 0
        for s in range(len(row.streams)):
            row.streams[s].drawn = np.uint64(0)
        write_script(p, row)
        start_script(row)
        if p.traffic.use_trace_times:
            start_trace(p, row)
        schedule(p, row, 0.0)
        while episode.instant < last:
            end = p.scenario.dt * (episode.instant + 1)
            while episode.next_arrival <= end and episode.next_arrival < math.inf:
                t = episode.next_arrival
                size, _ = size_of(p, row)
                if n < len(times):
                    times[n] = t
                    balancers[n] = entrance(row)
                    sizes[n] = size * episode.size_factor
                n += 1
                episode.n_flows += _ONE
                episode.trace_at += 1
                schedule(p, row, t)
            episode.now = end
            episode.instant += 1
            change_rate(p, row, episode.base_rate * row.rates[episode.instant])
        return n, version

    return list_flows


_list_flows = _compile(sources(Path(rng.__file__), *Path(__file__).parent.glob("*.py")))
