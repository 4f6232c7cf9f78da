"""Latency control: weights that follow completion times, as a rule and under the agents' weights."""

import numpy as np
import pytest

GAIN, LEAK, CLIP = 0.3, 0.95, 0.8


@pytest.fixture
def controlled(make_env):
    return lambda **changes: make_env(
        n_envs=4, latency_gain=GAIN, latency_leak=LEAK, latency_clip=CLIP, **{"rule": "latency", **changes}
    )


def completion_times(env):
    """Decayed means that the balancers see: ``[B, L, S]``."""
    world = env.engine.world
    return world.reservoirs["decayed_mean"].reshape(*world.pairs.shape, 2)[..., 0].copy()


@pytest.mark.parametrize("scenario", ["static", "unknown", "failure"])
def test_weights_follow_logarithms_of_completion_times(controlled, start, advance, scenario):
    env = controlled(scenario=scenario, warmup=0.5, rho=0.6, latency_proportional=0.4, latency_trust=0.5)
    start(env)
    world, lean = env.engine.world, np.zeros((4, 4, 4))
    clipped = unsampled = 0
    for _ in range(env.spec.episode_limit):
        times, known = completion_times(env), world.servers["known"][:, None].copy()
        nominal = world.servers["nominal"][:, None]
        seen = known & (times > 0)
        logs = np.log(np.where(seen, times, 1.0))
        error = logs.sum(axis=-1, keepdims=True) / np.maximum(seen.sum(axis=-1, keepdims=True), 1) - logs
        error = np.where(seen, error, 0.0)
        moved = LEAK * (lean + GAIN * error)
        lean = np.clip(moved, -CLIP, CLIP)
        clipped, unsampled = clipped + (moved != lean).sum(), unsampled + (~seen & known).sum()
        advance(env)
        assert world.pairs["weight"] == pytest.approx(
            np.where(known, nominal**0.5 * np.exp(lean + 0.4 * error), 0.0), rel=1e-12
        )
    assert clipped
    assert unsampled


def test_without_gain_it_is_the_rule_that_uses_the_weights(make_env, start, advance):
    for dispatch in ("sed", "wcmp"):
        envs = [make_env(n_envs=4, latency_gain=0.0, rule=rule, dispatch=dispatch) for rule in ("latency", dispatch)]
        for env in envs:
            start(env)
        for _ in range(40):
            latency, plain = (advance(env) for env in envs)
            assert np.array_equal(latency.obs, plain.obs)


def test_agents_that_do_nothing_on_top_of_it_play_the_rule(controlled, start, advance):
    rule = controlled(latency_proportional=0.4, latency_trust=0.5)
    agents = controlled(rule=None, base="latency", action_mode="favour0", latency_proportional=0.4, latency_trust=0.5)
    start(rule), start(agents)
    for _ in range(40):
        assert np.array_equal(advance(rule).reward, advance(agents).reward)
    assert np.array_equal(rule.engine.world.pairs["weight"], agents.engine.world.pairs["weight"])


def test_agents_tilt_the_weights_of_the_rule(controlled, start, advance):
    env = controlled(rule=None, base="latency")
    start(env)
    advance(env, np.full((4, 4), 2))
    pairs, nominal = env.engine.world.pairs, np.array([2.0, 2.0, 4.0, 4.0])
    tilt = 0.3 * np.array([-0.25, -0.25, 0.75, -0.25])
    assert pairs["weight"] == pytest.approx(nominal * np.exp(pairs["lean"] + tilt), rel=1e-12)
    assert np.ptp(pairs["lean"]) > 0.1
    seen = env.engine.world.obs.reshape(4, 4, 4, 13)[..., 11:]  # B L S, own weights
    assert seen == pytest.approx(np.stack(np.broadcast_arrays(tilt / 1.5, pairs["lean"] / CLIP), axis=-1), rel=1e-6)


def test_an_old_observation_is_what_it_acts_on(controlled, start, advance):
    env = controlled(obs_delay=0.25)
    start(env)
    differs = False
    for _ in range(20):
        advance(env)
        differs |= not np.array_equal(env.engine.world.pairs["latency"], completion_times(env))
    assert differs


def test_it_beats_sed_where_capacities_are_unknown_and_an_oracle_beats_it(make_env, play):
    """Mean completion times in ms."""
    env = make_env("lb_unknown", n_envs=24)
    jct = {rule: play(env, rule, 24)[1]["jct_mean"].mean() for rule in ("sed", "latency", "gsed")}
    assert jct["latency"] < 0.65 * jct["sed"]
    assert jct["gsed"] < 0.9 * jct["latency"]
