"""What measured columns mean to a reader: their names in words, units, and which direction is better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Measure(NamedTuple):
    """A column of evaluations.

    Attributes:
        words: what it is.
        unit: of its values; empty for a plain number.
        better: ``higher`` or ``lower``.
    """

    words: str
    unit: str
    better: str

    @property
    def label(self) -> str:
        """What it is, and its unit."""
        return f"{self.words} ({self.unit})" if self.unit else self.words

    @property
    def meaning(self) -> str:
        """All of it in one line."""
        return f"{self.label}, {self.better} is better"

    @property
    def axis(self) -> str:
        """All of it in two lines."""
        return f"{self.label}\n{self.better} is better"


MEASURES: Mapping[str, Measure] = {
    "return": Measure("return per episode", "", "higher"),
    "jct_mean": Measure("mean job completion time", "ms", "lower"),
    "jain_tau": Measure("Jain's index of the servers' merged durations", "1 is fair", "higher"),
}
"""Those that pictures and tables explain; an environment's own metrics have the names that it gave them."""


def span(counts: Iterable[int]) -> str:
    """The smallest and the largest of some counts, or the one there is: ``3-5``."""
    known = {*counts}
    return "-".join(str(count) for count in sorted({min(known), max(known)}))
