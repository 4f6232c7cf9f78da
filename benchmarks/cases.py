"""What is measured, and who takes part."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent


class Case(NamedTuple):
    """One thing that is measured.

    Attributes:
        name: ``<kind>-<which>``, as the contestants know it.
        title: for people.
        unit: of ``value``.
        seconds: how long it is measured unless told otherwise; 0: as long as it takes.
    """

    name: str
    title: str
    unit: str
    seconds: float

    @property
    def more_is_better(self) -> bool:
        """Whether it is a rate rather than a time."""
        return self.unit.endswith("/s")


CASES: Sequence[Case] = (
    Case("learner-w3", "Update, 32 episodes × 120 steps × 8 agents, 80 obs., 12 actions, state 200", "ms", 8),
    Case("learner-lbf", "Update, 32 episodes × 50 steps × 2 agents, 15 obs., 6 actions, state 30", "ms", 4),
    Case("act-1x2", "Acting, 1 environment × 2 agents", "ms/call", 3),
    Case("act-8x2", "Acting, 8 environments × 2 agents", "ms/call", 3),
    Case("act-8x8", "Acting, 8 environments × 8 agents", "ms/call", 3),
    Case("collect-lbf", "Collecting, Level-Based Foraging 8x8-2p-3f, 8 environments", "env steps/s", 5),
    Case("collect-spread", "Collecting, simple_spread with 3 agents, 8 environments", "env steps/s", 5),
    Case("collect-loadbalance", "Collecting, load balancing 4 × 4, 8 environments", "env steps/s", 5),
    Case("collect-goal_swap", "Collecting, goal swap, 64 environments", "env steps/s", 5),
    Case("random-lbf", "Collecting by a random policy, Level-Based Foraging, 32 environments", "env steps/s", 5),
    *(
        Case(f"step-{env}", f"Stepping {env}, 64 environments, random actions, resets included", "env steps/s", 3)
        for env in ("climbing", "goal_swap", "meeting", "foraging25", "predator_prey", "loadbalance")
    ),
    Case("train-w1-1", "Training W1: Level-Based Foraging, 1 environment", "env steps/s", 10),
    Case("train-w1-8", "Training W1: Level-Based Foraging, 8 environments", "env steps/s", 10),
    Case("train-w2-1", "Training W2: simple_spread, 1 environment", "env steps/s", 10),
    Case("train-w2-8", "Training W2: simple_spread, 8 environments", "env steps/s", 10),
    Case("train-loadbalance-8", "Training: load balancing 4 × 4, 8 environments", "env steps/s", 10),
    Case("start-help", "main.py --help; reference: import torch", "CPU s", 0),
    Case("start-step", "From the start of the program to the first step of an environment", "s", 0),
)


class Contestant(NamedTuple):
    """Who is measured; see contestants.toml."""

    name: str
    script: Path
    overrides: tuple[str, ...]
    cases: tuple[str, ...]
    peer: str | None = None

    @property
    def ours(self) -> bool:
        """Whether it is this project."""
        return self.script.stem == "ours"

    def takes_part(self, case: Case) -> bool:
        """Whether it is measured in a case."""
        return matches(case.name, self.cases)


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name fits one of the patterns, or there are none."""
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def declared() -> list[Contestant]:
    """Everybody in contestants.toml."""
    entries = tomllib.loads((HERE / "contestants.toml").read_text(encoding="utf-8"))
    return [
        Contestant(
            name,
            HERE / "contestants" / entry["script"],
            tuple(entry["overrides"]),
            tuple(entry["cases"]),
            entry.get("peer"),
        )
        for name, entry in entries.items()
    ]


def variant(text: str) -> Contestant:
    """``NAME OVERRIDE ...`` as a contestant of ours, in all cases that overrides can matter for.

    Raises:
        ValueError: there is nothing but a name.
    """
    name, *overrides = text.split()
    if not overrides:
        raise ValueError(f"a variant is a name and overrides, as in 'fast mixer=vdn threads=1'; got {text!r}")
    kinds = "learner-*", "act-*", "collect-*", "train-*"
    return Contestant(name, HERE / "contestants" / "ours.py", tuple(overrides), kinds)
