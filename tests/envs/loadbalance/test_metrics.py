"""Metrics of episodes."""

import numpy as np
import pytest

from hymarl.envs.loadbalance.parameters import METRIC_GROUPS


def episode(env, start, advance):
    """Metrics by name, and what was observed on the way."""
    start(env)
    steps, random = [], np.random.default_rng(0)
    for t in range(env.spec.episode_limit):
        step = advance(env, random.integers(0, env.spec.n_actions, (env.n_envs, env.spec.n_agents)))
        assert t == env.spec.episode_limit - 1 or not step.metrics.any()
        steps.append((step.obs.copy(), env.engine.world.servers.copy()))
    return dict(zip(env.spec.metric_names, step.metrics.T, strict=True)), steps


def test_names(make_env):
    names = make_env(agents=2, metrics=list(METRIC_GROUPS)).spec.metric_names
    assert len(set(names)) == len(names)
    assert names[:4] == ("jct_mean", "jct_p50", "jct_p90", "jct_p99")
    assert {"jain_tau", "util_min", "busy_threads_2", "busy_threads_4", "drops_lb1", "jct_p90_static"} <= set(names)
    assert make_env(metrics=["actions"]).spec.metric_names == ("action_entropy", "weight_range")
    assert make_env(metrics=[]).spec.metric_names == ()
    with pytest.raises(Exception, match=r"no group \['speed'\]; choose from jct"):
        make_env(metrics=["jct", "speed"])


def test_completion_times(make_env, start, advance):
    env = make_env(n_envs=3, size_dist="mix", metrics=["jct", "balancers", "kinds"], rho=1.2, max_clients=40)
    metrics, _ = episode(env, start, advance)
    world = env.engine.world
    for b in range(3):
        jct = 1e3 * world.jct[b, : world.episode["n_jct"][b]]
        label = world.label[b, : len(jct)]
        found = {name: column[b] for name, column in metrics.items()}
        assert found["jct_mean"] == pytest.approx(jct.mean())
        for q in (50, 90, 99):
            assert found[f"jct_p{q}"] == pytest.approx(np.percentile(jct, q))
        assert found["throughput"] == pytest.approx(len(jct) / 25)
        assert found["finished"] == len(jct)
        assert found["unfinished"] == world.servers["load"][b].sum()
        assert found["drop_rate"] == found["drops"] / found["arrivals"]
        assert found["drops"] > 0
        for i in range(4):
            assert found[f"jct_mean_lb{i}"] == pytest.approx(jct[label // 2 == i].mean())
            assert found[f"throughput_lb{i}"] == pytest.approx((label // 2 == i).sum() / 25)
        assert sum(found[f"drops_lb{i}"] for i in range(4)) == found["drops"]
        for k, kind in enumerate(("wiki", "static")):
            assert found[f"jct_mean_{kind}"] == pytest.approx(jct[label % 2 == k].mean())
            assert found[f"jct_p99_{kind}"] == pytest.approx(np.percentile(jct[label % 2 == k], 99))
        assert 0.2 < (label % 2 == 0).mean() < 0.4
    assert (metrics["slowdown_mean"] > 1).all()


def test_no_flow_is_no_number(make_env, start, advance):
    metrics, _ = episode(make_env(rho=1e-9, metrics=["jct", "kinds"]), start, advance)
    assert np.isnan(metrics["jct_mean"][0])
    assert np.isnan(metrics["jct_p99_static"][0])
    assert metrics["arrivals"][0] == metrics["drop_rate"][0] == 0


def test_fairness_and_load(make_env, start, advance):
    env = make_env(n_envs=3, obs_norm="raw", reward_field="true_q")
    metrics, steps = episode(env, start, advance)
    tau = np.array([obs.reshape(3, 4, 4, 12)[..., 9].astype(np.float64).mean(axis=1) for obs, _ in steps])  # T B S
    jain = tau.sum(axis=2) ** 2 / (4 * (tau**2).sum(axis=2))
    assert metrics["jain_tau"] == pytest.approx(jain.mean(axis=0), rel=1e-4)
    ratio = np.prod((tau + 1e-9) / (tau.max(axis=2, keepdims=True) + 1e-9), axis=2)
    assert metrics["fair_product"] == pytest.approx(ratio.mean(axis=0), rel=1e-4)
    assert metrics["fair_geo"] == pytest.approx((ratio**0.25).mean(axis=0), rel=1e-4)
    work = np.array([servers["work"] / servers["cpus"] for _, servers in steps]).max(axis=2)
    assert metrics["makespan"] == pytest.approx(work.mean(axis=0))
    assert metrics["makespan_final"] == pytest.approx(work[-1])
    core = env.engine.world.servers["all_core"] / (25 * np.array([2, 2, 4, 4]))
    assert metrics["util_min"] == pytest.approx(core.min(axis=1))
    assert metrics["util_max"] == pytest.approx(core.max(axis=1))
    assert metrics["util_mean"] == pytest.approx(core @ [1 / 6, 1 / 6, 1 / 3, 1 / 3])
    assert metrics["jain_util"] == pytest.approx(core.sum(axis=1) ** 2 / (4 * (core**2).sum(axis=1)))
    assert (metrics["busy_threads_4"] > metrics["busy_threads_2"]).all()
    assert not metrics["overload_frac"].any()


def test_jain_of_queues_is_the_reward_of_that_name(make_env, start, advance):
    env = make_env(n_envs=2, reward="jain", reward_field="true_q")
    start(env)
    rewards = np.zeros(2)
    for _ in range(env.spec.episode_limit):
        step = advance(env)
        rewards += step.reward
    jain_q = step.metrics[:, env.spec.metric_names.index("jain_q")]
    assert jain_q == pytest.approx(rewards / env.spec.episode_limit, rel=1e-5)


def test_overload_is_seen(make_env, play):
    env = make_env(n_envs=4, rho=3.0, episode_limit=200)
    metrics = play(env, "ecmp", 4)[1]
    assert (metrics["overload_frac"] > 0.3).all()
    assert (metrics["drops"] > 0).all()
    assert (metrics["util_mean"] > 0.99).all()


def test_actions(make_env, start, advance, play):
    env = make_env(n_envs=2, agents=2)
    start(env)
    for t in range(env.spec.episode_limit):
        step = advance(env, np.array([[0, 0], [t % 4, t % 2]]))
    found = dict(zip(env.spec.metric_names, step.metrics.T, strict=True))
    assert found["action_entropy"] == pytest.approx([0.0, (1.0 + 0.5) / 2])
    assert found["weight_range"][0] > found["weight_range"][1] > 0
    found = play(env, "sed", 2, levels=[1.0])[1]  # nominal weights are 2, 2, 4 and 4
    assert not found["action_entropy"].any()
    assert found["weight_range"] == pytest.approx([np.log(2)] * 2)


def test_refused_flows_can_count_as_slow_ones(make_env, start, advance):
    full = {"rho": 2.0, "max_clients": 4, "warmup": 0.0}
    without, _ = episode(make_env(rule="sed", **full), start, advance)
    counted, _ = episode(make_env(rule="sed", reject_seconds=40.0, **full), start, advance)
    n, drops = without["finished"], without["drops"]
    assert counted["drops"] == drops > 0
    assert counted["jct_mean"] == pytest.approx((without["jct_mean"] * n + 40e3 * drops) / (n + drops))


@pytest.mark.parametrize("preset", ["lb_unknown", "lb_paper_moderate", "simlb_table"])
def test_all_completions_are_recorded(make_env, play, preset):
    changes = {"episode_flows": 3000} if preset == "simlb_table" else {"rho": 1.5}
    env = make_env(preset, n_envs=2, **changes)
    metrics = play(env, "lsq", 2)[1]
    refused = metrics["drops"] if preset == "simlb_table" else 0
    assert (env.engine.world.episode["n_jct"] == metrics["finished"] + refused).all()
