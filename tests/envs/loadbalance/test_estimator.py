"""Weights that follow from estimates of servers' load: the network, what it is shown and taught, what it achieves."""

import subprocess
import sys

import numpy as np
import pytest

from hymarl.envs.loadbalance import estimator as est
from hymarl.envs.loadbalance.estimator import Estimator, Memory, Seen
from hymarl.registry import ConfigError


@pytest.fixture(scope="module")
def shipped():
    return Estimator.load(est.SHIPPED)


def random_seen(rng, *lead, n_servers=5, n_known=5):
    known = np.zeros((*lead, n_servers), np.bool_)
    known[..., :n_known] = True
    counts = rng.integers(0, 6, known.shape).astype(np.float64)
    return Seen(counts, rng.uniform(-0.2, 0.2, (*known.shape, 5)), rng.uniform(2, 4, known.shape), known)


def test_inputs_are_moving_averages():
    rng, memory = np.random.default_rng(0), Memory()
    steps = [random_seen(rng, 2, 3) for _ in range(4)]
    fresh = np.array([[False], [True]])  # in the last step an episode begins in row 1
    for now in steps[:-1]:
        memory.inputs(now)
    inputs = memory.inputs(steps[-1], fresh)
    assert inputs.shape == (2, 3, 5, est.N_INPUTS)
    times = [now.times - now.times[..., :1].mean(axis=-2, keepdims=True) for now in steps]
    x = [np.concatenate([np.log1p(now.counts)[..., None] / 4, t], axis=-1) for now, t in zip(steps, times, strict=True)]
    for k, decay in enumerate(est.DECAYS):
        mean = x[0]
        for later in x[1:]:
            mean = decay * mean + (1 - decay) * later
        at = 7 + 6 * k
        assert inputs[0, ..., at : at + 6] == pytest.approx(mean[0])
        assert inputs[1, ..., at : at + 6] == pytest.approx(x[-1][1])
    logs = np.log(steps[-1].nominal)
    assert inputs[..., 0] == pytest.approx(logs - logs.mean(axis=-1, keepdims=True))


def test_the_unit_of_times_and_servers_without_samples_shift_nothing():
    now = random_seen(np.random.default_rng(3), 4)
    now.times[:, 2, 0] = -1.0  # no flow of server 2 has finished
    shifted = now._replace(times=np.where(now.times == -1.0, -1.0, now.times + 0.1))
    inputs, others = Memory().inputs(now), Memory().inputs(shifted)
    rest = [0, 1, 3, 4]
    assert inputs[:, rest] == pytest.approx(others[:, rest])


def test_rows_that_pause_are_left_alone(make_env, start):
    envs = [make_env("lb_unknown", 2, rule="pretrained") for _ in range(2)]
    for env, pause in zip(envs, (0, 7), strict=True):
        start(env)
        for t in range(12 + pause):
            actions, paused = np.zeros((2, 4), np.int64), 5 <= t < 5 + pause
            env.step(actions, np.array([t < 12, not paused]))
    kept, other = (env.engine.world for env in envs)
    for name in ("lean", "weight", "count"):
        assert np.array_equal(kept.pairs[name], other.pairs[name])


def test_servers_can_be_exchanged_and_slots_left_empty(shipped):
    rng = np.random.default_rng(1)
    now, order = random_seen(rng, 4), np.array([3, 1, 0, 4, 2])
    weights = shipped.log_weights(Memory().inputs(now), now)
    exchanged = Seen(*(x[:, order] for x in now))
    assert shipped.log_weights(Memory().inputs(exchanged), exchanged) == pytest.approx(weights[:, order], abs=1e-5)
    wider = Seen(*(np.concatenate([x, np.ones_like(x[:, :2])], axis=1) for x in now))
    wider.known[:, 5:] = False
    found = shipped.log_weights(Memory().inputs(wider), wider)
    assert found[:, :5] == pytest.approx(weights, abs=1e-5)
    assert not found[:, 5:].any()


def test_weights_make_the_rule_see_the_estimate(shipped):
    now = random_seen(np.random.default_rng(2), 8)
    inputs = Memory().inputs(now)
    estimate, weights = shipped.estimate(inputs, now.known), shipped.log_weights(inputs, now)
    score = np.log(now.counts + 1) - weights
    assert np.ptp(score - estimate, axis=-1) == pytest.approx(0, abs=2e-6)


def test_it_is_taught_the_truth(make_env, start, advance):
    env = make_env(n_envs=3, scenario="failure", warmup=1.0)
    start(env)
    failed = 0
    for _ in range(60):
        advance(env)
        truth, servers = est.target(env.engine.world), env.engine.world.servers
        at_work = servers["speed"] > 0
        expected = np.log((servers["load"] + 1) / np.where(at_work, servers["cpus"] * servers["speed"], 1))
        assert truth[at_work] == pytest.approx(expected[at_work])
        assert np.isneginf(truth[~at_work]).all()
        failed += (~at_work).sum()
    assert failed


def test_rows_do_not_depend_on_each_other_and_episodes_start_afresh(make_env, start, advance):
    alone, many = make_env("lb_unknown", 1, rule="pretrained"), make_env("lb_unknown", 3, rule="pretrained")
    start(alone)
    start(many)
    for env, steps in ((many, 7), (alone, 7)):
        for _ in range(steps):
            advance(env)
    assert np.array_equal(alone.engine.world.pairs["weight"][0], many.engine.world.pairs["weight"][0])
    start(alone)
    start(many)
    for _ in range(5):
        advance(alone), advance(many)
    assert np.array_equal(alone.engine.world.pairs["weight"][0], many.engine.world.pairs["weight"][0])
    assert alone.engine.world.pairs["weight"].std() > 0.1


def test_agents_that_do_nothing_on_top_of_it_play_the_rule(make_env, start, advance):
    rule = make_env("lb_unknown", 2, rule="pretrained")
    agents = make_env("lb_unknown", 2, base="pretrained", action_mode="favour0")
    start(rule), start(agents)
    for _ in range(20):
        assert np.array_equal(advance(rule).reward, advance(agents).reward)


def test_it_beats_the_rule_of_ten_lines_without_training(make_env, play):
    """Mean completion times in ms, where capacities are unknown and where servers are swapped."""
    for preset, most in (("lb_unknown", 0.98), ("lb_swap", 0.97)):
        jct = {
            rule: play(make_env(preset, n_envs=16, rule=rule), rule, 16)[1]["jct_mean"].mean()
            for rule in ("latency", "pretrained")
        }
        assert jct["pretrained"] < most * jct["latency"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"features": "paper6"}, "features to all or completion"),
        ({"obs_norm": "raw"}, "obs_norm=log"),
        ({"estimator": "missing.npz"}, "no such file"),
    ],
)
def test_mistakes(make_env, changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make_env(rule="pretrained", **changes)


def test_files_are_data(shipped, tmp_path):
    path = tmp_path / "mine.npz"
    shipped.save(path)
    assert all(map(np.array_equal, Estimator.load(path), shipped))
    whole = path.read_bytes()
    for content in (b"", whole[:200], whole[:-100], b"no archive"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"mine\.npz: it holds no estimator"):
            Estimator.load(path)
    np.savez(path, **{**shipped._asdict(), "own": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="it holds no estimator"):
        Estimator.load(path)
    np.savez(path, **{**shipped._asdict(), "out": np.full(64, np.nan)})
    with pytest.raises(ValueError, match="is damaged"):
        Estimator.load(path)


@pytest.mark.slow
def test_the_example_trains_one(tmp_path):
    path = tmp_path / "mine.npz"
    words = ["examples/estimator.py", path, "--rounds", "2", "--steps", "20", "--episodes", "2"]
    subprocess.run([sys.executable, *words, "--on", "env=lb_unknown", "agents=2"], check=True)
    estimator = Estimator.load(path)
    assert estimator.hidden.shape == (64, 64)
    assert np.ptp(estimator.out) > 0.01
