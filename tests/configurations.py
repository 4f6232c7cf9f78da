"""Command lines that run within a second, and what there is to mutate in them, read from ``conf/``."""

from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.util import find_spec

from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from hymarl.app.directories import register_resolvers
from hymarl.registry import PACKAGES

CONF = resources.files("hymarl.conf")
SMALL = (
    *("train.total_steps=30", "replay.batch_episodes=2", "replay.buffer_episodes=4", "train.log_interval_steps=2"),
    *("train.eval_interval_steps=10", "eval.episodes=1", "eval.test_episodes=1"),
)
SHORT = {"episode_limit": "5", "warmup": "0.5", "steps": "3"}  # for environments that have such a setting
# Command lines, and the package that each needs.
BASES = {
    "env=two_step logger=[]": "hymarl",
    "env=two_step logger=[console,tensorboard,sacred]": "hymarl",
    "env=two_step logger=[wandb] eval.references=false": "hymarl",
    "env=climbing algo=vdn network=mlp runner=episode logger=[]": "hymarl",
    "env=goal_swap algo=qmix_pymarl2 optimizer=rmsprop runner.n_envs=2 env.episode_limit=5 logger=[]": "hymarl",
    "env=loadbalance agents=2 env.episode_limit=5 env.warmup=0.5 runner.n_envs=2 logger=[]": "hymarl",
    "env=loadbalance policy=sed agents=2 env.episode_limit=5 env.warmup=0.5 logger=[]": "hymarl",
    "env=loadbalance agents=2 env.episode_limit=5 check=true": "hymarl",
    "env=foraging25 algo=iql controller=independent runner.n_envs=2 env.episode_limit=5 logger=[]": "hymarl",
    "env=predator_prey selector=greedy runner.n_envs=2 runner.workers=2 env.episode_limit=5 logger=[]": "hymarl",
    "env=meeting algo=qmix_epymarl env.episode_limit=5 logger=[]": "hymarl",
    "env=meeting policy=random env.episode_limit=5 logger=[]": "hymarl",
    "env=pettingzoo env.entry_point=extension.games:climbing runner.n_envs=2 logger=[]": "pettingzoo",
    "env=lbf env.episode_limit=5 runner.n_envs=2 logger=[]": "lbforaging",
    "env=mpe env.episode_limit=5 runner.n_envs=2 mixer=vdn logger=[]": "mpe2",
}


@cache
def options() -> dict[str, list[str]]:
    """The options of every group of which one is chosen, as the folders of ``conf/`` hold them."""
    chosen = composed(("env=two_step",))["hydra"]["runtime"]["choices"]
    groups = sorted({group for group in chosen if "/" not in group} | set(PACKAGES))  # several loggers are chosen
    found = {group: sorted(path.name for path in (CONF / group).iterdir()) for group in groups}
    return {group: [name.removesuffix(".yaml") for name in names] for group, names in found.items()}


@cache
def bases() -> list[tuple[str, ...]]:
    """Whole command lines that run."""
    lines = [line.split() for line, package in BASES.items() if find_spec(package)]
    return [(*line, *(() if "check=true" in line else SMALL)) for line in lines]


@cache
def composed(arguments: tuple[str, ...]) -> dict:
    register_resolvers()
    with initialize_config_module("hymarl.conf", version_base="1.3"):
        cfg = compose("config", overrides=list(arguments), return_hydra_config=True)
    return OmegaConf.to_container(cfg, resolve=False)


def leaves(node: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted key and value of everything in a configuration that is no section."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def settings(arguments: tuple[str, ...]) -> dict[str, object]:
    """Every setting, but for Hydra's, of the configuration that a command line composes to."""
    return dict(leaves({key: value for key, value in composed(arguments).items() if key != "hydra"}))


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def short(option: str) -> list[str]:
    """What makes the episodes of an environment short."""
    has = composed((f"env={option}",))["env"]
    return [f"env.{name}={value}" for name, value in SHORT.items() if name in has]
