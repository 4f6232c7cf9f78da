"""Evaluating: the policy of an earlier run or a scripted one, beside those that the environment names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..components.files import CheckpointError, find_weights, load, write_atomically
from ..components.rng import Stream
from ..components.spec import EnvSpec
from ..components.threads import decide
from ..policies.base import Policy
from ..policies.description import PolicyDescription
from ..policies.learned import LearnedPolicy
from ..registry import ConfigError
from ..reports.comparison import Comparison
from ..training.evaluation import evaluate
from ..training.run_directory import RunDirectory
from .assembly import build_runner, scripted_policy
from .check import check_metrics
from .config import RunConfig, to_yaml
from .render import Medium, render

LEARNED = "learned"
"""What the learned policy is called beside scripted ones."""


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
    with checkpoint_errors_are_mistakes():
        saved = load(find_weights(source, config.eval.checkpoint))

    def make(spec: EnvSpec) -> Policy:
        return load_policy(saved, spec, config.device)

    _evaluate_only(config, path, LEARNED, make, saved["step"], medium)


def evaluate_scripted(config: RunConfig, path: Path, medium: Medium | None = None) -> None:
    """Evaluate a scripted policy (``policy=sed``) beside those that the environment names; see `evaluate_run`."""
    name = config.components["policy"].option
    _evaluate_only(config, path, name, lambda spec: scripted_policy(name, spec), 0, medium)


def load_policy(saved: dict[str, Any], spec: EnvSpec, device: str) -> LearnedPolicy:
    """The greedy policy of a weights file for an environment of possibly other sizes.

    Raises:
        ConfigError: the weights do not fit the sizes.
    """
    description = PolicyDescription.from_plain(saved["policy"])
    controller = description.controller(spec)
    try:
        controller.load_state_dict(saved["controller"])
    except RuntimeError as error:
        old = description.spec
        raise ConfigError(
            f"the weights were trained for {old.n_agents} agents, {old.obs_dim} observations and {old.n_actions} "
            f"actions and do not fit {spec.n_agents}, {spec.obs_dim} and {spec.n_actions}; only network=entity moves "
            f"between sizes"
        ) from error
    return LearnedPolicy(spec, controller.eval().to(device))


def compare(config: RunConfig, runner: Any, policies: dict[str, Policy], step: int) -> Comparison:
    """Play the test episodes with each policy, and with the scripted ones the environment names."""
    spec: EnvSpec = runner.spec
    if config.eval.references:
        policies = policies | {name: scripted_policy(name, spec) for name in spec.references if name not in policies}
    evaluations = {
        name: evaluate(policy, runner, config.eval.test_episodes, step=step, stream="test")
        for name, policy in policies.items()
    }
    return Comparison(evaluations, spec.headline_metrics, spec.references[-1] if spec.references else None)


def _evaluate_only(
    config: RunConfig, path: Path, name: str, make: Callable[[EnvSpec], Policy], step: int, medium: Medium | None
) -> None:
    runner = build_runner(config, Stream.TEST)
    try:
        check_metrics(config, runner.spec)
        write_film = render(config, name, make, medium) if medium else None
        comparison = compare(config, runner, {name: make(runner.spec)}, step)
    finally:
        runner.close()
        for failure in runner.failures:
            print(f"warning: {failure}")
    directory = RunDirectory(path)
    write_atomically(path / "config.yaml", to_yaml(config).encode())
    comparison.write(directory.path)
    if write_film:
        print(write_film(directory.path))
    print(comparison.text(), f"results: {path}", sep="\n")


@contextmanager
def checkpoint_errors_are_mistakes() -> Iterator[None]:
    """Inside, what is wrong with a run's files is the user's to mend: one sentence, no traceback."""
    try:
        yield
    except CheckpointError as error:
        raise ConfigError(str(error)) from error
