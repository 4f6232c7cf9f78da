"""The table of `docs/algorithms.md` of what goes together: ``python docs/capabilities.py`` writes it.

Nothing in it is stated here: what an algorithm has is looked up in its classes, and what goes together is put together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from hymarl.app import api, assembly
from hymarl.app.config import Component, RunConfig, options
from hymarl.app.options import chosen_by
from hymarl.app.options import options as option_names
from hymarl.components.spec import Entities, EnvSpec
from hymarl.learners.base import Learner
from hymarl.registry import ConfigError, find, parameters

PAGE = Path(__file__).with_name("algorithms.md")
BEGIN, END = "<!-- generated: capabilities -->\n", "<!-- end -->"

ENTITIES = Entities(n_entities=2, n_features=2, start=0, action_entity=(0, 1, -1), action_kind=(0, 0, 1))
TEAM = EnvSpec(n_agents=2, n_actions=3, obs_dim=4, state_dim=3, episode_limit=5, entities=ENTITIES)
JOINT = EnvSpec(n_agents=1, n_actions=9, obs_dim=8, state_dim=3, episode_limit=5)


@cache
def option(group: str, name: str) -> Component:
    """An option of a group, as its file has it."""
    return options(group, [name])[name]


def changed(config: RunConfig, group: str, name: str | None = None, **settings: Any) -> RunConfig:
    """The configuration with another option of a group, or with other settings of the one it has."""
    component = config.components[group] if name is None else option(group, name)
    component = replace(component, settings={**component.settings, **settings})
    return replace(config, components={**config.components, group: component})


def built(config: RunConfig, spec: EnvSpec | None = None) -> Learner | None:
    """The learner of a configuration whose parts fit together and to the environment; ``None`` if they do not."""
    spec = spec or (JOINT if config.joint else TEAM)
    try:
        assembly.check_combination(config)
        assembly.check_fit(config, spec)
        learner = assembly.build_learner(config, spec)
        policy = assembly.build_policy(config, spec, learner)
        assembly.check_noise(config, learner, policy)
        assembly.build_replay(config, spec, policy, learner)
    except ConfigError:
        return None
    return learner


def with_option(group: str, name: str, **settings: Any) -> Callable[[RunConfig], bool]:
    """Whether an algorithm works with this option of a group."""
    return lambda config: built(changed(config, group, name, **settings)) is not None


def with_setting(group: str, **settings: Any) -> Callable[[RunConfig], bool]:
    """Whether an algorithm's option of a group has these settings, and works with them."""

    def works(config: RunConfig) -> bool:
        component: Component = config.components[group]
        if not settings.keys() <= parameters(find(group, component.name)).keys():
            return False
        return built(changed(config, group, **settings)) is not None

    return works


def has_setting(group: str, *names: str) -> Callable[[RunConfig], bool]:
    """Whether an algorithm's option of a group has one of these settings."""
    return lambda config: not parameters(find(group, config.components[group].name)).keys().isdisjoint(names)


def individual_rewards(config: RunConfig) -> bool:
    """Whether it learns from a reward for each agent; one agent that chooses for all has none."""
    return not config.joint and built(config, replace(TEAM, individual_rewards=True)) is not None


def lag(config: RunConfig) -> bool:
    """Whether episodes may be played while it learns."""
    learner = built(config)
    return learner is not None and learner.max_lag is None


def entities(config: RunConfig) -> bool:
    """Whether agents may have networks that read entities."""
    return with_option("network", "entity")(changed(config, "controller", agent_id=False))


CHOICES = ("controller", "learner", "critic", "network")
ROWS: Mapping[str, Callable[[RunConfig], bool]] = {
    "individual rewards": individual_rewards,
    "replay `uniform`": with_option("replay", "uniform"),
    "`prioritized`": with_option("replay", "prioritized"),
    "`latest`": with_option("replay", "latest"),
    "collecting while learning": lag,
    "network `entity`": entities,
    "a network for each agent": with_setting("controller", sharing="independent"),
    "λ-returns": has_setting("learner", "td_lambda", "gae_lambda"),
    "off-policy traces": with_setting("learner", trace="watkins", n_steps=1),
    "n-step": with_setting("learner", n_steps=3, td_lambda=0.0),
    "double Q": has_setting("learner", "double_q"),
    "target networks": has_setting("learner", "target_update"),
    "Huber's loss": has_setting("learner", "huber_delta"),
    "normalized values": has_setting("learner", "normalize_values"),
    "standardized rewards": has_setting("learner", "standardize_rewards"),
    "normalized observations": with_setting("controller", normalize_obs=True),
    "noisy layers": with_setting("network", noisy=True),
    "parameter noise": with_option("policy", "parameter_noise", distance=0.1),
}


def table() -> str:
    """The table, a row for each trick and a column for each algorithm.

    Algorithms of the same choices are looked up once, and those that have all cells alike share a column.
    """
    cells: dict[tuple[object, ...], tuple[bool, ...]] = {}
    columns: dict[tuple[bool, ...], list[str]] = {}
    for name in sorted(option_names("algo")):
        choices = chosen_by(name)
        joint = find("mixer", choices["mixer"]).joint  # mixers are alike beside that
        parts = joint, *(choices.get(group) for group in CHOICES)
        if parts not in cells:
            config = changed(api.compose(f"algo={name}"), "network", "rnn")
            cells[parts] = tuple(works(config) for works in ROWS.values())
        columns.setdefault(cells[parts], []).append(f"`{name}`")
    head = ["", *("<br>".join(names) for names in columns.values())]
    rows = [[title, *("yes" if column[row] else "–" for column in columns)] for row, title in enumerate(ROWS)]
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def filled(page: str) -> str:
    """The page with the table between its marks."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}{table()}{END}", page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
