"""The examples of CONTRIBUTING.md do what it says; the pages about columns and tests name what there is."""

import ast
import copy
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from hymarl.components.replay.base import Sample
from hymarl.components.spec import EnvSpec
from hymarl.envs.contract.checker import check_environment
from hymarl.modules.mixers.base import MixerInputs
from hymarl.registry import check_settings, find
from hymarl.training.columns import COUNTERS
from hymarl.training.metrics import Stopwatch

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def example(language: str, file: str) -> str:
    """The first block of a language after a file is named."""
    match = re.compile(rf"`{re.escape(file)}`:\n\n```{language}\n(.*?)```", re.DOTALL).search(TEXT)
    assert match is not None
    return match[1]


def example_component(path: str, name: str, yaml_path: str) -> tuple[type, dict]:
    """The class a file of the package would define, and its settings from the YAML file."""
    module = ModuleType(path)
    module.__package__ = path.rpartition(".")[0]
    exec(example("python", f"src/{path.removeprefix('hymarl.').replace('.', '/')}.py"), vars(module))
    values = OmegaConf.create(example("yaml", yaml_path))
    for base in values.pop("defaults", ["_self_"])[:-1]:  # the last is the file itself
        values = OmegaConf.merge(OmegaConf.load((ROOT / yaml_path).with_name(f"{base}.yaml")), values)
    assert values.pop("name") == path.rpartition(".")[2]
    return vars(module)[name], check_settings(vars(module)[name], values, name)


def test_mixer() -> None:
    cls, settings = example_component("hymarl.modules.mixers.mean", "MeanMixer", "conf/mixer/mean.yaml")
    spec = EnvSpec(n_agents=2, n_actions=3, obs_dim=1, state_dim=1, episode_limit=5)
    values = torch.tensor([[[1.0, 3.0]]])  # B T A
    actions = torch.zeros(1, 1, 2, dtype=torch.int64)
    inputs = MixerInputs(values, values, actions, torch.zeros(1, 1, 2, 1), torch.zeros(1, 1, 1))
    assert cls(spec, **settings)(inputs).tolist() == [[[2.0]]]
    assert cls(spec, **settings | {"scale": 2.0})(inputs).tolist() == [[[4.0]]]


def test_environment() -> None:
    cls, settings = example_component("hymarl.envs.agree", "Agree", "conf/env/agree.yaml")
    check_environment(cls(None, 3, **settings))
    env = cls(4, 1, **settings)
    assert (env.spec.n_agents, env.spec.n_actions) == (4, 3)


def test_learner(
    component: Callable[..., Any], make_controller: Callable[..., Any], random_batch: Callable[..., Any], spec: EnvSpec
) -> None:
    cls, settings = example_component("hymarl.learners.cql", "CQLLearner", "conf/learner/cql.yaml")
    torch.manual_seed(1)
    controller, batch = make_controller(spec), random_batch(spec, [3, 6])
    mixer, optimizer = component("mixer", "qmix", spec), component("optimizer", "adam")

    def learner(**changes: float) -> Any:
        parts = copy.deepcopy(controller), copy.deepcopy(mixer), optimizer
        return cls(*parts, **settings | changes)

    q_values = controller.unroll(batch)[0]
    gaps = [
        torch.logsumexp(q_values[b, t, a][batch.avail[b, t, a]], 0) - q_values[b, t, a, batch.actions[b, t, a]]
        for b, length in enumerate([3, 6])
        for t in range(length)
        for a in range(spec.n_agents)
    ]
    gap = torch.stack(gaps).mean()
    plain, conservative = learner(alpha=0.0).loss(batch), learner(alpha=2.0).loss(batch)
    torch.testing.assert_close(conservative.loss - plain.loss, 2 * gap)
    learning = learner(alpha=100.0)
    updates = [learning.update(Sample(batch, np.arange(2))) for _ in range(20)]
    assert list(updates[0].metrics) == list(cls.metric_names)
    assert updates[-1].metrics["q_gap"] < updates[0].metrics["q_gap"]


def test_every_column_is_explained() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`(\w+)`", text.partition("## What is logged")[2].partition("\n## ")[0]))
    measured = (*find("learner", "q").metric_names, *find("selector", "epsilon_greedy").metric_names)
    assert {"step", *COUNTERS, *measured, *Stopwatch.columns} <= explained


def test_every_common_fixture_is_explained() -> None:
    tree = ast.parse((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    fixtures = {f.name for f in functions if any("fixture" in ast.unparse(d) for d in f.decorator_list)}
    table = (ROOT / "tests" / "README.md").read_text(encoding="utf-8").partition("## Fixtures")[2]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == fixtures
