"""Policies that learn nothing: random ones, and rules by which an environment acts in the agents' place."""

import csv
from importlib import resources

import numpy as np
import pytest

from hymarl.app.assembly import environment_factory, environment_for, scripted_policy
from hymarl.app.config import option
from hymarl.app.options import options
from hymarl.components.rng import Stream, keys
from hymarl.envs.loadbalance.parameters import RULES
from hymarl.policies.base import PolicyState
from hymarl.registry import find

SCRIPTED = [name for name in options("policy") if name != "learned"]
SMALL = ("env=loadbalance", "agents=2", "env.episode_limit=4", "env.warmup=1.0", "runner.n_envs=2", "eval.episodes=2")
ALONE = (*SMALL, "eval.references=false")
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


def played(run):
    """Rows of the comparison by policy, without the policy's name."""
    rows = {}
    with (run / "comparison.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row.pop("policy"), []).append(row)
    return rows


@pytest.fixture
def evaluated(hymarl, tmp_path):
    """Play from the command line: the comparison of ``evaluated("policy=sed", …)``."""

    def run(*arguments):
        number = len(list(tmp_path.iterdir()))
        outcome = hymarl(tmp_path, *arguments, f"hydra.run.dir=run{number}")
        assert (outcome.code, outcome.err) == (0, "")
        return played(tmp_path / f"run{number}")

    return run


@pytest.mark.parametrize("name", SCRIPTED)
def test_every_scripted_policy_plays_available_actions_where_its_settings_are_known(configured, name):
    config = environment_for(configured("env=loadbalance"), option("policy", name))
    env = environment_factory(config)(2)
    policy, seeds = scripted_policy(option("policy", name), env.spec), keys(0, Stream.TEST, [0, 1])
    step, state = env.reset(seeds, np.ones(2, np.bool_)), PolicyState.start(env.spec, seeds)
    for _ in range(3):
        actions, state = policy.act(step.obs, step.avail, state)
        assert np.take_along_axis(step.avail, actions[..., None], axis=-1).all()
        step = env.step(actions, np.ones(2, np.bool_))
    assert state.t == 3


@pytest.mark.parametrize("name", SCRIPTED)
def test_a_policy_changes_no_other_settings_than_it_says(configured, name):
    config, policy = configured("env=lb_unknown", "env.rho=0.5"), option("policy", name)
    asked = find("policy", policy.name).environment_settings(policy.settings)
    changed = environment_for(config, policy)
    before, after = (dict(c.components["env"].settings) for c in (config, changed))
    assert after == {**before, **asked}
    assert (before != after) == bool(asked)
    assert {**vars(changed), "components": None} == {**vars(config), "components": None}


def test_every_rule_has_its_file():
    folder = resources.files("hymarl.conf") / "policy"
    assert all((folder / f"{rule}.yaml").is_file() for rule in RULES)
    assert [dict(option("policy", rule).settings) for rule in RULES] == [{"rule": rule} for rule in RULES]


@pytest.mark.parametrize("name", ["sed", "random_levels"])
@pytest.mark.parametrize("env", ["two_step", "meeting"])
def test_a_rule_needs_an_environment_that_has_it(hymarl, tmp_path, name, env):
    outcome = hymarl(tmp_path, f"env={env}", f"policy={name}")
    assert outcome.code == 2
    assert outcome.err == (
        f"policy={name} is played by the environment itself, by its settings rule and random_levels, which env={env} "
        "does not have; choose env=loadbalance, or a policy that acts, such as policy=random\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["policy=dispatch", "policy.rule=sedd"], "policy=dispatch: rule=sedd is not a choice; did you mean 'sed'? "),
        (["policy=random_levels", "policy.levels=[1,0]"], "policy=random_levels: levels[1] must be above 0, got 0"),
        (["policy=random_levels", "policy.levels=[]"], "env=loadbalance: random_levels must be at least one number "),
        (["policy=dispatch", "+policy.levels=[1]"], "policy=dispatch: unknown key 'levels'; "),
    ],
)
def test_wrong_settings_of_a_policy_are_refused(hymarl, tmp_path, arguments, sentence):
    outcome = hymarl(tmp_path, *ALONE, *arguments)
    assert outcome.code == 2
    assert outcome.err.startswith(sentence)
    assert not list(tmp_path.iterdir())


def test_settings_of_a_policy_are_what_plays(evaluated):
    ecmp, sed = evaluated(*ALONE, "policy=ecmp")["ecmp"], evaluated(*ALONE, "policy=dispatch")["dispatch"]
    assert evaluated(*ALONE, "policy=dispatch", "policy.rule=ecmp")["dispatch"] == ecmp != sed
    only = "env.metrics=[jct]"  # the weights differ, which other metrics show, but SED with equal ones is LSQ
    levels, equal = (
        evaluated(*ALONE, only, "policy=random_levels", *more)["random_levels"]
        for more in ([], ["policy.levels=[1.0]"])
    )
    assert equal == evaluated(*ALONE, only, "policy=lsq")["lsq"] != levels


def test_a_policy_plays_the_same_alone_and_as_a_reference_and_in_workers(evaluated):
    compared = evaluated(*SMALL, "policy=dispatch", "policy.rule=lwl")
    assert list(compared) == ["dispatch", "random", "ecmp", "wcmp", "lsq", "sed_tie", "sed"]
    for name in ("random", "ecmp", "sed"):
        assert evaluated(*ALONE, f"policy={name}")[name] == compared[name]
    assert evaluated(*ALONE, "policy=lwl", "runner.workers=2")["lwl"] == compared["dispatch"]
    assert len({str(rows) for rows in compared.values()}) == len(compared)


def test_a_policy_among_the_references_stands_first_and_once(evaluated):
    assert list(evaluated(*SMALL, "policy=lsq")) == ["lsq", "random", "ecmp", "wcmp", "sed_tie", "sed"]


def test_the_environment_s_own_rule_plays_whatever_the_policy(evaluated):
    rule = evaluated(*ALONE, "policy=random", "env.rule=gsed")["random"]
    assert rule == evaluated(*ALONE, "policy=gsed", "env.rule=ecmp", "env.random_levels=[1,3]")["gsed"]


def test_an_episode_under_a_rule_can_be_looked_at(hymarl, tmp_path):
    outcome = hymarl(tmp_path, *ALONE, "policy=sed", "render=terminal", "hydra.run.dir=run")
    assert (outcome.code, outcome.err) == (0, "")
    assert "loadbalance sed" in outcome.out


@pytest.fixture
def own(tmp_path_factory, monkeypatch):
    """Policies and an environment of one's own: the override that finds their YAML files."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in OWN_FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(folder)
    return f"hydra.searchpath=['file://{folder}/conf']"


def test_a_policy_of_one_s_own_plays(evaluated, own):
    last = evaluated(own, *ALONE, "policy=last")["last"]
    assert last != evaluated(own, *ALONE, "policy=last", "policy.number=1")["last"]
    assert evaluated(own, *ALONE, "policy=second")["second"] == evaluated(*ALONE, "policy=lsq")["lsq"]


def test_a_policy_of_one_s_own_is_a_reference(evaluated, own):
    game = own, "env=game", "eval.episodes=2"
    compared = evaluated(*game, "policy=random")
    assert list(compared) == ["random", "last"]
    assert compared["last"] == evaluated(*game, "policy=last")["last"] != compared["random"]


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
