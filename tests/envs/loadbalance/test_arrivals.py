"""Arrivals and sizes: distributions, and traces."""

import numpy as np
import pytest

from hymarl.envs.loadbalance.traces import DYNAMIC, Trace, read_trace, write_trace
from hymarl.registry import ConfigError


@pytest.fixture
def trace(tmp_path):
    """500 requests in about 10 s."""
    random = np.random.default_rng(7)
    times, sizes = 3.0 + np.cumsum(random.exponential(0.02, 500)), random.exponential(0.05, 500)
    write_trace(Trace(times, sizes, np.full(500, DYNAMIC)), tmp_path / "trace.csv")
    return str(tmp_path / "trace.csv")


def flows(env, start, advance, steps):
    """Start and size of all flows that arrive, seen because nothing ever finishes."""
    start(env)
    for _ in range(steps):
        advance(env)
    world, out = env.engine.world, []
    for b in range(env.n_envs):
        assert world.episode["finished"][b] == world.episode["dropped"][b] == 0
        busy = np.setdiff1d(np.arange(world.flows.shape[1]), world.free[b, : world.episode["n_free"][b]])
        flow = np.sort(world.flows[b, busy], order="start")
        out.append(flow)
    return out


FROZEN = {"cpus": [1], "speed": 1e-12, "max_clients": 4000, "warmup": 0.0, "reservoir": 1, "ack_rate": 0.0}


def test_interarrival_times_are_exponential(make_env, start, advance):
    env = make_env(n_envs=8, rho=40e12, size_mean=1.0, **FROZEN)  # 40 flows/s
    for flow in flows(env, start, advance, 100):
        gaps = np.diff(flow["start"])
        assert gaps.mean() == pytest.approx(1 / 40, rel=0.15)
        assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.15)
    gaps = np.concatenate([np.diff(f["start"]) for f in flows(env, start, advance, 100)])
    assert (gaps > 2 / 40).mean() == pytest.approx(np.exp(-2), abs=0.01)
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.05


def test_changes_of_the_rate_only_stretch_time(make_env, start, advance):
    """The integral of the rate up to each arrival is the same as without changes, however often the rate changes."""
    steady = flows(make_env(n_envs=4, rho=40e12, size_mean=1.0, **FROZEN), start, advance, 100)
    env = make_env(n_envs=4, rho=40e12, size_mean=1.0, scenario="burst", burst_dwell=[0.6, 0.4], **FROZEN)
    for b, flow in enumerate(flows(env, start, advance, 100)):
        rates = 40.0 * env.engine.world.rates[b, :100]
        integral = np.interp(flow["start"], 0.25 * np.arange(101), np.concatenate([[0.0], np.cumsum(0.25 * rates)]))
        n = min(len(flow), len(steady[b]))
        assert n > 500
        assert integral[:n] == pytest.approx(40.0 * steady[b]["start"][:n])
        assert len(np.unique(rates)) == 2


@pytest.mark.parametrize(
    ("changes", "mean", "quantiles"),
    [
        ({"size_dist": "exp", "size_mean": 0.2}, 0.2, (0.2 * np.log(2), 0.2 * np.log(10))),
        (
            {"size_dist": "lognormal", "size_mean": 0.2, "size_sigma": 1.0},
            0.2,
            (0.2 * np.exp(-0.5), 0.2 * np.exp(-0.5 + 1.2816)),
        ),
        ({"size_dist": "mix"}, 0.3 * 0.045 + 0.7 * 0.002, None),
    ],
)
def test_sizes(make_env, start, advance, changes, mean, quantiles):
    env = make_env(n_envs=16, rho=mean * 40e12, episode_limit=200, **FROZEN, **changes)
    assert env.engine.parameters.traffic.mean_size == pytest.approx(mean)
    flow = np.concatenate(flows(env, start, advance, 200))
    assert len(flow) == pytest.approx(16 * 40 * 50, rel=0.02)
    assert flow["size"].mean() == pytest.approx(mean, rel=0.04)
    if quantiles:
        assert np.quantile(flow["size"], [0.5, 0.9]) == pytest.approx(quantiles, rel=0.04)
        assert (flow["kind"] == 0).all()
    else:
        wiki, static = flow["size"][flow["kind"] == 0], flow["size"][flow["kind"] == 1]
        assert len(wiki) / len(flow) == pytest.approx(0.3, abs=0.01)
        assert (wiki.mean(), static.mean()) == pytest.approx((0.045, 0.002), rel=0.05)
        assert np.log(wiki).std() == pytest.approx(0.8, rel=0.03)


def test_nothing_about_a_flow_tells_anything_else(make_env, start, advance):
    env = make_env(n_envs=16, agents=2, size_dist="mix", rho=0.0149 * 40e12, episode_limit=200, **FROZEN)
    rows = []
    for flow in flows(env, start, advance, 200):
        gap = np.diff(flow["start"])
        rows.append([gap[:-1], gap[1:], *(flow[name][1:-1] for name in ("size", "balancer", "kind"))])
    correlation = np.corrcoef(np.concatenate(rows, axis=1))
    correlation[2, 4] = correlation[4, 2] = 0.0  # wiki pages are larger
    assert abs(correlation - np.eye(5)).max() < 0.025


def test_balancers_get_equal_shares(make_env, start, advance):
    env = make_env(n_envs=16, agents=3, rho=40e12, size_mean=1.0, episode_limit=200, **FROZEN)
    flow = np.concatenate(flows(env, start, advance, 200))
    assert np.bincount(flow["balancer"]) / len(flow) == pytest.approx([1 / 3] * 3, abs=0.01)


def test_a_trace_is_replayed_from_a_random_place_and_over_again(make_env, start, advance, trace):
    env = make_env(n_envs=4, trace=trace, rho=1.0, **FROZEN)
    recorded, starts = read_trace(trace), []
    gaps = np.diff(recorded.times)
    period = (recorded.times[-1] - recorded.times[0]) * 500 / 499
    for flow in flows(env, start, advance, 100):
        first = int(np.argmin(abs(recorded.sizes - flow["size"][0])))
        assert len(flow) == pytest.approx(25 / period * 500, abs=40)
        order = (first + np.arange(len(flow))) % 500
        assert flow["size"] == pytest.approx(recorded.sizes[order])
        whole = np.append(gaps, period - gaps.sum())
        assert np.diff(flow["start"]) == pytest.approx(whole[order[:-1]], abs=1e-9)
        starts.append(first)
    assert len(set(starts)) == 4


def test_a_trace_that_is_not_repeated_ends(make_env, start, advance, trace):
    env = make_env(n_envs=2, trace=trace, trace_loop=False, rho=1.0, **FROZEN)
    for flow in flows(env, start, advance, 100):
        assert len(flow) == 500
        assert flow["start"][0] == 0.0
    short = make_env(n_envs=8, trace=trace, trace_loop=False, rho=1.0, **{**FROZEN, "episode_limit": 8})
    starts = [f["size"][0] for f in flows(short, start, advance, 8)]
    assert len(set(starts)) > 4


def test_a_trace_of_one_request_is_played_once(make_env, start, advance, tmp_path):
    write_trace(Trace(np.array([3.0]), np.array([0.5]), np.array([DYNAMIC])), tmp_path / "one.csv")
    once = {"trace": str(tmp_path / "one.csv"), "trace_loop": False, **FROZEN}
    (flow,) = flows(make_env(**once), start, advance, 20)
    assert flow["size"] == pytest.approx([0.5])
    for changes in ({"trace_loop": True}, {"trace_speed": None}):
        with pytest.raises(ConfigError, match="all requests come at the same time, which has no rate"):
            make_env(**once | changes)


def test_parts_of_a_trace(make_env, start, advance, trace):
    recorded = read_trace(trace)
    times = make_env(n_envs=1, trace=trace, trace_use="times", size_mean=0.7, **FROZEN)
    flow = flows(times, start, advance, 100)[0]
    assert not set(np.round(flow["size"], 9)) & set(np.round(recorded.sizes, 9))
    assert flow["size"].mean() == pytest.approx(0.7, rel=0.1)
    assert len(flow) > 1000
    mean = float(recorded.sizes.mean())
    sizes = make_env(n_envs=1, trace=trace, trace_use="sizes", rho=mean * 30e12, **FROZEN)
    assert sizes.engine.parameters.traffic.mean_size == pytest.approx(mean)
    flow = flows(sizes, start, advance, 100)[0]
    assert set(np.round(flow["size"], 9)) <= set(np.round(recorded.sizes, 9))
    assert len(flow) == pytest.approx(30 * 25, rel=0.15)


def test_a_trace_can_be_replayed_at_another_speed(make_env, play, trace):
    recorded = read_trace(trace)
    twice = 2 * recorded.sizes.sum() / recorded.duration / 12
    for speed, load in ((2.0, twice), (None, 0.6)):
        env = make_env(n_envs=8, trace=trace, trace_speed=speed, rho=0.6, episode_limit=400)
        assert play(env, "gsed", 8)[1]["util_mean"].mean() == pytest.approx(load, rel=0.03)


def test_a_number_of_flows_ends_arrivals_and_all_finish(make_env, play):
    for rule in ("ecmp", "sed"):
        env = make_env("simlb_table", n_envs=4, episode_flows=2000, rho=0.965)
        metrics = play(env, rule, 4)[1]
        assert (metrics["arrivals"] == 2000).all()
        assert (metrics["finished"] + metrics["drops"] == 2000).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trace": "missing.csv"}, "no such trace file"),
        ({"scenario": "burst"}, "changes the rate of Poisson arrivals"),
        ({"rho_range": [0.5, 0.6]}, "rho_range is for Poisson arrivals"),
        ({"episode_limit": None, "episode_flows": 10}, "episode_limit must be given"),
    ],
)
def test_what_does_not_go_with_a_trace(make_env, trace, changes, message):
    with pytest.raises(Exception, match=message):
        make_env(**{"trace": trace, **changes})
