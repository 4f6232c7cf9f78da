"""Policies that learn nothing: random ones, and rules by which an environment acts in the agents' place."""

import csv
import functools
from dataclasses import replace

import numpy as np
import pytest

from hymarl.app.api import compose
from hymarl.app.assembly import environment_factory, environment_for, scripted_policy
from hymarl.app.composing import changed_option
from hymarl.app.config import is_learned, option
from hymarl.app.config import options as components
from hymarl.app.evaluate import measure, scripted
from hymarl.app.options import options
from hymarl.components.rng import Stream, keys
from hymarl.envs.loadbalance.parameters import RULES
from hymarl.policies.base import PolicyState
from hymarl.registry import ConfigError, find

SCRIPTED = [name for name, part in components("policy", options("policy")).items() if not is_learned(part.name)]
SMALL = (
    *("env=loadbalance", "agents=2", "env.episode_limit=4", "env.warmup=1.0", "runner.n_envs=2"),
    *("eval.test_episodes=2", "eval.references=false", "threads=1"),
)
OWN = """
from dataclasses import replace
from hymarl.envs.matrix_game import MatrixGame
from hymarl.policies.base import Policy
from hymarl.registry import register


@register("policy")
class Last(Policy):
    def __init__(self, spec, *, number: int) -> None:
        self.number = number

    def act(self, obs, avail, state):
        actions = avail.shape[-1] - 1 - avail[..., ::-1].argmax(axis=-1) - self.number
        return actions, state.after(actions)


@register("env")
class Game(MatrixGame):
    def __init__(self, agents, n_envs, *, names: list[str], **settings) -> None:
        super().__init__(agents, n_envs, **settings)
        self.spec = replace(self.spec, references=tuple(names))
"""
OWN_FILES = {
    "own_last/play.py": OWN,
    "conf/policy/last.yaml": "name: own_last.play\nnumber: 0\n",
    "conf/policy/second.yaml": "defaults: [ecmp, _self_]\nrule: lsq\n",
    "conf/env/game.yaml": "defaults: [two_step, _self_]\nname: own_last.play\nnames: [random, last]\n",
}


@pytest.fixture(scope="module")
def small():
    """The configuration that most tests change a little: no policy stands beside the one that plays."""
    return compose(*SMALL)


@pytest.fixture(scope="module")
def shipped(configured):
    """Configurations with the environments' own values, by the environment's option."""
    return {env: configured(f"env={env}") for env in ("loadbalance", "lb_unknown", "meeting")}


@functools.cache
def shipped_policy(name):
    """A policy as its file says; it is only read."""
    return option("policy", name)


def changed(config, group, name=None, **settings):
    """The configuration with an option of a group, its own one by default, and some of the settings changed."""
    component = config.components[group]
    if name is None:
        component = replace(component, settings={**component.settings, **settings})
    else:
        component = changed_option(group, name, [*config.searchpath], settings)
    return replace(config, components={**config.components, group: component})


def played(config):
    """Everything that each policy did in the test episodes, as text, by policy."""
    comparison = measure(config, scripted(config)).comparison
    numbers = {name: comparison.evaluation(name).statistics for name in comparison.policies}
    return {name: str([s.returns.tolist(), s.lengths.tolist(), s.metrics.tolist()]) for name, s in numbers.items()}


def alone(config, name=None, **settings):
    """What the policy did, or another one: ``alone(config, "dispatch", rule="sed")``."""
    (numbers,) = played(changed(config, "policy", name, **settings)).values()
    return numbers


def with_references(config):
    """The configuration with the policies that the environment names beside the one that plays."""
    return replace(config, eval=replace(config.eval, references=True))


@pytest.mark.parametrize("name", SCRIPTED)
def test_every_scripted_policy_plays_available_actions_where_its_settings_are_known(shipped, name):
    chosen = shipped_policy(name)
    env = environment_factory(environment_for(shipped["loadbalance"], chosen))(2)
    policy, seeds = scripted_policy(chosen, env.spec), keys(0, Stream.TEST, [0, 1])
    step, state = env.reset(seeds, np.ones(2, np.bool_)), PolicyState.start(env.spec, seeds)
    for _ in range(3):
        actions, state = policy.act(step.obs, step.avail, state)
        assert np.take_along_axis(step.avail, actions[..., None], axis=-1).all()
        step = env.step(actions, np.ones(2, np.bool_))
    assert state.t == 3


@pytest.mark.parametrize("name", SCRIPTED)
def test_a_policy_changes_no_other_settings_than_it_says(shipped, name):
    config, policy = changed(shipped["lb_unknown"], "env", rho=0.5), shipped_policy(name)
    asked = find("policy", policy.name).environment_settings(policy.settings)
    asking = environment_for(config, policy)
    before, after = (dict(c.components["env"].settings) for c in (config, asking))
    assert after == {**before, **asked}
    assert (before != after) == bool(asked)
    assert {**vars(asking), "components": None} == {**vars(config), "components": None}


def test_every_rule_has_its_file():
    for rule in RULES:
        policy = shipped_policy(rule)
        asked = find("policy", policy.name).environment_settings(policy.settings)
        assert asked == {"rule": rule, "random_levels": None}


def test_a_rule_needs_an_environment_that_has_it(hymarl, tmp_path, shipped):
    sentence = (
        "policy={} is played by the environment itself, by its settings rule and random_levels, which env={} "
        "does not have; choose env=loadbalance, or a policy that acts, such as policy=random"
    )
    outcome = hymarl(tmp_path, "env=two_step", "policy=sed")
    assert outcome.code == 2
    assert outcome.err == sentence.format("sed", "two_step") + "\n"
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError) as raised:
        environment_for(shipped["meeting"], shipped_policy("random_levels"))
    assert str(raised.value) == sentence.format("random_levels", "meeting")


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("dispatch", {"rule": "sedd"}, "policy=dispatch: rule=sedd is not a choice; did you mean 'sed'? "),
        ("random_levels", {"levels": [1, 0]}, "policy=random_levels: levels[1] must be above 0, got 0"),
        ("dispatch", {"levels": [1]}, "policy=dispatch: unknown key 'levels'; "),
    ],
)
def test_wrong_settings_of_a_policy_are_refused(small, name, settings, sentence):
    with pytest.raises(ConfigError) as raised:
        environment_for(small, changed_option("policy", name, [], settings))
    assert str(raised.value).startswith(sentence)


def test_settings_of_a_policy_that_the_environment_refuses(hymarl, tmp_path):
    outcome = hymarl(tmp_path, *SMALL, "policy=random_levels", "policy.levels=[]")
    assert outcome.code == 2
    assert outcome.err.startswith("env=loadbalance: random_levels must be at least one number ")
    assert not list(tmp_path.iterdir())


def test_settings_of_a_policy_are_what_plays(small):
    ecmp, sed = alone(small, "ecmp"), alone(small, "dispatch")
    assert alone(small, "dispatch", rule="ecmp") == ecmp != sed
    only = changed(
        small, "env", metrics=["jct"]
    )  # the weights, which others show, differ; but SED with equal ones is LSQ
    levels, equal = alone(only, "random_levels"), alone(only, "random_levels", levels=[1.0])
    assert equal == alone(only, "lsq") != levels


def test_a_policy_plays_the_same_alone_and_as_a_reference_and_in_workers(small):
    small = changed(small, "env", latency_gain=0.02)  # or latency control would be latency_robust
    compared = played(with_references(changed(small, "policy", "dispatch", rule="lwl")))
    classic = "random", "ecmp", "wcmp", "lsq", "sed_tie", "sed"
    assert list(compared) == ["dispatch", *classic, "latency_robust", "latency"]
    for name in ("random", "ecmp", "sed"):
        assert alone(small, name) == compared[name]
    assert alone(changed(small, "runner", workers=2), "lwl") == compared["dispatch"]
    assert len(set(compared.values())) == len(compared)


def test_a_policy_among_the_references_stands_first_and_once(small):
    compared = played(with_references(changed(small, "policy", "lsq")))
    assert list(compared) == ["lsq", "random", "ecmp", "wcmp", "sed_tie", "sed", "latency_robust", "latency"]


def test_the_environment_s_own_rule_plays_whatever_the_policy(small):
    rule = alone(changed(small, "env", rule="gsed"), "random")
    assert rule == alone(changed(small, "env", rule="ecmp", random_levels=[1.0, 3.0]), "gsed")


def test_a_rule_plays_and_can_be_looked_at_from_the_command_line(hymarl, small, tmp_path):
    outcome = hymarl(tmp_path, *SMALL, "policy=sed", "render=terminal", "hydra.run.dir=run")
    assert (outcome.code, outcome.err) == (0, "")
    assert "loadbalance sed" in outcome.out
    with (tmp_path / "run" / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sed = changed(small, "policy", "sed")
    returns = measure(sed, scripted(sed)).comparison.episodes("sed")
    assert [row["policy"] for row in rows] == ["sed", "sed"]
    assert [float(row["return"]) for row in rows] == pytest.approx(returns, rel=1e-9)


@pytest.fixture
def own(tmp_path_factory, monkeypatch):
    """Policies and an environment of one's own: the override that finds their YAML files."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in OWN_FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(folder)
    return f"hydra.searchpath=['file://{folder}/conf']"


def test_a_policy_of_one_s_own_plays(small, own):
    last = compose(own, *SMALL, "policy=last")
    assert alone(last) != alone(last, number=1)
    assert alone(last, "second") == alone(small, "lsq")


def test_a_policy_of_one_s_own_is_a_reference(own):
    game = compose(own, "env=game", "eval.test_episodes=2", "policy=random")
    compared = played(game)
    assert list(compared) == ["random", "last"]
    assert compared["last"] == played(changed(game, "policy", "last"))["last"] != compared["random"]


def test_a_reference_that_does_not_exist_is_refused_before_anything_is_trained(hymarl, own, tmp_path):
    outcome = hymarl(tmp_path, "env=game", "logger=[]", own, "env.names=[last,lats]")
    assert outcome.code == 2
    assert outcome.err.startswith("policy=lats: there is no such option; did you mean 'last'? choose one of: ")
    assert not list(tmp_path.iterdir())


def test_random_is_uniform_over_available_actions(spec):
    policy = scripted_policy(option("policy", "random"), spec)
    state = PolicyState.start(spec, keys(0, Stream.TEST, list(range(500))))
    avail = np.ones((500, 2, 5), np.bool_)
    avail[:, 1, [0, 3]] = False
    chosen = []
    for _ in range(20):
        actions, state = policy.act(np.zeros((500, 2, 9), np.float32), avail, state)
        chosen.append(actions)
    chosen = np.array(chosen)  # T B A
    assert np.bincount(chosen[..., 0].ravel()) / 10_000 == pytest.approx([0.2] * 5, abs=0.02)
    assert np.bincount(chosen[..., 1].ravel(), minlength=5) / 10_000 == pytest.approx(
        [0, 1 / 3, 1 / 3, 0, 1 / 3], abs=0.02
    )
    assert abs(np.corrcoef(chosen[..., 0].ravel(), chosen[..., 1].ravel())[0, 1]) < 0.05
