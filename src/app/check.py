"""``check=true``: check that an environment keeps the contract of `VectorEnv`."""

from __future__ import annotations

import time
from contextlib import ExitStack

from ..components.selectors.base import Selector
from ..components.spec import EnvSpec
from ..envs.contract.checker import EnvironmentContractError, check_environment
from ..learners.base import Learner
from ..policies.learned import LearnedPolicy
from ..registry import ConfigError, find
from ..training.columns import COUNTERS, check_metric_names
from .assembly import environment_factory
from .config import RunConfig

_CHECKED_ROWS = 4


def check(config: RunConfig) -> None:
    """Check the configured environment with `check_environment` and print its sizes.

    Raises:
        ConfigError: the rules that it breaks, one per line, each with what to change.
    """
    option, started = config.components["env"].option, time.perf_counter()
    make = environment_factory(config)
    with ExitStack() as stack:
        env, twin = make(_CHECKED_ROWS), make(_CHECKED_ROWS)
        for made in (env, twin):
            if hasattr(made, "close"):  # if it is missing, that is one of the findings
                stack.callback(made.close)
        try:
            check_environment(env, twin=twin)
        except EnvironmentContractError as error:
            findings = "\n".join(f"- {text}" for text in error.findings)
            raise ConfigError(f"env={option} breaks the contract of environments:\n{findings}") from error
        check_metrics(config, env.spec)
        print(f"env={option} keeps the contract of environments ({time.perf_counter() - started:.1f} s)")
        print(_sizes(env.spec))


def check_metrics(config: RunConfig, spec: EnvSpec) -> None:
    """Refuse metrics whose names are those of other columns in the run's tables.

    Raises:
        ConfigError: one sentence that says which.
    """
    others: list[str] = []
    for group in ("selector", "policy", "learner"):
        kind = find(group, config.components[group].name)
        if issubclass(kind, LearnedPolicy):
            own = kind.own_metric_names
        else:
            own = kind.metric_names if issubclass(kind, Selector | Learner) else ()
        for name in own:
            if name in ("step", *COUNTERS, *others) or own.count(name) > 1:
                raise ConfigError(
                    f"{group}={config.components[group].option}: its metric {name!r} has the name of a column that the "
                    f"run's tables have already; give it another name"
                )
        others += own
    try:
        check_metric_names(spec.metric_names, others)
    except ConfigError as error:
        raise ConfigError(f"env={config.components['env'].option}: {error}") from error


def _sizes(spec: EnvSpec) -> str:
    rows = {
        "agents": spec.n_agents,
        "actions": spec.n_actions,
        "observation": spec.obs_dim,
        "state": spec.state_dim,
        "episode limit": spec.episode_limit,
        "rewards": "one for each agent" if spec.individual_rewards else "one for the team",
        "metrics": ", ".join(spec.metric_names) or "none",
        "entities": spec.entities.n_entities if spec.entities else "none",
    }
    return "\n".join(f"{name:>20}  {value}" for name, value in rows.items())
