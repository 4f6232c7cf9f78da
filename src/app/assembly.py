"""Build the objects of a run from its checked configuration. Parts that do not fit together are refused here, before
any episode is played."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from ..components.devices import check_device
from ..components.replay.base import Replay
from ..components.rng import Stream, keys
from ..components.selectors.base import Selector
from ..components.spec import EnvSpec
from ..controllers.base import Controller
from ..envs.adapters.joint_agent import make_joint
from ..envs.contract.vector_env import VectorEnv
from ..learners.base import Learner
from ..modules.agents.base import Network
from ..modules.mixers.base import Mixer
from ..modules.noisy import noisy_layers
from ..policies.base import Policy
from ..policies.description import PolicyDescription
from ..policies.learned import LearnedPolicy
from ..registry import ConfigError, check_settings, expect, find, names, objects, parameters, suggest
from ..runners.base import Runner
from ..training.collecting import Collector, Weights
from ..training.evaluation import Evaluator
from ..training.trainer import Trainer
from .config import Component, RunConfig


def environment_factory(config: RunConfig) -> Callable[[int], VectorEnv]:
    """A function that makes the configured `VectorEnv` for a given number of parallel games; picklable."""
    make = partial(config.components["env"].factory(), config.agents)
    return partial(make_joint, make) if config.joint else make


def build_runner(config: RunConfig, stream: Stream) -> Runner:
    """The configured runner for one random stream, seeded by ``seed`` for training, else by ``eval.seed``."""
    seed = config.seed if stream is Stream.TRAINING else config.eval.seed
    chosen = config.components["runner"]
    runner = chosen.factory()(environment_factory(config), seed, stream)
    return expect(Runner, runner, f"runner={chosen.option}")


def describe_policy(config: RunConfig, spec: EnvSpec) -> PolicyDescription:
    """The environment's sizes and the settings from which the configured controller and network are built."""
    controller, network = config.components["controller"], config.components["network"]
    return PolicyDescription(spec, controller.name, controller.settings, network.name, network.settings)


def check_combination(config: RunConfig) -> None:
    """Refuse components that cannot be combined with each other; builds nothing.

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


def check_fit(config: RunConfig, spec: EnvSpec) -> None:
    """Refuse components that do not fit the environment.

    Raises:
        ConfigError: one sentence that says what to change.
    """
    mixer, network = config.components.get("mixer"), config.components["network"]
    kind = Mixer if mixer is None else find("mixer", mixer.name)
    if mixer and spec.individual_rewards and issubclass(kind, Mixer) and kind.joint:
        raise ConfigError(
            f"mixer={mixer.option} learns one joint value from a common reward, but this environment gives individual "
            f"rewards; choose mixer=none, or a common reward in the environment"
        )
    takes = find("network", network.name)
    if spec.entities is None and issubclass(takes, Network) and takes.takes_entities:
        which = "that of one agent for all (joint=true)" if config.joint else f"env={config.components['env'].option}"
        raise ConfigError(
            f"network={network.option} needs an observation that lists entities, which {which} does not; choose "
            f"network=rnn or network=mlp"
        )


def build_trainer(config: RunConfig) -> Trainer:
    """Build everything that a training run consists of; the run's seed determines the initial weights."""
    check_combination(config)
    check_device(config.device)
    with ExitStack() as on_error:
        runner = on_error.enter_context(closing(build_runner(config, Stream.TRAINING)))
        spec = runner.spec
        check_fit(config, spec)
        validation = on_error.enter_context(closing(build_runner(config, Stream.VALIDATION)))
        with _initialization(config.seed):
            learner = build_learner(config, spec)
        check_lag(config, learner, runner.lag)
        policy = build_policy(config, spec, learner)
        check_noise(config, learner, policy)
        replay = build_replay(config, spec, policy, learner)
        greedy = LearnedPolicy(spec, _copy_of_controller(learner))
        collector = Collector(runner, policy, lambda: Weights(learner.policy_weights(), learner.updates))
        evaluator = Evaluator(greedy, validation, config.eval.episodes)
        with _mistakes_of("eval"):
            validation.require_memory(config.eval.episodes, "lower eval.episodes")
            validation.require_memory(config.eval.test_episodes, "lower eval.test_episodes")
        trainer = Trainer(collector, evaluator, learner, replay, config.train, config.device)
        on_error.pop_all()  # from here on the trainer closes them
    return trainer


def build_learner(config: RunConfig, spec: EnvSpec) -> Learner:
    """Build the configured learner, and only those networks that its constructor asks for.

    Raises:
        ConfigError: it asks for something that does not exist, or a chosen part is not of the class that it needs.
    """
    chosen, device = config.components, config.device
    component = chosen["learner"]

    def network_of(group: Literal["mixer", "critic"], sizes: EnvSpec = spec) -> nn.Module:
        offered = {"spec": lambda: sizes, "make_controller": lambda: makers["controller"]}
        asked = _objects_asked_for(chosen[group], offered).values()
        return expect(nn.Module, chosen[group].factory()(*asked), f"{group}={chosen[group].option}").to(device)

    makers: dict[str, Callable[[], Any]] = {
        "spec": lambda: spec,
        "controller": lambda: describe_policy(config, spec).controller().to(device),
        "mixer": partial(network_of, "mixer"),
        "critic": partial(network_of, "critic"),
        "optimizer": lambda: chosen["optimizer"].factory()(),
    }
    for name in ("controller", "mixer", "critic"):  # asked for make_x, give the function that makes x
        makers[f"make_{name}"] = partial(lambda make: make, makers[name])
    parts = _objects_asked_for(component, makers)
    kinds = objects(find("learner", component.name))
    for group in ("controller", "mixer", "critic"):
        kind = kinds.get(group, object)
        if group in parts and inspect.isclass(kind) and kind is not Any and not isinstance(parts[group], kind):
            fitting = [name for name in names(group) if issubclass(find(group, name), kind)]
            article = "an" if kind.__name__[0] in "AEIOU" else "a"
            raise ConfigError(
                f"learner={component.option} needs {article} {kind.__name__}, which {group}={chosen[group].option} is "
                f"not; {suggest('', fitting)}"
            )
    return expect(Learner, component.factory()(*parts.values()), f"learner={component.option}")


def build_policy(config: RunConfig, spec: EnvSpec, learner: Learner) -> LearnedPolicy:
    """The policy that plays training episodes, with a copy of the learner's weights.

    Raises:
        ConfigError: the learner must learn from samples of its own policy, and the selector takes none.
    """
    chosen, component = config.components["selector"], config.components["policy"]
    parts = _objects_asked_for(chosen, {"spec": lambda: spec, "needs": lambda: learner.needs})
    selector = expect(Selector, chosen.factory()(*parts.values()), f"selector={chosen.option}")
    if learner.on_policy and "log_prob" in learner.needs and not selector.samples:
        raise ConfigError(
            f"learner={config.components['learner'].option} learns from samples of its own policy, and "
            f"selector={chosen.option} takes none; choose selector=softmax"
        )
    makers: dict[str, Callable[[], Any]] = {
        "spec": lambda: spec,
        "controller": lambda: _copy_of_controller(learner),
        "selector": lambda: selector,
        "seed": lambda: config.seed,
    }
    parts = _objects_asked_for(component, makers)
    return expect(LearnedPolicy, component.factory()(*parts.values()), f"policy={component.option}")


def build_replay(config: RunConfig, spec: EnvSpec, policy: LearnedPolicy, learner: Learner) -> Replay:
    """The configured replay, with a column for everything that the policy and the learner add to episodes.

    Raises:
        ConfigError: the learner cannot learn from it.
    """
    component, chosen = config.components["replay"], config.components["learner"]
    _check_extras(config, policy, learner)
    extras = {**policy.extras, **learner.extras}
    replay = expect(Replay, component.factory()(spec, extras, config.seed), f"replay={component.option}")
    if learner.on_policy and replay.keeps:
        raise ConfigError(
            f"learner={chosen.option} learns from the newest episodes only, and replay={component.option} keeps older "
            f"ones; choose replay=latest"
        )
    return replay


def _check_extras(config: RunConfig, policy: LearnedPolicy, learner: Learner) -> None:
    """Refuse a selector that does not store what the learner needs, or stores something else under the same name."""
    chosen = config.components
    parts = f"learner={chosen['learner'].option}", f"selector={chosen['selector'].option}"
    acts = parts[1] if type(policy) is LearnedPolicy else f"policy={chosen['policy'].option} with {parts[1]}"
    for name in learner.needs:
        if name not in policy.extras:
            raise ConfigError(
                f"{parts[0]} needs the {name} of every action, which {acts} does not store; choose another"
            )
    for name in learner.extras:
        if name in policy.extras:
            raise ConfigError(
                f"{parts[0]} and {parts[1]} both add a column {name!r} to the episodes; choose another selector"
            )


def check_lag(config: RunConfig, learner: Learner, lag: int) -> None:
    """Refuse a runner that plays with older weights than the learner can learn from.

    Raises:
        ConfigError: one sentence that says what to change.
    """
    if learner.max_lag is not None and lag > learner.max_lag:
        raise ConfigError(
            f"learner={config.components['learner'].option} learns from episodes that were played with weights at most "
            f"{learner.max_lag} collections old, and the runner lags by {lag}; set runner.lag={learner.max_lag} and "
            f"runner.overlap=false"
        )


def check_noise(config: RunConfig, learner: Learner, policy: LearnedPolicy) -> None:
    """Refuse noise in weights with which the learner cannot learn.

    Raises:
        ConfigError: one sentence that says what to change.
    """
    name = config.components["learner"].option
    if learner.on_policy and "log_prob" in learner.needs and noisy_layers(policy.controller):
        raise ConfigError(
            f"learner={name} compares the probabilities of actions when acting and when learning, which noisy layers "
            f"change by other noise; set network.noisy=false"
        )
    if learner.max_lag is not None and policy.noise > 0:
        raise ConfigError(
            f"learner={name} learns from what its own policy plays, and policy={config.components['policy'].option} "
            f"acts with other weights; choose policy=learned"
        )


def scripted_policy(policy: Component, spec: EnvSpec) -> Policy:
    """Build a scripted policy from its component, of the group ``policy``."""
    return expect(Policy, policy.factory()(spec), f"policy={policy.option}")


def environment_for(config: RunConfig, policy: Component) -> RunConfig:
    """The configuration, changed to the settings of the environment that a scripted policy needs.

    Such a policy plays the environment as it is, each agent by itself, also where one learned agent chooses for all.

    Raises:
        ConfigError: the environment has no such settings, or does not allow these values.
    """
    config = replace(config, joint=False)
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


def _objects_asked_for(component: Component, offered: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """The run-time objects that a constructor asks for by name; they are made in the order in which they are offered.

    Raises:
        ConfigError: it asks for something that is not offered.
    """
    asked = objects(find(component.group, component.name))
    for name in asked:
        if name not in offered:
            raise ConfigError(
                f"{component.group}={component.option}: its constructor asks for {name!r}; "
                f"it can ask for {', '.join(offered)}"
            )
    made = {name: make() for name, make in offered.items() if name in asked}
    return {name: made[name] for name in asked}


def _copy_of_controller(learner: Learner) -> Controller:
    return copy.deepcopy(expect(Controller, learner.networks["controller"], "the learner's network 'controller'"))


@contextmanager
def _mistakes_of(section: str) -> Iterator[None]:
    """Inside the ``with`` block, a ValueError becomes a ConfigError about the settings of this section."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{section}: {error}") from error


@contextmanager
def _initialization(seed: int) -> Iterator[None]:
    """Inside the ``with`` block, torch's generator is seeded for initial weights; afterwards its state is restored."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(keys(seed, Stream.INITIALIZATION, 0)[0]))
        yield
