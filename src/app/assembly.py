"""From a checked configuration to live objects. Whatever does not fit together is said here, before anything is
played."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial

import torch

from ..components.rng import Stream, keys
from ..components.spec import EnvSpec
from ..envs.contract.vector_env import VectorEnv
from ..modules.agents.base import Network
from ..modules.mixers.base import Mixer
from ..policies.base import Policy
from ..policies.description import PolicyDescription
from ..policies.learned import LearnedPolicy
from ..registry import ConfigError, check_settings, expect, find, names, parameters
from ..runners.base import Runner
from ..training.trainer import Trainer
from .config import Component, RunConfig


def environment_factory(config: RunConfig) -> Callable[[int], VectorEnv]:
    """Makes the configured environment with a given number of rows; picklable."""
    return partial(config.components["env"].factory(), config.agents)


def build_runner(config: RunConfig, stream: Stream) -> Runner:
    """The configured runner on one stream: training by the run's seed, the others by the evaluation's."""
    seed = config.seed if stream is Stream.TRAINING else config.eval.seed
    runner = config.components["runner"].factory()(environment_factory(config), seed, stream)
    assert isinstance(runner, Runner)
    return runner


def describe_policy(config: RunConfig, spec: EnvSpec) -> PolicyDescription:
    """What it takes to build the configured networks."""
    controller, network = config.components["controller"], config.components["network"]
    return PolicyDescription(spec, controller.name, controller.settings, network.name, network.settings)


def check_combination(config: RunConfig) -> None:
    """Refuse components that each are fine but not together, without building anything.

    Raises:
        ConfigError: one sentence that says what to change.
    """
    network, controller = config.components["network"], config.components["controller"]
    kind = find("network", network.name)
    if issubclass(kind, Network) and kind.takes_entities and controller.settings.get("agent_id"):
        raise ConfigError(
            f"network={network.option} fits any number of agents, so it cannot take the agent's id; "
            f"set controller.agent_id=false"
        )


def check_device(name: str) -> None:
    """Refuse a device that torch cannot compute on.

    Raises:
        ConfigError: with torch's reason.
    """
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
        raise ConfigError(f"device={name} cannot be used: {str(error).splitlines()[0]}") from error


def check_fit(config: RunConfig, spec: EnvSpec) -> None:
    """Refuse components that do not fit the environment.

    Raises:
        ConfigError: one sentence that says what to change.
    """
    mixer, network = config.components["mixer"], config.components["network"]
    kind = find("mixer", mixer.name)
    if spec.individual_rewards and issubclass(kind, Mixer) and kind.joint:
        raise ConfigError(
            f"mixer={mixer.option} learns one joint value from a common reward, but this environment gives individual "
            f"rewards; choose mixer=none, or a common reward in the environment"
        )
    takes = find("network", network.name)
    if spec.entities is None and issubclass(takes, Network) and takes.takes_entities:
        raise ConfigError(
            f"network={network.option} needs an observation that lists entities, which "
            f"env={config.components['env'].option} does not; choose network=rnn or network=mlp"
        )


def build_trainer(config: RunConfig) -> Trainer:
    """Everything a training run consists of, initialized by the run's seed."""
    check_combination(config)
    check_device(config.device)
    parts = config.components
    with ExitStack() as on_error:
        runner = on_error.enter_context(closing(build_runner(config, Stream.TRAINING)))
        spec = runner.spec
        check_fit(config, spec)
        validation = on_error.enter_context(closing(build_runner(config, Stream.VALIDATION)))
        with _initialization(config.seed):
            controller = describe_policy(config, spec).controller().to(config.device)
            mixer = parts["mixer"].factory()(spec).to(config.device)
        learner = parts["learner"].factory()(controller, mixer, parts["optimizer"].factory()())
        policy = LearnedPolicy(spec, controller, parts["selector"].factory()())
        greedy = LearnedPolicy(spec, controller)
        runtime = (runner, validation, policy, greedy, learner, config.seed, config.device, config.eval.episodes)
        try:
            trainer = Trainer(*runtime, **config.train)
        except ValueError as error:
            raise ConfigError(f"train: {error}") from error
        on_error.pop_all()  # from here on the trainer closes them
    return trainer


def scripted_policy(policy: Component, spec: EnvSpec) -> Policy:
    """The policy of a chosen component of the group ``policy``."""
    return expect(Policy, policy.factory()(spec), f"policy={policy.option}")


def environment_for(config: RunConfig, policy: Component) -> RunConfig:
    """The configuration with the settings of the environment that a policy asks for.

    Raises:
        ConfigError: the environment has no such settings, or not such values.
    """
    kind, env = find("policy", policy.name), config.components["env"]
    asked = kind.environment_settings(policy.settings) if issubclass(kind, Policy) else {}
    if not asked:
        return config
    if not asked.keys() <= env.settings.keys():
        known = [name for name in names("env") if asked.keys() <= parameters(find("env", name)).keys()]
        raise ConfigError(
            f"policy={policy.option} is played by the environment itself, by its settings {' and '.join(asked)}, which "
            f"env={env.option} does not have; choose {' or '.join(f'env={name}' for name in known) or 'another'}, "
            f"or a policy that acts, such as policy=random"
        )
    settings = check_settings(find("env", env.name), {**env.settings, **asked}, f"policy={policy.option}")
    return replace(config, components={**config.components, "env": replace(env, settings=settings)})


@contextmanager
def _initialization(seed: int) -> Iterator[None]:
    """Torch's generator seeded by the initialization stream inside, as it was outside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(keys(seed, Stream.INITIALIZATION, 0)[0]))
        yield
