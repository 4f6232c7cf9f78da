"""``joint=true``: one agent learns to choose for all, from training to evaluation."""

import csv
import json

import numpy as np
import pytest
import yaml

import hymarl as api
from hymarl.app.saved import load_saved
from hymarl.components.files import checksum
from hymarl.components.rng import Stream, keys
from hymarl.training.trainer import Checkpoint

TINY = (
    *("env=two_step", "algo=iql", "logger=[]", "network=mlp", "network.hidden_dims=[8]", "threads=1", "joint=true"),
    *("eval.episodes=2", "eval.test_episodes=3", "replay.batch_episodes=4", "train.total_steps=64"),
    *("train.log_interval_steps=16", "train.checkpoint_interval_steps=32"),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run of one agent for all."""
    return api.train(api.compose(*TINY), tmp_path_factory.mktemp("runs") / "joint").directory


def rows(run, policy):
    with (run / "comparison.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["policy"] == policy]


def test_scripted_policies_play_the_environment_as_it_is(finished, tmp_path):
    api.evaluate(api.compose("env=two_step", "policy=random", "eval.test_episodes=3"), directory=tmp_path / "random")
    alone = rows(tmp_path / "random", "random")
    assert [row["return"] for row in rows(finished, "random")] == [row["return"] for row in alone]
    assert len(rows(finished, "learned")) == len(alone) == 3


def test_a_run_is_evaluated_and_its_policy_is_loaded(hymarl, finished, tmp_path):
    assert json.loads((finished / "protocol.json").read_text())["header"]["agents"] == "one for all (joint)"
    outcome = hymarl(tmp_path, f"evaluate={finished}", "hydra.run.dir=again")
    assert (outcome.code, outcome.err) == (0, "")
    assert "agents  one for all (joint)\n" in outcome.out
    for policy in ("learned", "random"):
        assert rows(tmp_path / "again", policy) == rows(finished, policy)
    loaded, env = api.load_policy(finished), api.make_env("two_step", joint=True)
    assert loaded.spec == env.spec
    key, every, total = keys(0, Stream.TEST, 0), np.ones(1, np.bool_), 0.0
    now, state = env.reset(key, every), None
    while not now.terminated[0]:
        actions, state = loaded.act(now.obs, now.avail, state)
        now = env.step(actions, every)
        total += float(now.reward[0])
    assert total == float(rows(finished, "learned")[0]["return"])


@pytest.mark.slow
def test_a_run_that_was_stopped_is_resumed_exactly(finished, assert_equal_runs, tmp_path):
    stopped = tmp_path / "stopped"
    run = api.train(api.compose(*TINY), stopped, callbacks=[lambda event: isinstance(event, Checkpoint)])
    assert run.status == "interrupted"
    assert api.resume(stopped).status == "finished"
    assert_equal_runs(stopped, finished)


@pytest.mark.slow
def test_workers_change_nothing(finished, assert_equal_runs, tmp_path):
    run = api.train(api.compose(*TINY, "runner.workers=2"), tmp_path / "run").directory
    assert_equal_runs(run, finished)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["env=two_step", "policy=random"],
            "joint=true is for a policy that learns, and policy=random chooses for each agent by itself; set "
            "joint=false\n",
        ),
        pytest.param(
            ["agents=9", "network=mlp"],
            "joint=true: one agent that chooses for all would have 4^9 = 262,144 joint ",
            marks=pytest.mark.slow,
        ),
        ([], "network=entity needs an observation that lists entities, which that of one agent for all (joint=true) "),
        (["evaluate={run}"], "evaluate measures the policy that a run has learned; leave out joint\n"),
    ],
    ids=str,
)
def test_what_does_not_fit_gets_a_sentence(hymarl, finished, tmp_path, arguments, sentence):
    outcome = hymarl(tmp_path, "joint=true", *(argument.format(run=finished) for argument in arguments))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(sentence)
    assert outcome.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_environment_is_checked_as_it_is_played(hymarl, tmp_path):
    outcome = hymarl(tmp_path, "check=true", "joint=true", "env=goal_swap", "env.episode_limit=5")
    assert (outcome.code, outcome.err) == (0, "")
    assert "actions  16\n" in outcome.out
    assert "observation  12\n" in outcome.out


def test_an_algorithm_may_ask_for_it(tmp_path):
    (tmp_path / "algo").mkdir()
    (tmp_path / "algo" / "central.yaml").write_text("# @package _global_\ndefaults: [iql]\njoint: true\n")
    assert api.compose("env=two_step", "algo=central", searchpath=[tmp_path]).joint


def test_runs_of_before_had_agents_of_their_own_and_the_environment_s_own_state(configured, tmp_path):
    today = configured("env=mpe", "logger=[]")
    plain = today.plain()
    assert (plain.pop("joint"), plain["components"]["env"]["settings"].pop("state")) == (False, "own")
    text = yaml.safe_dump(plain)
    (tmp_path / "config.yaml").write_text(f"{text}# checksum: {checksum(text.encode())}\n")
    assert load_saved(tmp_path, today, to_resume=True).plain() == today.plain()
