"""What drives the weights of load balancers that really run: look, decide, move, within limits, and back if blind."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..envs.loadbalance.live import Live
from ..envs.loadbalance.settings import Settings
from .flows import Flows
from .haproxy import Counters, Finished, RequestLog, RuntimeApi, SiteError

_CATCH_UP = 4
"""Decisions that are late by more than so many intervals are left out."""


class Policy(Protocol):
    """What chooses actions: an exported policy, or one that was loaded from a run."""

    def act(self, obs: Any, avail: Any = None, state: Any = None) -> tuple[Any, Any]:
        """Actions ``[A]`` for observations ``[A, O]``, and the next state; see `hymarl.Policy.act`."""


class Limits(NamedTuple):
    """How far and how fast weights may move.

    Attributes:
        step: largest factor between a weight and the next one; infinite for none.
        span: largest factor between a weight and the configured one; infinite for none.
        blind_s: seconds without a finished request in the log, while requests begin, after which the configured weights
            are set; infinite for never.
    """

    step: float
    span: float
    blind_s: float

    def apply(self, wanted: int, present: int, configured: int) -> int:
        """The weight that may be set."""
        low = max(present / self.step, configured / self.span, 1.0)
        high = min(present * self.step, configured * self.span, 256.0)
        allowed = min(max(wanted, math.ceil(low - 1e-9)), math.floor(high + 1e-9))
        if allowed == present != wanted and self.step > 1.0:  # of a small weight, the least move is 1
            allowed = present + (1 if wanted > present else -1)
            allowed = present if not configured / self.span <= allowed <= configured * self.span else allowed
        return min(max(allowed, 1), 256)


NO_LIMITS = Limits(math.inf, math.inf, math.inf)


@dataclass(eq=False)
class Pilot:
    """One balancer that is watched and driven.

    Args:
        api: its runtime API.
        log: its log.
        settings: of the environment that the policy knows.
        limits: of what it may do.
        dry_run: whether it only says what it would set.
        speed: simulated seconds per second.
        seed: see `Live`.
        say: called with a sentence when sight is lost or regained, and with what a dry run would set.

    Attributes:
        seen: finished requests so far.
        weights: that were last set, or would have been, by server.
        last: what it saw last.
    """

    api: RuntimeApi
    log: RequestLog
    settings: Settings
    limits: Limits
    dry_run: bool
    speed: float
    seed: int
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.seen, self.weights = 0, dict[str, int]()
        self._configured, self._blind, self._begun = dict[str, int](), "", 0
        self._heard = time.monotonic()
        self.last: tuple[NDArray[np.float32], NDArray[np.bool_]] | None = None

    def connect(self) -> None:
        """Learn of the servers and of the weights that are configured.

        Raises:
            SiteError: HAProxy cannot be asked, or has no such backend.
            ValueError: the settings do not fit its servers.
        """
        counters = self.api.counters()
        self._configured = {name: max(c.weight, 1) for name, c in counters.items()}
        self.weights = dict(self._configured)
        names = list(counters)
        self._number = {name: j for j, name in enumerate(names)}
        n = len(names)
        self._live = Live(replace(self.settings, cpus=[1] * n, nominal_weights=None, slots=None), 1, self.seed)
        self._flows = Flows(n, self._live.n_places, durations=self._live.needs_durations)
        self._look_at(counters, [])

    def look(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Observation ``[1, O]`` and available actions ``[1, U]``.

        Raises:
            SiteError: HAProxy cannot be asked, or its servers are others than before.
        """
        counters = self.api.counters()
        if list(counters) != list(self._configured):
            raise SiteError(f"the servers of {self.api.backend} are {', '.join(counters)} now; start the agent anew")
        return self._look_at(counters, self.log.read())

    def move(self, action: int) -> None:
        """Set the weights that follow from an action, or the configured ones if it does not see what happens.

        Raises:
            SiteError: HAProxy cannot be told.
        """
        wanted = self._live.decide(np.array([action]))[0]
        if self._blind:
            self._live.forget_moves()
            self._set(self._configured)
            return
        targets = {
            name: self.limits.apply(
                min(max(round(float(wanted[j])), 1), 256), self.weights[name], self._configured[name]
            )
            for name, j in self._number.items()
            if wanted[j] > 0.0
        }
        self._set({**self.weights, **targets})

    def restore(self) -> None:
        """Set the configured weights.

        Raises:
            SiteError: HAProxy cannot be told.
        """
        if self._configured:
            self._live.forget_moves()
            self.weights = dict.fromkeys(self._configured, -1)  # whatever it has now
            self._set(self._configured)

    def lost(self, reason: str) -> None:
        """Note that HAProxy cannot be asked: once it can be, the configured weights are set first."""
        if self._blind != reason:
            self.say(f"{reason}; the configured weights are set as soon as it can be reached")
        self._blind = reason
        self.weights = dict.fromkeys(self._configured, -1)

    @property
    def blind(self) -> bool:
        """Whether it does not see what happens."""
        return bool(self._blind)

    def _look_at(
        self, counters: Mapping[str, Counters], finished: Sequence[Finished]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        known = [f for f in finished if f.server in self._number]
        self.seen += len(known)
        now, speed = time.time() * self.speed, self.speed
        rows = [(self._number[f.server], Finished(f.server, f.start * speed, f.end * speed)) for f in known]
        events, arrivals = self._flows.events(list(counters.values()), rows, now)
        self._notice(len(known), sum(c.begun for c in counters.values()))
        nominal = np.array([self._configured[name] / (self.settings.weight_unit or 1) for name in counters])
        self._live.configure(nominal, np.array([c.up and c.weight > 0 for c in counters.values()]))
        self._live.report(events)
        counts = np.array([[c.ongoing for c in counters.values()]])
        self.last = self._live.observe(now, counts, np.array([arrivals]))
        return self.last

    def _notice(self, n_finished: int, begun: int) -> None:
        """Whether the log tells of what begins."""
        clock = time.monotonic()
        if n_finished or begun == self._begun:
            self._heard = clock
            if n_finished and self._blind:
                self.say("requests are seen again")
                self._blind = ""
        elif clock - self._heard > self.limits.blind_s and not self._blind:
            self._blind = (
                f"the log has told of no finished request for {self.limits.blind_s:g} s although requests begin"
            )
            self.say(f"{self._blind}; setting the configured weights")
        self._begun = begun

    def _set(self, weights: Mapping[str, int]) -> None:
        changed = {name: w for name, w in weights.items() if w != self.weights[name]}
        if self.dry_run and changed:
            self.say("would set " + ", ".join(f"{name} {w}" for name, w in changed.items()))
        elif changed:
            self.api.set_weights(changed)
        self.weights = dict(weights)


class Rounds(NamedTuple):
    """What a course of decisions cost: seconds from the first look to the last weight, and how late each began."""

    took: Sequence[float]
    late: Sequence[float]


def drive(
    pilots: Sequence[Pilot],
    policy: Policy | None,
    interval_s: float,
    stop: Callable[[], bool],
    decides: Callable[[float], bool],
) -> Rounds:
    """Let balancers be driven until ``stop()`` says so.

    Args:
        pilots: connected.
        policy: chooses the actions; ``None``: the settings have a rule that needs none.
        interval_s: seconds between decisions.
        stop: asked before every decision.
        decides: whether it decides at an instant (``time.monotonic``), or only looks.
    """
    state: Any = None
    took, late, tick = [], [], time.monotonic()
    while not stop():
        if (delay := tick - time.monotonic()) > 0:
            time.sleep(min(delay, 0.2))
            if delay > 0.2:
                continue
        start = time.monotonic()
        seen = [_looked(pilot) for pilot in pilots]
        if decides(tick):
            actions = [0] * len(pilots)
            if policy is not None:
                obs, avail = (np.concatenate([s[k] for s in seen]) for k in (0, 1))
                actions, state = policy.act(obs, avail, state)
            for pilot, action in zip(pilots, actions, strict=True):
                _moved(pilot, int(action))
            took.append(time.monotonic() - start)
            late.append(start - tick)
        behind = (time.monotonic() - tick) // interval_s
        tick += interval_s * (behind if behind > _CATCH_UP else 1)
    return Rounds(took, late)


def _looked(pilot: Pilot) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    try:
        return pilot.look()
    except SiteError as error:
        pilot.lost(str(error))
    assert pilot.last is not None  # since it is connected
    return pilot.last


def _moved(pilot: Pilot, action: int) -> None:
    try:
        pilot.move(action)
    except SiteError as error:
        pilot.lost(str(error))
