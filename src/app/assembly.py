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
from ..envs.contract.vector_env import Dispatching, VectorEnv
from ..modules.agents.base import Network
from ..modules.mixers.base import Mixer
from ..policies.base import Policy
from ..policies.description import PolicyDescription
from ..policies.learned import LearnedPolicy
from ..registry import ConfigError, build, find
from ..runners.base import Runner
from ..training.trainer import Trainer
from .config import RunConfig, option


def environment_factory(config: RunConfig) -> Callable[[int], VectorEnv]:
    """Makes the configured environment with a given number of rows; picklable."""
    return partial(config.components["env"].factory(), config.agents)


def build_runner(config: RunConfig, stream: Stream) -> Runner:
    """The configured runner on one stream: training by the run's seed, the others by the evaluation's.

    A test of scripted policies that control the environment is played in this process.
    """
    seed = config.seed if stream is Stream.TRAINING else config.eval.seed
    env, chosen = config.components["env"], config.components["runner"]
    if stream is Stream.TEST and issubclass(find("env", env.name), Dispatching) and "workers" in chosen.settings:
        chosen = replace(chosen, settings={**chosen.settings, "workers": 0})
    runner = chosen.factory()(environment_factory(config), seed, stream)
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


def scripted_policy(name: str, spec: EnvSpec) -> Policy:
    """The scripted policy of an option of the group ``policy``."""
    component = option("policy", name)
    policy = build("policy", component.name, component.settings, spec)
    assert isinstance(policy, Policy)
    return policy


@contextmanager
def _initialization(seed: int) -> Iterator[None]:
    """Torch's generator seeded by the initialization stream inside, as it was outside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(keys(seed, Stream.INITIALIZATION, 0)[0]))
        yield
