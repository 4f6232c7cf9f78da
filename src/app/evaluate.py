"""Evaluating: the policy of an earlier run or a scripted one, beside those that the environment names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from ..components.devices import check_device
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
from .config import Component, RunConfig, option
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


def evaluate_run(config: RunConfig, source: Path, path: Path, medium: Medium | None = None) -> None:
    """Evaluate the policy of an earlier run, possibly on another environment, beside the scripted ones.

    Args:
        config: what to play.
        source: directory of the run.
        path: where to write.
        medium: where to show the first episode; ``None``: nowhere.

    Raises:
        ConfigError: there is no policy, or it does not fit the environment.
    """
    torch.set_num_threads(decide(config.threads, 1, False).torch)
    saved = read_policy(source, config.eval.checkpoint)

    def make(spec: EnvSpec) -> Policy:
        return saved.policy(spec, config.device, config.trust)

    _evaluate_only(config, path, LEARNED, Player(config, make), medium, step=saved.step, weights=saved.path)


def evaluate_scripted(config: RunConfig, path: Path, medium: Medium | None = None) -> None:
    """Evaluate a scripted policy (``policy=sed``) beside those that the environment names; see `evaluate_run`."""
    policy = config.components["policy"]
    _evaluate_only(config, path, policy.option, scripted_player(config, policy), medium)


def scripted_player(config: RunConfig, policy: Component) -> Player:
    """A scripted policy, in the environment that it asks for."""
    return Player(environment_for(config, policy), partial(scripted_policy, policy))


def references(config: RunConfig, spec: EnvSpec) -> dict[str, Player]:
    """The scripted policies that the environment names, or a random one, if they are to be compared.

    Raises:
        ConfigError: there is no such policy, or it does not fit the environment.
    """
    chosen = (spec.references or (RANDOM,)) if config.eval.references else ()
    return {name: scripted_player(config, option("policy", name)) for name in chosen}


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


def _evaluate_only(
    config: RunConfig,
    path: Path,
    name: str,
    player: Player,
    medium: Medium | None,
    *,
    step: int = 0,
    weights: Path | None = None,
) -> None:
    check_device(config.device)
    specs, films = list[EnvSpec](), list[Callable[[Path], str]]()

    def others(spec: EnvSpec) -> Mapping[str, Player]:
        """Before anything is played: refuse what cannot be written, show what was asked for."""
        check_metrics(config, spec)
        specs.append(spec)
        if medium:
            films.append(render(player.config, name, player.make, medium))
        return references(config, spec)

    comparison = compare(config, {name: player}, others, step, print)
    directory = RunDirectory(path)
    write_atomically(path / "config.yaml", to_yaml(config).encode())
    with writing(path):
        comparison.write(directory.path)
        shown = [write_film(directory.path) for write_film in films]
    for text in shown:
        print(text)
    measured = {
        "policy": f"{name}, {weights}, step {step:,}" if weights else name,
        "environment": config.components["env"].option,
        "agents": specs[0].n_agents,
        "evaluation_seed": config.eval.seed,
    }
    print(as_lines(measured), "", comparison.text(), f"results: {path}", sep="\n")
