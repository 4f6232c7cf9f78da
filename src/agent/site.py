"""What drives any kind of load balancer needs from it: a site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ..envs.loadbalance.live import Live
from ..envs.loadbalance.settings import Settings


class SiteError(Exception):
    """The load balancer cannot be reached, or does not answer as it should; the message is one sentence."""


class Option(NamedTuple):
    """An option of the command line that a kind of site needs, such as ``--socket``."""

    name: str
    metavar: str
    about: str

    @property
    def key(self) -> str:
        """Its name without dashes."""
        return self.name.lstrip("-")


class Settable(NamedTuple):
    """Weights that can be set: from the least to the largest, and whether integers alone."""

    least: float
    most: float
    whole: bool

    def nearest(self, weight: float) -> float:
        """The one closest to a number."""
        return min(max(round(weight) if self.whole else weight, self.least), self.most)


class Sight(NamedTuple):
    """What a look tells, besides what it reports to `Live`; servers ``[S]`` in the order of observations.

    Attributes:
        now: seconds, of the clock of what is reported.
        ongoing: ``[S]`` flows on them.
        arrivals: flows that began since the last look.
        known: ``[S]``, which of them may get flows.
        finished: flows it told of that finished since the last look.
        told: whether it told of anything since the last look.
        due: whether something has happened that it should tell of.
    """

    now: float
    ongoing: NDArray[np.int64]
    arrivals: int
    known: NDArray[np.bool_]
    finished: int
    told: bool
    due: bool


class Site(Protocol):
    """A load balancer that runs.

    Attributes:
        options: of the command line, all of which it needs.
        notes: what its users have to know, for the help.
        settable: weights that it can have.
        silence: what is said once nothing was told for a time although something was due; ``{:g}`` are the seconds.
    """

    options: ClassVar[Sequence[Option]]
    notes: ClassVar[str]
    settable: ClassVar[Settable]
    silence: ClassVar[str]

    @classmethod
    def opened(cls, given: Mapping[str, str], dry_run: bool) -> Self:
        """The site that options mean.

        Args:
            given: values of its options, by their keys.
            dry_run: whether no weight will be set.

        Raises:
            ConfigError: a value cannot be meant.
            SiteError: it is not there.
        """

    @property
    def name(self) -> str:
        """What is driven, for people."""

    def weights(self) -> Mapping[str, float]:
        """Names of its servers and the weights that are set, in the order of observations.

        Raises:
            SiteError: it does not answer.
        """

    def fitted(self, settings: Settings) -> Settings:
        """Settings of the policy's environment, except for what is otherwise here.

        Raises:
            ValueError: it does not tell what they need.
        """

    def look(self, live: Live) -> Sight:
        """Report to ``live`` what happened to flows since the last call.

        Raises:
            SiteError: it does not answer, was started anew, or its servers are others than before.
        """

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Set weights by server; the others stay as they are.

        Raises:
            SiteError: it cannot be told, or refuses.
            ValueError: a weight is not settable.
        """

    def close(self) -> None:
        """Let go of it."""
