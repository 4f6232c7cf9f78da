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
from .site import Settable, Sight, Site, SiteError

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
        blind_s: seconds in which a site tells of nothing although something was due, after which the configured weights
            are set; infinite for never.
    """

    step: float
    span: float
    blind_s: float

    def apply(self, wanted: float, present: float, configured: float, settable: Settable) -> float:
        """The weight that may be set."""
        low = max(present / self.step, configured / self.span, settable.least)
        high = min(present * self.step, configured * self.span, settable.most)
        wanted = settable.nearest(wanted)
        if not settable.whole:
            return settable.nearest(min(max(wanted, low), high))
        allowed = min(max(wanted, math.ceil(low - 1e-9)), math.floor(high + 1e-9))
        if allowed == present != wanted and self.step > 1.0:  # of a small weight, the least move is 1
            allowed = present + (1 if wanted > present else -1)
            allowed = present if not configured / self.span <= allowed <= configured * self.span else allowed
        return settable.nearest(allowed)


NO_LIMITS = Limits(math.inf, math.inf, math.inf)


@dataclass(eq=False)
class Pilot:
    """One balancer that is watched and driven.

    Args:
        site: the balancer.
        settings: of the environment that the policy knows.
        limits: of what it may do.
        dry_run: whether it only says what it would set.
        seed: see `Live`.
        say: called with a sentence when sight is lost or regained, and with what a dry run would set.

    Attributes:
        seen: finished requests so far that it was told of.
        weights: that were last set, or would have been, by server.
        last: what it saw last.
    """

    site: Site
    settings: Settings
    limits: Limits
    dry_run: bool
    seed: int
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.seen, self.weights = 0, dict[str, float]()
        self._configured, self._unit = dict[str, float](), 1.0
        self._blind, self._in_effect = "", True
        self._lost_for = set[str]()  # reasons that were told since it last saw
        self._heard = time.monotonic()
        self.last: tuple[NDArray[np.float32], NDArray[np.bool_]] | None = None

    def connect(self) -> None:
        """Learn of the servers and of the weights that are configured.

        Raises:
            SiteError: the site does not answer.
            ValueError: the settings do not fit its servers.
        """
        self._configured = dict(self.site.weights())
        self.weights = dict(self._configured)
        settings = replace(self.site.fitted(self.settings), cpus=[1] * len(self.weights), nominal_weights=None)
        driven = [w for w in self._configured.values() if w > 0.0] or [1.0]
        self._unit = settings.weight_unit or math.exp(np.log(driven).mean())  # real weights mean something as ratios
        self._in_units = settings.weight_unit is not None
        self._live = Live(replace(settings, slots=None), 1, self.seed)
        self.look()

    def look(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Observation ``[1, O]`` and available actions ``[1, U]``.

        Raises:
            SiteError: the site does not answer, or its servers are others than before.
        """
        sight = self.site.look(self._live)
        self.seen += sight.finished
        self._notice(sight)
        configured = np.array(list(self._configured.values()))
        driven = configured > 0.0
        self._live.configure(np.where(driven, configured, self._unit) / self._unit, sight.known & driven)
        self.last = self._live.observe(sight.now, sight.ongoing[None], np.array([sight.arrivals]))
        return self.last

    def move(self, action: int) -> None:
        """Set the weights that follow from an action, or the configured ones if it does not see what happens.

        Raises:
            SiteError: the site cannot be told.
        """
        wanted = self._live.decide(np.array([action]))[0] * (1.0 if self._in_units else self._unit)
        if self._blind or not self._in_effect:
            self.restore()
            return
        self._tell(
            {
                name: self.limits.apply(float(w), self.weights[name], self._configured[name], self.site.settable)
                for name, w in zip(self._configured, wanted, strict=True)
                if w > 0.0
            }
        )

    def restore(self) -> None:
        """Set the configured weights.

        Raises:
            SiteError: the site cannot be told.
        """
        if self._configured:
            self._live.forget_moves()
            self._tell({name: w for name, w in self._configured.items() if w > 0.0})
            self._in_effect = True

    def lost(self, reason: str) -> None:
        """Note that the site does not answer: once it does, the configured weights are set first."""
        if reason not in self._lost_for:
            self.say(f"{reason}; the configured weights are set as soon as it can be reached")
        self._lost_for.add(reason)
        self._blind, self._in_effect = reason, False

    @property
    def blind(self) -> bool:
        """Whether it does not see what happens."""
        return bool(self._blind)

    def _notice(self, sight: Sight) -> None:
        """Whether the site tells of what happens."""
        clock = time.monotonic()
        if sight.told or not sight.due:
            self._heard = clock
            if sight.told and self._blind and self._in_effect:
                self.say("requests are seen again")
                self._blind = ""
                self._lost_for.clear()
        elif clock - self._heard > self.limits.blind_s and not self._blind:
            self._blind = self.site.silence.format(self.limits.blind_s)
            self.say(f"{self._blind}; setting the configured weights")

    def _tell(self, weights: Mapping[str, float]) -> None:
        changed = {name: w for name, w in weights.items() if w != self.weights[name]}
        if not self.dry_run:
            self.site.set_weights(weights)
        elif changed:
            self.say("would set " + listed(changed))
        self.weights.update(weights)


def listed(weights: Mapping[str, float]) -> str:
    """Servers and their weights, for people."""
    return ", ".join(f"{name} {w:.4g}" for name, w in weights.items())


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
