"""Evaluate the policy of an earlier run or a scripted one, and compare it with those that the environment names."""

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
from ..registry import ConfigError
from ..reports.comparison import Comparison
from ..runners.base import Runner
from ..training.evaluation import Evaluation, evaluate
from ..training.run_directory import RunDirectory
from .assembly import build_runner, environment_for, scripted_policy
from .check import check_metrics
from .config import Component, RunConfig, options
from .protocol import as_lines, team
from .render import Medium, render
from .saved import to_yaml

LEARNED = "learned"
"""The name of the learned policy in a comparison."""
RANDOM = "random"
"""The scripted policy that every environment can be played with."""


class Player(NamedTuple):
    """A policy to test, and the environment to test it in.

    Attributes:
        config: the run's configuration, changed to the settings of the environment that the policy needs.
        make: makes the policy from the environment's sizes.
    """

    config: RunConfig
    make: Callable[[EnvSpec], Policy]


class Subject(NamedTuple):
    """The policy that is evaluated, as opposed to those that it is compared with.

    Attributes:
        name: its name in the comparison.
        player: the policy and its environment.
        step: the training step of its weights; 0 for a scripted one.
        weights: the file that it was read from, None for a scripted one.
    """

    name: str
    player: Player
    step: int = 0
    weights: Path | None = None


@dataclass(frozen=True)
class Measured:
    """The result of `measure`.

    Attributes:
        subject: the policy that was evaluated.
        comparison: the results of all policies.
        spec: sizes of the environment.
        shown: if the first episode was rendered, a sentence that says where it can be seen.
    """

    subject: Subject
    comparison: Comparison
    spec: EnvSpec
    shown: Sequence[str]

    def text(self) -> str:
        """The result as text to print."""
        name, player, step, weights = self.subject
        measured = {
            "policy": f"{name}, {weights}, step {step:,}" if weights else name,
            "environment": player.config.components["env"].option,
            "agents": team(player.config, self.spec),
            "evaluation_seed": player.config.eval.seed,
        }
        return "\n".join([*self.shown, as_lines(measured), "", self.comparison.text()])


def learned(config: RunConfig, source: Path) -> Subject:
    """The policy of an earlier run.

    Args:
        config: the environment and the evaluation to play.
        source: directory of the run, or a weights file.

    Raises:
        CheckpointError: there are no weights, or they cannot be read.
    """
    saved = read_policy(source, config.eval.checkpoint)
    player = Player(config, lambda spec: saved.policy(spec, config.device, config.trust))
    return Subject(LEARNED, player, saved.step, saved.path)


def scripted(config: RunConfig) -> Subject:
    """The configured scripted policy (``policy=sed``).

    Raises:
        ConfigError: one agent is to choose for all, or the policy does not fit the environment.
    """
    policy = config.components["policy"]
    if config.joint:
        raise ConfigError(
            f"joint=true is for a policy that learns, and policy={policy.option} chooses for each agent by itself; set "
            f"joint=false"
        )
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
        config: the environment and the evaluation to play.
        subject: the policy.
        path: the directory to write to; ``None``: nothing is written.
        medium: where to show the first episode; ``None``: nowhere.
        warn: receives a line about each environment that failed.

    Raises:
        ConfigError: the policy does not fit the environment.
        WriteError: a file could not be written.
    """
    check_device(config.device)
    specs, films = list[EnvSpec](), list[Callable[[Path], str]]()
    name, player = subject.name, subject.player

    def others(spec: EnvSpec) -> Mapping[str, Player]:
        """The policies to compare with; called before the test, so it also checks the metrics and renders."""
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
    """A scripted policy, and the environment with the settings that it needs."""
    return Player(environment_for(config, policy), partial(scripted_policy, policy))


def references(config: RunConfig, spec: EnvSpec) -> dict[str, Player]:
    """The scripted policies that the environment names, or the random one; none if ``eval.references`` is false.

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
        config: the evaluation to play.
        policies: the policies, by name.
        others: from the environment's sizes to the policies to compare with, see `references`.
        step: the training step of the learned weights, which is written with the results.
        warn: receives a line about each environment that failed.
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
    return Comparison({name: evaluations[name] for name in players}, spec.headline_metrics, spec.baseline)


@contextmanager
def _test_runner(config: RunConfig, warn: Callable[[str], None]) -> Iterator[Runner]:
    """A runner of test episodes; at the end it is closed and its failures are reported, also after an error."""
    runner = build_runner(config, Stream.TEST)
    try:
        yield runner
    finally:
        runner.close()
        for failure in runner.failures:
            warn(f"warning: {failure}")
