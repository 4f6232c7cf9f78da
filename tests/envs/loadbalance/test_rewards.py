"""Rewards, recomputed from observations in seconds and from what happened."""

import numpy as np
import pytest

from hymarl.envs.loadbalance.parameters import FIELDS, REWARDS

TINY = 1e-9
FAIR = [r for r in REWARDS if r not in ("qos", "mix", "delay")]
PLACES = {"fct": 4, "dur": 9}  # of the decayed means in a server's raw features


def fairness(x, kind):
    """The rewards that compare loads ``x``, along the last axis."""
    n, most, spread = x.shape[-1], x.max(axis=-1), x.var(axis=-1)
    product = np.exp(np.log((x + TINY) / (most[..., None] + TINY)).sum(axis=-1))
    with np.errstate(invalid="ignore"):
        jain = np.where(most > 0, x.sum(axis=-1) ** 2 / (n * (x**2).sum(axis=-1)), 1.0)
    return {
        "product": product,
        "product_geo": product ** (1 / n),
        "jain": jain,
        "minmax": (x.min(axis=-1) + TINY) / (most + TINY),
        "meanmax": (x.mean(axis=-1) + TINY) / (most + TINY),
        "var": -spread,
        "var_exp": np.exp(-1e4 * spread),
        "var_log": -np.log(spread + TINY),
        "max": -most,
        "max_exp": np.exp(-1e4 * most),
        "max_log": -np.log(most + TINY),
    }[kind]


def loads(step, field="dur"):
    """What balancers observe of servers, ``[B, L, S]``."""
    b, n_balancers, _ = step.obs.shape
    return step.obs.reshape(b, n_balancers, -1, 12)[..., PLACES[field]].astype(np.float64)


def played(env, start, advance, steps=30):
    """Time steps after the reset, with random actions."""
    start(env)
    random = np.random.default_rng(0)
    for _ in range(steps):
        yield advance(env, random.integers(0, env.spec.n_actions, (env.n_envs, env.spec.n_agents)))


@pytest.mark.parametrize("reward", FAIR)
@pytest.mark.parametrize("scope", ["local_mean", "merged", "local"])
def test_fairness_of_what_balancers_observe(make_env, start, advance, reward, scope):
    env = make_env(n_envs=3, agents=3, reward=reward, reward_scope=scope, obs_norm="raw")
    assert env.spec.individual_rewards == (scope == "local")
    for step in played(env, start, advance):
        x = loads(step)
        if scope == "merged":
            expected = fairness(x.mean(axis=1), reward)
        else:
            expected = fairness(x, reward)  # B L
            expected = expected if scope == "local" else expected.mean(axis=1)
        assert step.reward.shape == expected.shape
        assert step.reward == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("field", ["dur", "fct"])
@pytest.mark.parametrize("normalized", [False, True])
def test_fields_that_balancers_observe(make_env, start, advance, field, normalized):
    """The renormalized fields are what a balancer with `decay_norm` observes; the others do not depend on it."""
    reward_field = f"{field}_disc" if normalized else field
    env = make_env(n_envs=2, reward_field=reward_field, obs_norm="raw", decay_norm=normalized)
    for step in played(env, start, advance):
        expected = fairness(loads(step, field), "product_geo").mean(axis=1)
        assert step.reward == pytest.approx(expected, rel=1e-4, abs=1e-5)
    for decay_norm in (False, True):
        env = make_env(n_envs=2, reward_field=reward_field, decay_norm=decay_norm)
        assert [s.reward.tolist() for s in played(env, start, advance)][-1] == pytest.approx(step.reward.tolist())


def test_true_queues_are_averaged_over_the_interval(make_env, start, advance):
    """In short intervals in which nothing happens the average is the number of flows itself."""
    env = make_env(n_envs=8, reward="var", reward_field="true_q", dt=0.002, episode_limit=300)
    start(env)
    world, quiet = env.engine.world, 0
    capacity = np.array([2, 2, 4, 4])
    for _ in range(300):
        before = world.episode["arrived"] + world.episode["finished"]
        step = advance(env)
        nothing = before == world.episode["arrived"] + world.episode["finished"]
        quiet += nothing.sum()
        expected = -(world.servers["load"] / capacity).var(axis=1)
        assert step.reward[nothing] == pytest.approx(expected[nothing], rel=1e-5)
    assert 1000 < quiet < 2400


def test_true_work_is_what_is_left_to_do(make_env, start, advance):
    env = make_env(n_envs=4, reward="max", reward_field="true_w", scenario="misspec")
    for step in played(env, start, advance):
        server = env.engine.world.servers
        seconds = np.maximum(server["work"], 0) / (server["cpus"] * server["speed"])
        assert step.reward == pytest.approx(-seconds.max(axis=1), rel=1e-5)


@pytest.mark.parametrize("scope", ["local_mean", "merged", "local"])
@pytest.mark.parametrize(("reward", "scenario"), [("qos", "static"), ("qos", "failure"), ("mix", "static")])
def test_quality_of_service(make_env, start, advance, scope, reward, scenario):
    """Flows that a failing server resets are drops of the interval that begins then."""
    changes = {"rho": 1.2, "workers": 3, "backlog": 3, "drop_penalty": 0.5, "reward_mix": 0.6}
    env = make_env(n_envs=4, reward=reward, reward_scope=scope, scenario=scenario, obs_norm="raw", **changes)
    world = env.engine.world
    before = [np.zeros((4, 4)), np.zeros((4, 4)), np.zeros((4, 4))]
    drops_seen = 0
    for step in played(env, start, advance, 60):
        jct = np.array(
            [
                [world.jct[b, : world.episode["n_jct"][b]][world.label[b, : world.episode["n_jct"][b]] // 2 == i].sum()
                 for i in range(4)]
                for b in range(4)
            ]
        )  # fmt: skip
        totals = [jct, world.balancers["all_finished"].copy(), world.balancers["all_drops"].copy()]
        jct, finished, drops = (new - old for new, old in zip(totals, before, strict=True))
        before, arrivals = totals, world.balancers["arrivals"]
        drops_seen += drops.sum()
        if scope != "local":
            jct, finished, drops, arrivals = (x.sum(axis=1) for x in (jct, finished, drops, arrivals))
        quality = np.where(finished > 0, np.minimum(1.0, 0.2 * finished / np.maximum(jct, TINY)), 1.0)
        expected = np.maximum(0.0, quality - 0.5 * drops / np.maximum(arrivals, 1))
        if reward == "mix":
            x = loads(step)
            fair = fairness(x.mean(axis=1) if scope == "merged" else x, "product_geo")
            expected = 0.6 * expected + 0.4 * (fair.mean(axis=1) if scope == "local_mean" else fair)
        assert step.reward == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert drops_seen > 0


def test_delay_is_the_number_of_flows(make_env, start, advance):
    """Own flows are those at the end of an interval, the team's the mean over it: the same within its changes."""
    team = make_env(n_envs=3, agents=3, reward="delay")
    own = make_env(n_envs=3, agents=3, reward="delay", reward_scope="local")
    sums = np.zeros(2)
    for step, mine in zip(played(team, start, advance, 100), played(own, start, advance, 100), strict=True):
        counts = own.engine.world.pairs["count"].sum(axis=2)  # B L
        sums += step.reward.sum(), mine.reward.mean(axis=1).sum()
        assert mine.reward == pytest.approx(-3 * counts / 12, rel=1e-6)
    assert sums[0] == pytest.approx(sums[1], rel=0.02)
    names, metrics = team.spec.metric_names, step.metrics
    jct, rate = metrics[:, names.index("jct_mean")] / 1e3, metrics[:, names.index("throughput")]
    assert -sums[0] / 300 == pytest.approx((jct * rate).mean() / 12, rel=0.03)  # Little's law


def test_moving_average_of_the_load(make_env, start, advance):
    """The first reward is that of the load before the first step, later ones blend the last two loads."""
    env = make_env(n_envs=2, reward_ema=0.7, obs_norm="raw")
    x = [loads(start(env))]
    for t in range(20):
        step = advance(env, np.full((2, 4), t % 4))
        x.append(loads(step))
        blend = x[0] if t == 0 else 0.3 * x[-2] + 0.7 * x[-1]
        assert step.reward == pytest.approx(fairness(blend, "product_geo").mean(axis=1), rel=1e-4)


@pytest.mark.parametrize("field", FIELDS)
def test_bounds_and_order(make_env, start, advance, field):
    """product <= product_geo <= meanmax <= 1, jain in [1/n, 1], minmax <= product_geo; for the same episode."""
    kinds = ("product", "product_geo", "meanmax", "minmax", "jain", "qos", "mix")
    courses = {}
    for kind in kinds:
        env = make_env(n_envs=4, reward=kind, reward_field=field, rho=1.1, workers=2, backlog=6)
        courses[kind] = np.array([s.reward.copy() for s in played(env, start, advance)])
    slack = 1e-6
    for kind in kinds:
        assert (courses[kind] >= 0).all()
        assert (courses[kind] <= 1 + slack).all()
    assert (courses["product"] <= courses["product_geo"] + slack).all()
    assert (courses["product_geo"] <= courses["meanmax"] + slack).all()
    assert (courses["minmax"] <= courses["product_geo"] + slack).all()
    assert (courses["jain"] >= 1 / 4 - slack).all()


@pytest.mark.parametrize("reward", ["product", "product_geo", "jain", "minmax", "meanmax", "var_exp"])
def test_equal_loads_are_best(make_env, start, advance, reward):
    """A single server, and servers that all have nothing to do."""
    for changes in ({"cpus": [3]}, {"rho": 1e-9}):
        env = make_env(reward=reward, **changes)
        assert [s.reward[0] for s in played(env, start, advance, 5)] == pytest.approx([1.0] * 5)


def test_servers_that_are_unknown_are_not_compared(make_env, start, advance):
    env = make_env(n_envs=32, scenario="failure", reward="minmax", obs_norm="raw", slots=6)
    start(env)
    known, n = None, 0
    for _ in range(env.spec.episode_limit):
        known = env.engine.world.servers["known"].copy()
        step = advance(env)
        x = step.obs.reshape(32, 4, 6, 12)[..., PLACES["dur"]]
        stable = (known == env.engine.world.servers["known"]).all(axis=1)
        for b in np.flatnonzero(stable):
            expected = fairness(x[b][:, known[b]], "minmax").mean()
            assert step.reward[b] == pytest.approx(expected, rel=1e-3, abs=1e-6)
            n += not known[b, :4].all()
    assert n > 100
