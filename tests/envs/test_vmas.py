"""Scenarios of VMAS adapted."""

import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from hymarl.components import rng
from hymarl.components.rng import Stream
from hymarl.envs import vmas as adapter
from hymarl.envs.adapters import tensor_rows
from hymarl.envs.contract.checker import EnvironmentContractError, check_environment
from hymarl.envs.vmas import Vmas
from hymarl.registry import ConfigError, build

vmas = pytest.importorskip("vmas", reason="vmas is not installed: pip install 'hymarl[vmas]'")

STAY = 0


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)


def scenario(name="balance", n_envs=3, agents=None, **changes):
    name = name if name.islower() else f"vmas_scenarios:{name}"
    values = {"kwargs": None, "agents_kwarg": "n_agents", "episode_limit": 10, "reward": "mean", "state": "own"}
    values |= changes
    return Vmas(agents, n_envs, scenario=name, **values)


def every(env):
    return np.ones(env.n_envs, np.bool_)


def start(env, seed=0):
    return env.reset(rng.keys(seed, Stream.TEST, np.arange(env.n_envs)), every(env))


def go(env, *actions, active=None):
    return env.step(np.tile(np.array(actions), (env.n_envs, 1)), every(env) if active is None else active)


@pytest.mark.parametrize("n_envs", [1, 3, 35])
@pytest.mark.parametrize("name", ["balance", "wind_flocking", "Counting"])
def test_rows_of_one_simulation_keep_the_contract(name, n_envs):
    env = scenario(name, n_envs)
    assert len(env._simulations) == 1
    check_environment(env, n_episodes=1)


@pytest.mark.parametrize(("name", "kwargs"), [("Counting", {"noise": 0.1}), ("OneGoal", {}), ("simple_reference", {})])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_scenarios_whose_rows_depend_on_each_other_get_a_simulation_per_row(name, kwargs, n_envs):
    env = scenario(name, n_envs, kwargs=kwargs)
    assert len(env._simulations) == n_envs
    check_environment(env, n_episodes=1)


def test_state_is_all_observations_or_their_mean():
    for state, size in (("own", 48), ("concat", 48), ("mean", 16)):
        env = scenario(state=state)
        now = start(env)
        assert now.state.shape == (3, env.spec.state_dim) == (3, size)
        wanted = now.obs.mean(axis=1) if state == "mean" else now.obs.reshape(3, -1)
        assert np.array_equal(now.state, wanted)
    check_environment(env, n_episodes=1)


def test_goal_for_all_rows_differs_between_episodes():
    env = scenario("OneGoal", 8)
    assert len(set(start(env).obs[:, 0, 5].tolist())) > 1


def test_noise_differs_between_steps_and_is_not_shared_with_other_environments():
    def play(other):
        env, seen = scenario("Counting", 1, kwargs={"noise": 1.0}), []
        start(env)
        for _ in range(3):
            if other:
                start(other)
            seen.append(float(go(env, STAY, STAY).obs[0, 0, 0]))
        return seen

    seen = play(None)
    assert len({round(x % 1, 4) for x in seen}) == 3
    assert play(scenario("Counting", 1, kwargs={"noise": 1.0})) == seen


def test_draws_that_begin_late_are_refused():
    env = scenario("LateNoise")
    start(env)
    for _ in range(3):
        go(env, STAY, STAY)
    with pytest.raises(ValueError, match="drew random numbers while stepping"):
        go(env, STAY, STAY)


def test_episode_is_the_library_s():
    env, raw = scenario("balance", 3, episode_limit=40), vmas.make_env("balance", 32, continuous_actions=False, seed=5)
    seeds = rng.keys(1, Stream.TEST, np.arange(3))
    raw.seed(int(seeds[2]) >> 32)
    observations = raw.reset_at(1)
    now = env.reset(seeds, every(env))
    generator, t = np.random.default_rng(0), 0
    while not (now.terminated | now.truncated)[2]:
        assert np.array_equal(now.obs[2], torch.stack(observations)[:, 1].numpy())
        assert np.array_equal(now.state[2], now.obs[2].ravel())
        actions = generator.integers(9, size=3)
        observations, rewards, dones, _ = raw.step([torch.full((32, 1), int(u)) for u in actions])
        now = env.step(np.tile(actions, (3, 1)), every(env))
        assert now.reward[2] == torch.stack(rewards)[:, 1].mean()
        assert now.terminated[2] == dones[1]
        t += 1
    assert t > 3


def test_sizes_are_padded_to_the_largest_agent():
    env = scenario("Counting")
    spec = env.spec
    assert (spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim, spec.episode_limit) == (2, 9, 5, 10, 10)
    now = start(env)
    assert now.avail[0].sum(axis=-1).tolist() == [9, 4]
    assert now.avail[0, 1, :4].all()
    assert not now.obs[:, 1, 2:].any()
    with pytest.raises(AssertionError, match="out of bounds"):
        go(env, STAY, 4)


@pytest.mark.parametrize(("reward", "paid"), [("sum", 1), ("mean", 0.5), ("individual", [0, 1])])
def test_team_reward(reward, paid):
    env = scenario("Counting", reward=reward)
    assert env.spec.individual_rewards == (reward == "individual")
    start(env)
    assert go(env, STAY, STAY).reward[0].tolist() == paid


def test_end_by_the_scenario_is_a_termination_also_at_the_limit():
    for limit in (4, 10):
        env = scenario("Counting", episode_limit=limit)
        start(env)
        ends = [go(env, STAY, STAY) for _ in range(4)]
        assert [bool(now.terminated[0]) for now in ends] == [False, False, False, True]
        assert not any(now.truncated.any() for now in ends)


def test_end_by_the_limit_is_a_truncation():
    env = scenario("Counting", episode_limit=3)
    start(env)
    ends = [go(env, STAY, STAY) for _ in range(3)]
    assert [bool(now.truncated[0]) for now in ends] == [False, False, True]
    assert not any(now.terminated.any() for now in ends)
    assert ends[-1].obs[:, 0, 4].tolist() == [9, 9, 9]


def test_waiting_rows_keep_everything_that_the_scenario_counts():
    env = scenario("Counting", 2)
    first = start(env).obs[:, 0, 0]
    one = np.array([True, False])
    for _ in range(3):
        go(env, 1, STAY, active=one)
    assert not go(env, STAY, STAY, active=~one).obs[0].any()
    env.reset(np.array([7, 0], np.uint64), one)
    now = go(env, STAY, STAY, active=~one)
    assert now.obs[1, 0].tolist() == pytest.approx([first[1] + 2, 0, first[1] + 2, 4, 6])


def test_the_checker_notices_when_nothing_is_put_back(monkeypatch):
    monkeypatch.setattr(adapter, "rows_kept", lambda *_: nullcontext())
    for name in ("Counting", "balance"):
        with pytest.raises(EnvironmentContractError, match="resetting and stepping other rows in between"):
            check_environment(scenario(name), n_episodes=1)


def test_nothing_is_kept_where_no_row_waits(monkeypatch):
    env = scenario("Counting", 2)
    start(env)
    looked = []
    monkeypatch.setattr(tensor_rows, "batched_tensors", lambda *_: looked.append(1) or {})
    go(env, STAY, STAY)
    assert not looked
    for _ in range(3):
        now = go(env, STAY, STAY)
    assert now.terminated.all()
    env.reset(np.zeros(2, np.uint64), np.array([True, False]))
    looked.clear()
    go(env, STAY, STAY, active=np.array([True, False]))  # the other row is over, not waiting
    assert not looked
    env.reset(np.zeros(2, np.uint64), np.array([False, True]))
    go(env, STAY, STAY, active=np.array([True, False]))
    assert looked


def test_the_generators_of_the_process_are_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    env = scenario()
    start(env)
    go(env, 1, 2, 3)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_number_of_agents():
    assert scenario(agents=5).spec.n_agents == 5
    assert scenario("Counting", agents=3).spec.n_agents == 3
    with pytest.raises(ValueError, match=r"agents=5, but env.scenario=balance has 3 agents; if one of its"):
        scenario(agents=5, agents_kwarg=None)
    with pytest.raises(ValueError, match="agents must be at least 1, got 0"):
        scenario(agents=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenario": "balanec"}, "there is no scenario 'balanec'; did you mean 'balance'"),
        ({"kwargs": {"package_weight": 3}}, "'package_weight': 3"),
        ({"kwargs": {"max_steps": 3}}, "kwargs are the scenario's; leave out max_steps"),
        ({"kwargs": {"n_agents": 1}}, "scenario balance cannot be made with {'n_agents': 1}: AssertionError"),
        ({"episode_limit": 0}, "episode_limit must be at least 1, got 0"),
        ({"scenario": "vmas_scenarios:Missing"}, "has no 'Missing'"),
        ({"scenario": "vmas_scenarios:Unmade"}, "vmas_scenarios:Unmade cannot be made: OSError: no engine ("),
        ({"scenario": "vmas_scenarios:Worldless"}, "Worldless cannot be made with {}: KeyError: 'gravity' ("),
    ],
)
def test_mistakes_get_a_sentence(option, changes, message):
    with pytest.raises(ConfigError) as caught:
        build("env", *option("env", "vmas", **changes), None, 2)
    assert message in str(caught.value)


@pytest.mark.parametrize("kwargs", [{}, {"noise": 0.1}])
def test_a_row_can_be_looked_at(kwargs):
    env = scenario("Counting", 2, kwargs=kwargs)
    start(env)
    try:
        scene = env.scene(1)
    except ValueError as error:
        pytest.skip(str(error))
    assert scene.pixels.dtype == np.uint8
    assert scene.pixels.ndim == 3
    assert scene.pixels.shape[2] == 3
    assert scene.pixels.min() < scene.pixels.max()
    env.close()
    env.close()


def test_missing_package_gets_a_sentence(option, monkeypatch):
    monkeypatch.setitem(sys.modules, "vmas", None)
    with pytest.raises(ConfigError, match=r"env=vmas: .*pip install 'hymarl\[vmas\]'") as caught:
        build("env", *option("env", "vmas"), None, 1)
    assert isinstance(caught.value.__cause__.__cause__, ImportError)
