"""The examples of CONTRIBUTING.md do what it says."""

import re
from pathlib import Path
from types import ModuleType

import torch
from omegaconf import OmegaConf

from hymarl.components.spec import EnvSpec
from hymarl.envs.contract.checker import check_environment
from hymarl.modules.mixers.base import MixerInputs
from hymarl.registry import check_settings

TEXT = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def example(language: str, file: str) -> str:
    """The first block of a language after a file is named."""
    match = re.compile(rf"`{re.escape(file)}`:\n\n```{language}\n(.*?)```", re.DOTALL).search(TEXT)
    assert match is not None
    return match[1]


def component(path: str, name: str, yaml_path: str) -> tuple[type, dict]:
    """The class a file of the package would define, and its settings from the YAML file."""
    module = ModuleType(path)
    module.__package__ = path.rpartition(".")[0]
    exec(example("python", f"src/{path.removeprefix('hymarl.').replace('.', '/')}.py"), vars(module))
    values = OmegaConf.create(example("yaml", yaml_path))
    assert values.pop("name") == path.rpartition(".")[2]
    return vars(module)[name], check_settings(vars(module)[name], values, name)


def test_mixer() -> None:
    cls, settings = component("hymarl.modules.mixers.mean", "MeanMixer", "conf/mixer/mean.yaml")
    spec = EnvSpec(n_agents=2, n_actions=3, obs_dim=1, state_dim=1, episode_limit=5)
    values = torch.tensor([[[1.0, 3.0]]])  # B T A
    actions = torch.zeros(1, 1, 2, dtype=torch.int64)
    inputs = MixerInputs(values, values, actions, torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 1))
    assert cls(spec, **settings)(inputs).tolist() == [[[2.0]]]
    assert cls(spec, **settings | {"scale": 2.0})(inputs).tolist() == [[[4.0]]]


def test_environment() -> None:
    cls, settings = component("hymarl.envs.agree", "Agree", "conf/env/agree.yaml")
    check_environment(cls(None, 3, **settings))
    env = cls(4, 1, **settings)
    assert (env.spec.n_agents, env.spec.n_actions) == (4, 3)
