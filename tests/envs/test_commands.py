"""What the YAML files of environments and `docs/environments.md` tell people to type is understood."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from hymarl.app.config import read
from hymarl.registry import ConfigError, check_settings, find

ROOT = Path(__file__).resolve().parents[2]
VALUE = r"(?:'[^']*'|\"[^\"]*\"|\{[^}]*\}|[^\s'`{]+?(?=[;,.:)`]*(?:\s|`|$)))"
ARGUMENT = rf"'?\+?(?:env|agents)(?:\.\w+)*={VALUE}'?"
COMMAND = re.compile(rf"(?<![\w.+]){ARGUMENT}(?: {ARGUMENT})*")
COMMENT = re.compile(r"(?:^|\s)#(.*)")
KWARGS = re.compile(r"^(?:kwargs|others):.*#.*?e\.g\. (\{.*?\})", re.MULTILINE)


def quoted_in_options():
    """Option and arguments of everything to type in the comments of ``conf/env``."""
    for path in sorted((ROOT / "conf" / "env").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        for line in text.splitlines():
            for command in COMMAND.findall("".join(COMMENT.findall(line))):
                if "=." not in command:  # written as agents=...
                    yield path.stem, command
        yield from ((path.stem, f"'env.kwargs={value}'") for value in KWARGS.findall(text))


def quoted_in_the_documentation():
    """The same for the documentation; in a row of its table the option is the first of the row."""
    for line in (ROOT / "docs" / "environments.md").read_text(encoding="utf-8").splitlines():
        row = re.match(r"\| `(\w+)`", line)
        for command in COMMAND.findall(line):
            # Those with a searchpath are typed in tests/test_walk_through.py.
            if not re.search("…|rendezvous|corridor", command):
                yield row[1] if row else "", command


FOUND = sorted({*quoted_in_options(), *quoted_in_the_documentation()})
FURTHER = [
    ("mpe", "policy=random render=gif 'env.kwargs={render_mode: rgb_array}'"),
    ("vmas", "'env.kwargs={lidar_range: 0.5, n_targets: 2}'"),
    ("smax", "env.scenario=null agents=4 'env.kwargs={num_enemies: 4}'"),
    ("smac", "env.kwargs.map_name=3m"),
    ("smac", "+env.kwargs.seed=3"),
    ("smaclite", "'env.kwargs={use_cpp_rvo2: true}'"),
    ("lbf", "'env.kwargs={penalty: 0.1, nested: {a: [1, 2]}}'"),
    ("pymarl", "env.entry_point=a:b +env.kwargs.n=3"),
    ("pettingzoo", "env.entry_point=a:b 'env.others={agent: a:b}'"),
    ("gymnasium", "env.task=a-v0 env.kwargs=null"),
]


def complete(option, command):
    """The arguments of a command, with the option that it is about."""
    arguments = tuple(shlex.split(command))
    chosen = any(argument.startswith("env=") for argument in arguments)
    return arguments if chosen else (f"env={option}", *arguments)


def composed(arguments):
    """The settings of the environment; with nothing but them, its section is composed and checked alone."""
    with initialize_config_module("hymarl.conf", version_base="1.3"):
        if all(argument.lstrip("+").startswith("env") for argument in arguments):
            chosen = next(argument for argument in arguments if argument.startswith("env="))
            others = [argument for argument in arguments if argument != chosen]
            suggested = ["+network=rnn", "+replay=uniform", "+suggestions=none"]  # what an environment may replace
            values = OmegaConf.to_container(compose(overrides=[*suggested, f"+{chosen}", *others]).env)
            return check_settings(find("env", values.pop("name")), values, chosen)
        cfg = compose("config", overrides=list(arguments), return_hydra_config=True)
        choices = cfg.hydra.runtime.choices
        del cfg._content["hydra"]
        return read(cfg, choices, arguments).components["env"].settings


def test_commands_are_found():
    assert {
        ("pettingzoo", "env=pettingzoo env.entry_point=mpe2.simple_spread_v3:parallel_env agents=3 env.agents_kwarg=N"),
        ("smax", "env=smax env.scenario=null agents=4 'env.kwargs={num_enemies: 4}'"),
        ("vmas", "env=vmas agents=4"),
        ("penalty", "env.payoffs='[[-25,0,10],[0,2,0],[10,0,-25]]'"),
        ("lbf", "env.task=Foraging-8x8-2p-2f-coop-v3"),
        ("lbf", "'env.kwargs={penalty: 0.1}'"),
        ("matrix_game", "env.steps=25"),
        ("", "env=pymarl env.entry_point=my_package.my_env:MyEnv"),
    } <= set(FOUND)


@pytest.mark.parametrize("arguments", sorted({complete(*told) for told in [*FOUND, *FURTHER]}), ids=" ".join)
def test_commands_are_understood(arguments):
    try:
        composed(arguments)
    except ConfigError as error:  # an example may leave to the user what only the user knows
        assert re.search("no value for (entry_point|task)", str(error))  # noqa: PT017


def test_what_is_given_arrives():
    drawn = composed(("env=mpe", "policy=random", "env.kwargs={render_mode: rgb_array}"))  # a whole command line
    assert drawn["kwargs"] == {"render_mode": "rgb_array"}
    assert composed(("env=mpe", "agents=3"))["kwargs"] is None
    smac = composed(("env=smac", "env.kwargs.map_name=3m", "+env.kwargs.seed=3"))
    assert smac["kwargs"] == {"map_name": "3m", "continuing_episode": True, "seed": 3}
