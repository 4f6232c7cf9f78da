"""What balancers and the mixer see."""

import numpy as np
import pytest

EMPTY = 12  # features per server with the own weight


@pytest.mark.parametrize(
    ("preset", "changes", "shape"),
    [
        ("loadbalance", {"obs_own_weight": False}, (4, 4, 44, 44)),
        ("loadbalance", {}, (4, 4, 48, 44)),
        ("loadbalance", {"obs_own_weight": False, "state": "concat"}, (4, 4, 44, 176)),
        ("loadbalance", {"state": "concat"}, (4, 4, 48, 192)),
        ("loadbalance", {"state": "privileged"}, (4, 4, 48, 26)),
        ("loadbalance", {"action_mode": "favour0"}, (4, 5, 48, 44)),
        ("loadbalance", {"action_mode": "adjust"}, (4, 9, 48, 44)),
        ("loadbalance", {"slots": 6, "obs_mask": True, "obs_own_arrivals": True}, (4, 6, 79, 66)),
        ("lb_unknown", {}, (4, 8, 96, 88)),
        ("lb_herd", {}, (8, 8, 96, 88)),
        ("lb_haproxy", {}, (4, 8, 56, 48)),
        ("lb_paper_moderate", {"obs_own_weight": False}, (2, 7, 77, 77)),
        ("lb_paper_moderate", {"obs_own_weight": False, "features": "paper6"}, (2, 7, 42, 42)),
        ("lb_paper_large", {"obs_own_weight": False}, (6, 24, 264, 264)),
        ("lb_paper_large", {"obs_own_weight": False, "features": "paper6"}, (6, 24, 144, 144)),
    ],
)
def test_shapes(make_env, start, advance, preset, changes, shape):
    env = make_env(preset, n_envs=2, episode_limit=2, warmup=0.0, **changes)
    spec = env.spec
    assert (spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim) == shape
    start(env)
    advance(env)
    last = advance(env)
    assert last.truncated.all()
    assert last.obs.shape == (2, shape[0], shape[2])
    assert last.state.shape == (2, shape[3])
    assert last.state.any(axis=1).all()


@pytest.mark.parametrize("agents", [1, 2, 8])
def test_every_preset_takes_a_number_of_agents(make_env, agents):
    presets = ["lb_scale", "lb_hetero", "lb_unknown", "lb_haproxy", "lb_swap", "lb_herd", "lb_background", "lb_mixed"]
    for preset in [*presets, "lb_paper_moderate", "lb_paper_large", "simlb_table"]:
        assert make_env(preset, agents=agents).spec.n_agents == agents


def play_some(env, start, advance, steps=25):
    start(env)
    random = np.random.default_rng(0)
    shape = (env.n_envs, env.spec.n_agents)
    for _ in range(steps):
        step = advance(env, random.integers(0, env.spec.n_actions, shape))
    return step


@pytest.mark.parametrize("features", ["all", "paper6", "completion"])
def test_raw_features_are_counts_and_statistics(make_env, start, advance, features):
    env = make_env(n_envs=2, obs_norm="raw", features=features)
    step, world = play_some(env, start, advance), env.engine.world
    names = ("mean", "p90", "std", "decayed_mean", "decayed_p90")
    quantities = {"all": (0, 1), "paper6": (1,), "completion": (0,)}[features]
    blocks = step.obs.reshape(2, 4, 4, -1)
    for b, i, j in np.ndindex(2, 4, 4):
        expected = [world.pairs[b, i, j]["count"]]
        for quantity in quantities:
            expected += [world.reservoirs[b, (i * 4 + j) * 2 + quantity][name] for name in names]
        assert blocks[b, i, j, : len(expected)] == pytest.approx(expected, rel=1e-6)


def test_log_features_are_scaled_logarithms_of_the_raw_ones(make_env, start, advance):
    raw = play_some(make_env(n_envs=2, obs_norm="raw"), start, advance).obs.reshape(2, 4, 4, EMPTY).copy()
    log = play_some(make_env(n_envs=2), start, advance).obs.reshape(2, 4, 4, EMPTY)
    assert log[..., 0] == pytest.approx(np.log2(1 + raw[..., 0]) / np.log2(161), abs=1e-6)
    times = np.clip(np.log2((raw[..., 1:11] + 1e-3) / (0.2 + 1e-3)), -6, 6) / 6
    assert log[..., 1:11] == pytest.approx(times, abs=1e-5)
    assert (log[..., 11] == raw[..., 11]).all()


def test_times_can_be_relative_to_the_own_mean_completion_time(make_env, start, advance):
    raw = play_some(make_env(n_envs=2, obs_norm="raw"), start, advance).obs.reshape(2, 4, 4, EMPTY).copy()
    for norm in ("raw", "log"):
        env = make_env(n_envs=2, obs_norm=norm, obs_unit="own")
        relative = play_some(env, start, advance).obs.reshape(2, 4, 4, EMPTY)
        completion = env.engine.world.reservoirs.reshape(2, 4, 4, 2)[..., 0]
        mean = (completion["values"].sum(axis=-1) / completion["n"].sum(axis=-1))[..., None, None]
        times = raw[..., 1:11]
        expected = times / mean if norm == "raw" else np.clip(np.log2((times + 1e-3) / (mean + 1e-3)), -6, 6) / 6
        assert relative[..., 1:11] == pytest.approx(expected, abs=1e-5)
        assert (relative[..., 11] == raw[..., 11]).all()


def test_own_weight_is_the_clipped_tilt(make_env, start, advance):
    env = make_env(n_envs=2, delta=2.0, clip=1.5)
    step = play_some(env, start, advance)
    tilt = env.engine.world.pairs["tilt"]
    expected = np.clip(tilt - tilt.mean(axis=2, keepdims=True), -1.5, 1.5) / 1.5
    own = step.obs.reshape(2, 4, 4, EMPTY)[..., 11]
    assert own == pytest.approx(expected, abs=1e-6)
    assert np.abs(own).max() == 1.0


def test_own_weight_is_0_after_the_warm_up_and_under_a_rule(make_env, start, advance):
    env = make_env(n_envs=2, rule="sed", random_levels=[1.0, 2.0])
    assert not start(env).obs.reshape(2, 4, 4, EMPTY)[..., 11].any()
    assert not advance(env, np.full((2, 4), 3)).obs.reshape(2, 4, 4, EMPTY)[..., 11].any()


def test_extras(make_env, start, advance):
    env = make_env(n_envs=2, slots=5, obs_nominal_weight=True, obs_mask=True, obs_own_arrivals=True, obs_norm="raw")
    step = play_some(env, start, advance)
    assert env.spec.entities.n_features == 14
    blocks = step.obs[..., :-1].reshape(2, 4, 5, 14)
    assert (blocks[..., 12] == [2, 2, 4, 4, 0]).all()
    assert (blocks[..., 13] == [1, 1, 1, 1, 0]).all()
    assert (step.obs[..., -1] == env.engine.world.balancers["arrivals"]).all()
    assert step.obs[..., -1].any()
    log = make_env(obs_nominal_weight=True)
    assert start(log).obs.reshape(4, 4, 13)[..., 12] == pytest.approx(np.array([[0.5, 0.5, 1, 1]] * 4))


def test_server_state_merges_balancers(make_env, start, advance):
    env = make_env(n_envs=2)
    step = play_some(env, start, advance)
    blocks, state = step.obs.reshape(2, 4, 4, EMPTY), step.state.reshape(2, 4, 11)
    assert state[..., 1:] == pytest.approx(blocks[..., 1:11].mean(axis=1), abs=1e-6)
    load = env.engine.world.servers["load"]
    assert state[..., 0] == pytest.approx(np.log2(1 + load) / np.log2(161), abs=1e-6)


def test_concatenated_state_is_all_observations(make_env, start, advance):
    step = play_some(make_env(n_envs=2, state="concat"), start, advance)
    assert (step.state == step.obs.reshape(2, -1)).all()


def test_privileged_state_is_the_truth(make_env, start, advance):
    env = make_env(n_envs=4, state="privileged", scenario="mixed", rho=1.3, workers=4, backlog=20)
    step, world = play_some(env, start, advance), env.engine.world
    server, state = world.servers, step.state[:, :24].reshape(4, 4, 6)
    expected = np.stack(
        [
            server["load"] / 24,
            server["busy"] / 4,
            (server["load"] - server["busy"]) / 20,
            server["work"] / server["cpus"],
            server["cpus"] * server["speed"] / 4,
            server["known"],
        ],
        axis=-1,
    )
    assert state == pytest.approx(expected, rel=1e-5)
    assert step.state[:, 24] == pytest.approx(world.episode["rate"] / world.episode["base_rate"], rel=1e-5)
    assert step.state[:, 25] == pytest.approx(25 / 100)


def test_old_observations(make_env, start, advance):
    """With a delay the observation is of an earlier moment of the same course of events."""
    prompt, late = (make_env(n_envs=16, ack_rate=0.0, rule="sed", obs_delay=delay) for delay in (0.0, 0.25))
    env_steps = []
    for env in (prompt, late):
        start(env)
        for _ in range(5):
            step = advance(env)
        env_steps.append(step.obs.reshape(16, 4, 4, EMPTY)[..., 0].copy())
    assert np.array_equal(prompt.engine.world.servers["load"], late.engine.world.servers["load"])
    assert not np.array_equal(*env_steps)


def test_observations_are_bounded(make_env, start, advance):
    env = make_env(n_envs=4, rho=3.0, rule="ecmp")
    start(env)
    for _ in range(env.spec.episode_limit):
        step = advance(env)
        assert np.abs(step.obs).max() <= 1.0
        assert np.abs(step.state).max() <= 1.0
        assert np.isfinite(step.obs).all()
