"""From counters and a log of ends to the events of single requests: their beginnings are not logged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..envs.loadbalance.live import BEGAN, EVENT, FINISHED, GOES_ON

Row = tuple[int, int, int, int, float, float]


class Counters(NamedTuple):
    """Of a server, from statistics.

    Attributes:
        ongoing: requests on it now.
        begun: requests so far.
        weight: that is set.
        up: whether it may get requests.
    """

    ongoing: int
    begun: int
    weight: int
    up: bool


class Finished(NamedTuple):
    """A request that is over: its server, and when it began and ended, in seconds of the wall clock."""

    server: str
    start: float
    end: float


class _Ongoing(NamedTuple):
    """A request: when it is taken to have begun, its number, and the looks between which it began."""

    start: float
    place: int
    since: float
    until: float

    def distance(self, start: float) -> tuple[float, float]:
        """How far it is from one that began at ``start``: first the looks, then the beginnings."""
        return max(self.since - start, start - self.until, 0.0), abs(self.start - start)


class Flows:
    """Requests of one balancer on S servers, as events of `Live`.

    How many began between two looks is the difference of counters; when, is known once they have finished, and till
    then they are taken to be spread out evenly over that time. So a request that ends is one of those that are taken to
    have begun between the same two looks; if it were another, that one would grow old in its place.

    Args:
        n_servers: S.
        n_places: numbers for on-going requests.
        durations: whether beginnings and on-going requests are reported, not ends alone.
    """

    def __init__(self, n_servers: int, n_places: int, *, durations: bool) -> None:
        self._open: list[list[_Ongoing]] = [[] for _ in range(n_servers)]
        self._free = list(range(n_places))
        self._durations, self._begun, self._last = durations, np.full(n_servers, -1), 0.0

    def events(
        self, counters: Sequence[Counters], finished: Sequence[tuple[int, Finished]], now: float
    ) -> tuple[np.ndarray, int]:
        """What happened since the last call, and how many requests began.

        Args:
            counters: of the servers ``[S]``.
            finished: servers' numbers and requests, in the order of their ends.
            now: seconds, of the same clock.
        """
        begun = np.array([c.begun for c in counters])
        new = np.where(self._begun < 0, 0, np.maximum(begun - self._begun, 0))  # fewer: it was restarted
        arrivals = int(new.sum())
        rows: list[Row] = []
        for j, (_, start, end) in finished:
            rows += self._end(j, start, max(end, start), new)
        if self._durations:
            for j, c in enumerate(counters):
                rows += self._go_on(j, int(new[j]), c.ongoing, now)
        self._begun, self._last = begun, now
        return np.array(rows, EVENT), arrivals

    def _end(self, j: int, start: float, end: float, new: np.ndarray) -> list[Row]:
        if not self._durations:
            return [(FINISHED, 0, j, 0, start, end)]
        if start < self._last and self._open[j]:  # one of those that were under way at the last look
            flow = min(self._open[j], key=lambda flow: flow.distance(start))
            self._open[j].remove(flow)
            place = flow.place
            self._free.append(place)
            return [(FINISHED, 0, j, place, start, end)]
        new[j] -= start >= self._last  # it began and ended since: nobody else's place is taken
        place = self._free[-1]
        return [(BEGAN, 0, j, place, start, start), (FINISHED, 0, j, place, start, end)]

    def _go_on(self, j: int, n_new: int, ongoing: int, now: float) -> list[Row]:
        rows: list[Row] = []
        for k in range(min(n_new, max(len(self._free) - 1, 0))):
            start, place = self._last + (now - self._last) * (k + 0.5) / n_new, self._free.pop()
            self._open[j].append(_Ongoing(start, place, self._last, now))
            rows.append((BEGAN, 0, j, place, start, start))
        while len(self._open[j]) > ongoing:  # the end of one was not logged
            self._free.append(self._open[j].pop(0).place)
        return [*rows, *((GOES_ON, 0, j, flow.place, flow.start, now) for flow in self._open[j])]
