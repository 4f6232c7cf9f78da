"""Evaluating: the policy of an earlier run or a scripted one, beside those that the environment names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..components.devices import check_device, torch_threads
from ..components.files import write_atomically, writing
from ..components.rng import Stream
from ..components.spec import EnvSpec
from ..components.threads import decide
from ..policies.base import Policy
from ..policies.saved import read_policy
from ..reports.comparison import Comparison
from ..runners.base import Runner
from ..training.evaluation import Evaluation, evaluate
from ..training.run_directory import RunDirectory
from .assembly import build_runner, environment_for, scripted_policy
from .check import check_metrics
from .config import Component, RunConfig, options
from .protocol import as_lines
from .render import Medium, render
from .saved import to_yaml

LEARNED = "learned"
"""What the learned policy is called beside scripted ones."""
RANDOM = "random"
"""The scripted policy that every environment can be played with."""


class Player(NamedTuple):
    """A policy that is to be tested, and in which environment.

    Attributes:
        config: the run's, with the settings of the environment that the policy asks for.
        make: makes the policy for an environment of these sizes.
    """

    config: RunConfig
    make: Callable[[EnvSpec], Policy]


class Subject(NamedTuple):
    """A policy that is measured apart from training.

    Attributes:
        name: what it is called beside others.
        player: the policy.
        step: of training that it has seen.
        weights: the file that it was read from, None for a scripted one.
    """

    name: str
    player: Player
    step: int = 0
    weights: Path | None = None


@dataclass(frozen=True)
class Measured:
    """What a policy and those beside it did.

    Attributes:
        subject: the policy.
        comparison: what all of them did.
        spec: sizes of the environment.
        shown: where the first episode was shown, a sentence, if that was asked for.
    """

    subject: Subject
    comparison: Comparison
    spec: EnvSpec
    shown: Sequence[str]

    def text(self) -> str:
        """For people."""
        name, player, step, weights = self.subject
        measured = {
            "policy": f"{name}, {weights}, step {step:,}" if weights else name,
            "environment": player.config.components["env"].option,
            "agents": self.spec.n_agents,
            "evaluation_seed": player.config.eval.seed,
        }
        return "\n".join([*self.shown, as_lines(measured), "", self.comparison.text()])


def learned(config: RunConfig, source: Path) -> Subject:
    """The policy of an earlier run.

    Args:
        config: what it is to play.
        source: directory of the run, or a file of weights.

    Raises:
        CheckpointError: there is none.
    """
    saved = read_policy(source, config.eval.checkpoint)
    player = Player(config, lambda spec: saved.policy(spec, config.device, config.trust))
    return Subject(LEARNED, player, saved.step, saved.path)


def scripted(config: RunConfig) -> Subject:
    """The configured scripted policy (``policy=sed``)."""
    policy = config.components["policy"]
    return Subject(policy.option, scripted_player(config, policy))


def measure(
    config: RunConfig,
    subject: Subject,
    path: Path | None = None,
    medium: Medium | None = None,
    warn: Callable[[str], None] = print,
) -> Measured:
    """Play the test episodes with a policy, and with the scripted ones that the environment names.

    Args:
        config: what to play.
        subject: the policy.
        path: the directory to write to; ``None``: nothing is written.
        medium: where to show the first episode; ``None``: nowhere.
        warn: takes a line about an environment that failed.

    Raises:
        ConfigError: the policy does not fit the environment.
        WriteError: a file could not be written.
    """
    check_device(config.device)
    specs, films = list[EnvSpec](), list[Callable[[Path], str]]()
    name, player = subject.name, subject.player

    def others(spec: EnvSpec) -> Mapping[str, Player]:
        """Before anything is played: refuse what cannot be written, show what was asked for."""
        check_metrics(config, spec)
        specs.append(spec)
        if medium:
            films.append(render(player.config, name, player.make, medium))
        return references(config, spec)

    with torch_threads(decide(config.threads, 1, False).torch):
        comparison = compare(config, {name: player}, others, subject.step, warn)
    shown: list[str] = []
    if path:
        directory = RunDirectory(path)
        write_atomically(path / "config.yaml", to_yaml(config).encode())
        with writing(path):
            comparison.write(directory.path)
            shown = [write_film(directory.path) for write_film in films]
    return Measured(subject, comparison, specs[0], shown)


def scripted_player(config: RunConfig, policy: Component) -> Player:
    """A scripted policy, in the environment that it asks for."""
    return Player(environment_for(config, policy), partial(scripted_policy, policy))


def references(config: RunConfig, spec: EnvSpec) -> dict[str, Player]:
    """The scripted policies that the environment names, or a random one, if they are to be compared.

    Raises:
        ConfigError: there is no such policy, or it does not fit the environment.
    """
    if not config.eval.references:
        return {}
    policies = options("policy", spec.references or (RANDOM,), config.searchpath)
    return {name: scripted_player(config, policy) for name, policy in policies.items()}


def compare(
    config: RunConfig,
    policies: Mapping[str, Player],
    others: Callable[[EnvSpec], Mapping[str, Player]],
    step: int,
    warn: Callable[[str], None],
) -> Comparison:
    """Play the test episodes with each policy.

    Policies that play in the same environment share a runner. Only one runner exists at a time: its environments may
    need much memory, or processes of their own.

    Args:
        config: how to test.
        policies: by name.
        others: the policies that an environment names, see `references`.
        step: of training that the policies have seen.
        warn: takes a line about an environment that failed.
    """
    players, evaluations, spec = dict(policies), dict[str, Evaluation](), None
    while len(evaluations) < len(players):
        shared = next(p.config for name, p in players.items() if name not in evaluations)
        with _test_runner(shared, warn) as runner:
            if spec is None:
                spec = runner.spec
                players |= {name: p for name, p in others(spec).items() if name not in players}
            for name in (name for name, p in players.items() if p.config == shared):
                policy = players[name].make(runner.spec)
                evaluations[name] = evaluate(policy, runner, config.eval.test_episodes, step=step, stream="test")
    assert spec is not None
    baseline = spec.references[-1] if spec.references else None
    return Comparison({name: evaluations[name] for name in players}, spec.headline_metrics, baseline)


@contextmanager
def _test_runner(config: RunConfig, warn: Callable[[str], None]) -> Iterator[Runner]:
    """A runner of test episodes; what failed in it is reported at the end, whatever happens."""
    runner = build_runner(config, Stream.TEST)
    try:
        yield runner
    finally:
        runner.close()
        for failure in runner.failures:
            warn(f"warning: {failure}")
