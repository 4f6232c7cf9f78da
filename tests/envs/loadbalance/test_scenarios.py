"""What changes within and between episodes."""

import numpy as np
import pytest

WARMUP = 20


def script(env, start):
    """Speeds ``[B, N, S]``, factors of the arrival rate ``[B, N]``, and mean loads ``[B]`` of many episodes."""
    start(env)
    world = env.engine.world
    speeds, rates = world.changes["speed"][:, :-1], world.rates[:, :-1]
    capacity = (speeds * world.servers["cpus"][:, None]).sum(axis=2)
    rho = world.episode["base_rate"] * env.engine.parameters.traffic.mean_size / capacity.mean(axis=1)
    return speeds, rates, rho


def switches(states, dt=0.25):
    """Mean time in each of two states."""
    return [(states == s).sum() * dt / ((states[:, :-1] == s) & (states[:, 1:] != s)).sum() for s in (0, 1)]


def test_static(make_env, start):
    speeds, rates, rho = script(make_env(n_envs=4, speed=0.65), start)
    assert (speeds == 0.65).all()
    assert (rates == 1.0).all()
    assert rho == pytest.approx(0.85)


def test_unknown_shuffles_the_cpus(make_env, start):
    env = make_env(n_envs=4000, cpus=[1, 2, 4], slots=4, scenario="unknown", warmup=0.0, reservoir=1)
    speeds, _, rho = script(env, start)
    cpus = env.engine.world.servers["cpus"]
    assert (np.sort(cpus[:, :3], axis=1) == [1, 2, 4]).all()
    assert (cpus[:, 3] == 0).all()
    orders, counts = np.unique(cpus, axis=0, return_counts=True)
    assert len(orders) == 6
    assert (abs(counts - 4000 / 6) < 4 * np.sqrt(4000 / 6)).all()
    assert (env.engine.world.servers["nominal"] == [1, 1, 1, 0]).all()
    assert (speeds[..., :3] == 1.0).all()
    assert rho == pytest.approx(0.85)


def test_misspec(make_env, start):
    speeds, rates, rho = script(make_env(n_envs=500, scenario="misspec", warmup=0.0), start)
    assert (speeds == speeds[:, :1]).all()
    values, counts = np.unique(speeds[:, 0], return_counts=True)
    assert values.tolist() == [0.4, 1.0, 1.6]
    assert counts / 2000 == pytest.approx([1 / 3] * 3, abs=0.04)
    assert (rates == 1.0).all()
    assert rho == pytest.approx(0.85)


def test_background_load(make_env, start):
    env = make_env(n_envs=200, scenario="bg", warmup=0.0, episode_limit=800)
    speeds, rates, rho = script(env, start)
    slow = np.concatenate([(speeds[..., j] == 0.35).astype(int) for j in range(4)])
    assert set(np.unique(speeds)) == {0.35, 1.0}
    assert slow.mean() == pytest.approx(6 / 17, abs=0.02)
    assert slow[:, 0].mean() == pytest.approx(6 / 17, abs=0.05)  # in equilibrium from the start
    assert switches(slow) == pytest.approx([11.0, 6.0], rel=0.1)
    assert np.corrcoef(speeds[:, 0, 0], speeds[:, 0, 1])[0, 1] < 0.2
    assert (rates == 1.0).all()
    assert rho == pytest.approx(0.85)


def test_bursts(make_env, start, advance):
    env = make_env(n_envs=200, scenario="burst", episode_limit=400)
    speeds, rates, rho = script(env, start)
    assert (speeds == 1.0).all()
    assert rho == pytest.approx(0.85)
    assert switches((rates == 1.6).astype(int)) == pytest.approx([6.0, 2.0], rel=0.1)
    assert rates.mean() == pytest.approx(1.0, abs=0.02)
    arrivals = []
    for _ in range(100):
        advance(env)
        arrivals.append(env.engine.world.balancers["arrivals"].sum(axis=1))
    quiet = rates[:, WARMUP : WARMUP + 100].T == 0.8
    per_step = 0.85 * 12 / 0.2 * 0.25
    assert np.array(arrivals)[quiet].mean() == pytest.approx(0.8 * per_step, rel=0.02)
    assert np.array(arrivals)[~quiet].mean() == pytest.approx(1.6 * per_step, rel=0.02)


def test_mixed(make_env, start):
    speeds, rates, rho = script(make_env(n_envs=300, scenario="mixed", warmup=0.0, episode_limit=400), start)
    assert np.unique(speeds) == pytest.approx([0.2, 0.4, 0.5, 0.6, 1.0, 1.5])
    assert np.unique(rates).tolist() == [0.87, 1.4]
    assert rho == pytest.approx(0.85)
    slow = np.concatenate([(speeds[..., j] < 0.9 * speeds[..., j].max(axis=1, keepdims=True)) for j in range(4)])
    assert slow.mean() == pytest.approx(0.3, abs=0.05)


def test_failure(make_env, start, advance):
    env = make_env(n_envs=64, scenario="failure", detect_delay=0.75)
    speeds, _, _ = script(env, start)
    world = env.engine.world
    down, known = speeds == 0.0, world.changes["known"][:, :-1]
    assert (down.any(axis=1).sum(axis=1) == 1).all()
    assert (down.sum(axis=(1, 2)) == 35).all()
    first = down.any(axis=2).argmax(axis=1) - WARMUP
    assert ((first >= 20) & (first <= 40)).all()
    assert first.std() > 3
    assert (known == ~(down & np.roll(down, 3, axis=1))).all()
    servers = np.unique(down.any(axis=1).argmax(axis=1), return_counts=True)[1]
    assert len(servers) == 4
    loads = []
    for _ in range(env.spec.episode_limit):
        advance(env)
        loads.append(world.servers["load"].copy())
        now = world.episode["instant"][0]
        if now < down.shape[1]:
            assert (world.servers["load"][down[:, now]] == 0).all()
    after = np.array(loads)[-10:].transpose(1, 2, 0)
    assert (after[down.any(axis=1)] > 0).any()  # it is used again


def test_a_failed_server_costs_flows_until_it_is_noticed(make_env, play):
    drops = [
        play(make_env(n_envs=16, scenario="failure", detect_delay=delay), "wcmp", 16)[1]["drops"].mean()
        for delay in (0.0, 1.0, 3.0)
    ]
    assert 0 < drops[0] < drops[1] < drops[2]


def test_load_can_be_drawn_per_episode(make_env, start):
    env = make_env(n_envs=2000, rho_range=[0.6, 0.9], warmup=0.0, reservoir=1)
    _, _, rho = script(env, start)
    assert 0.6 <= rho.min() < 0.61
    assert 0.89 < rho.max() <= 0.9
    assert rho.mean() == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("concentration", [0.5, 5.0])
def test_balancers_can_get_unequal_shares(make_env, start, advance, concentration):
    """The variance of a share is that of the symmetric Dirichlet distribution, and traffic follows the shares."""
    env = make_env(n_envs=2000, agents=4, lb_split=concentration, warmup=0.0, reservoir=1)
    start(env)
    shares = np.diff(env.engine.world.balancers["share"], prepend=0.0, axis=1)
    assert shares.sum(axis=1) == pytest.approx(1.0)
    assert shares.mean(axis=0) == pytest.approx([0.25] * 4, abs=0.02)
    assert shares.var(axis=0) == pytest.approx([3 / 16 / (4 * concentration + 1)] * 4, rel=0.15)
    for _ in range(8):
        advance(env)
    got = env.engine.world.balancers["all_arrivals"]
    assert np.corrcoef((got / got.sum(axis=1, keepdims=True)).ravel(), shares.ravel())[0, 1] > 0.8


def test_servers_keep_their_speed_from_a_reset_on(make_env, start, advance):
    env = make_env(n_envs=8, scenario="mixed")
    start(env)
    world = env.engine.world
    for _ in range(30):
        n = world.episode["instant"][0]
        assert (world.servers["speed"] == world.changes["speed"][:, n]).all()
        assert world.episode["rate"] == pytest.approx(world.episode["base_rate"] * world.rates[:, n])
        advance(env)


@pytest.mark.parametrize(("scenario", "swaps"), [("unknown", 1), ("bg", 3), ("failure", 2)])
def test_servers_change_places_with_all_that_happens_to_them(make_env, start, advance, scenario, swaps):
    settings = {"n_envs": 64, "scenario": scenario, "cpus": [1, 2, 4, 8], "slots": 5, "swap_window": [0.2, 0.8]}
    plain, env = make_env(**settings), make_env(**settings, swaps=swaps)
    start(plain), start(env)
    world, before = env.engine.world, plain.engine.world.changes
    swapped, fields = world.changes, ("cpus", "speed", "known")
    at = swapped["swap"].any(axis=2)
    assert (at.sum(axis=1) == swaps).all()
    first = at.argmax(axis=1)
    assert ((first >= WARMUP + 20) & (first <= WARMUP + 20 + 60 / swaps)).all()
    assert len(set(first)) > 5
    for name in fields:
        assert np.array_equal(swapped[name][..., 4], before[name][..., 4])
    whole = [np.sort(changes[["cpus", "speed", "known"]][..., :4], axis=2) for changes in (swapped, before)]
    assert np.array_equal(*whole)  # the same servers at every instant
    moved = (swapped["cpus"] != before["cpus"]).any(axis=2)
    assert not (moved & (np.arange(moved.shape[1]) < first[:, None])).any()
    assert moved[np.arange(64), first].mean() > 0.9  # 1 of 24 permutations changes nothing
    assert world.episode["base_rate"] == pytest.approx(plain.engine.world.episode["base_rate"])
    for _ in range(env.spec.episode_limit):
        n = world.episode["instant"][0]
        assert (world.servers["cpus"] == swapped["cpus"][:, n]).all()
        advance(env)


def test_completion_times_are_told_apart_by_swaps(make_env, play):
    metrics = play(make_env("lb_swap", n_envs=16, rho=0.7), "sed_true", 16)[1]
    assert not any(name.startswith("busy_threads") for name in metrics)
    env = make_env("lb_swap", n_envs=16, rho=0.7, nominal_weights=None, scenario="static")
    known = play(env, "sed", 16)[1]
    assert (known["jct_mean_after"] > 1.5 * known["jct_mean_before"]).mean() > 0.8
    episode = env.engine.world.episode
    counts = sum(episode[f"n_{phase}"] for phase in ("before", "after", "later"))
    assert (counts == known["finished"]).all()
    total = sum(episode[f"jct_{phase}"] for phase in ("before", "after", "later"))
    assert 1e3 * total / counts == pytest.approx(known["jct_mean"])
    assert np.isnan(play(make_env(n_envs=1, metrics=["swaps"]), "sed", 1)[1]["jct_mean_after"]).all()


def test_sizes_can_have_a_factor_that_the_load_does_not_feel(make_env, start, play):
    env = make_env(n_envs=500, size_factors=[0.5, 2.0], warmup=0.0, reservoir=1, size_dist="lognormal")
    start(env)
    episode = env.engine.world.episode
    logs = np.log2(episode["size_factor"])
    assert abs(logs.mean()) < 0.1
    assert logs.var() == pytest.approx(4 / 12, rel=0.1)
    assert episode["base_rate"] * 0.2 * episode["size_factor"] / 12 == pytest.approx(0.85)
    metrics = play(env, "sed", 500)[1]
    load = metrics["util_mean"] - 0.85
    assert abs(load.mean()) < 0.03
    assert np.corrcoef(metrics["jct_mean"], episode["size_factor"])[0, 1] > 0.8
