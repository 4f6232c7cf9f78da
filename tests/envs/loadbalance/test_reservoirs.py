"""Observed times against NumPy on the samples, and the samples against what happened."""

import numpy as np
import pytest

COMPLETION, DURATION = 0, 1


def samples_offered(filled, slots):
    """Expected number of samples behind a number of filled slots: those that hit a slot again do not show."""
    return np.log1p(-filled / slots) / np.log1p(-1.0 / slots)


def naive(values, ages, decay, zeros, normalize):
    """Mean, p90, std, decayed mean and decayed p90; and the decayed mean, plain and normalized."""
    weights = decay**ages
    aged = values * weights
    normalized = aged.sum() / weights.sum()
    plain, aged = np.concatenate([values, np.zeros(zeros)]), np.concatenate([aged, np.zeros(zeros)])
    scale = len(aged) / weights.sum() if normalize else 1.0
    first = [plain.mean(), np.percentile(plain, 90), plain.std()]
    return [*first, aged.mean() * scale, np.percentile(aged, 90) * scale, aged.mean(), normalized]


@pytest.mark.parametrize("fill", ["valid_only", "zero_fill"])
@pytest.mark.parametrize("decay_norm", [False, True])
@pytest.mark.parametrize(("slots", "decay"), [(1, 0.9), (5, 0.5), (64, 0.9), (64, 1.0)])
def test_statistics_equal_numpy(make_env, start, advance, fill, decay_norm, slots, decay):
    env = make_env(n_envs=2, reservoir=slots, decay=decay, fill=fill, decay_norm=decay_norm, episode_limit=60)
    start(env)
    world = env.engine.world
    fields = ("mean", "p90", "std", "decayed_mean", "decayed_p90", "plain_decayed", "normalized")
    for step in range(60):
        advance(env)
        if step % 10:
            continue
        for b, r in np.ndindex(world.reservoirs.shape):
            samples, now = world.samples[b, r], world.episode["now"][b]
            samples = samples[samples["grown"] > 0]
            found = [world.reservoirs[b, r][f] for f in fields]
            if not len(samples):
                assert found == [0.0] * len(fields)
                continue
            ages = now - np.log(samples["grown"]) / -np.log(decay) if decay < 1.0 else np.zeros(len(samples))
            zeros = slots - len(samples) if fill == "zero_fill" else 0
            assert found == pytest.approx(naive(samples["value"], ages, decay, zeros, decay_norm), abs=1e-9)


def test_completions_are_sampled_by_the_balancer_that_placed_the_flow(make_env, start, advance):
    env = make_env(n_envs=2, warmup=0.0, reservoir=4096)
    start(env)
    for _ in range(env.spec.episode_limit):
        advance(env)
    world, n_servers = env.engine.world, 4
    for b in range(2):
        n = world.episode["n_jct"][b]
        for i in range(env.spec.n_agents):
            own = set(world.jct[b, :n][world.label[b, :n] // 2 == i])
            seen = []
            for j in range(n_servers):
                samples = world.samples[b, (i * n_servers + j) * 2 + COMPLETION]
                seen += samples["value"][samples["grown"] > 0].tolist()
            assert set(seen) <= own
            assert len(seen) > 0.9 * len(own)  # few of 4096 slots are hit twice


def test_packets_come_at_their_rate_while_a_flow_lasts(make_env, start, advance):
    env = make_env(n_envs=8, warmup=0.0, reservoir=8192, ack_rate=5.0)
    start(env)
    for _ in range(env.spec.episode_limit):
        advance(env)
    world = env.engine.world
    packets = samples_offered(world.reservoirs["n"][:, DURATION::2], 8192).sum()
    seconds = sum(world.jct[b, : world.episode["n_jct"][b]].sum() for b in range(8))
    for b in range(8):
        on_going = np.setdiff1d(np.arange(world.flows.shape[1]), world.free[b, : world.episode["n_free"][b]])
        seconds += (world.episode["now"][b] - world.flows["start"][b, on_going]).sum()
    assert packets == pytest.approx(5.0 * seconds, rel=0.02)


def test_packets_come_at_any_time_of_a_flow(make_env, start, advance):
    """Durations up to a packet are uniform over the flow's life, and times of packets over the control interval."""
    env = make_env(n_envs=8, warmup=0.0, reservoir=8192)
    start(env)
    for _ in range(env.spec.episode_limit):
        advance(env)
    world = env.engine.world
    samples = world.samples[:, DURATION::2]
    samples = samples[samples["grown"] > 0]
    lives = np.concatenate([world.jct[b, : world.episode["n_jct"][b]] for b in range(8)])
    assert samples["value"].mean() == pytest.approx((lives**2).sum() / lives.sum() / 2, rel=0.05)
    assert samples["value"].min() > 0.0
    phase = np.log(samples["grown"]) / -np.log(0.9) / 0.25 % 1.0
    assert np.histogram(phase, 10, (0.0, 1.0))[0] / len(phase) == pytest.approx([0.1] * 10, abs=0.01)


def test_a_sample_survives_with_probability_1_minus_1_over_slots(make_env, start, advance):
    env = make_env(n_envs=64, balancers=1, cpus=[4], reservoir=16, episode_limit=100)
    start(env)
    for _ in range(100):
        advance(env)
    world = env.engine.world
    ages = 30.0 + np.log(world.samples["grown"][:, COMPLETION]) / np.log(0.9)
    completions_per_second = world.episode["n_jct"].mean() / 25.0
    assert ages.mean() == pytest.approx(16 / completions_per_second, rel=0.1)


def test_half_of_the_samples_can_be_refused(make_env, start, advance):
    counts = []
    for accept in (1.0, 0.5):
        env = make_env(n_envs=4, warmup=0.0, reservoir=4096, accept=accept)
        start(env)
        for _ in range(env.spec.episode_limit):
            advance(env)
        counts.append(samples_offered(env.engine.world.reservoirs["n"], 4096).sum())
    assert counts[1] / counts[0] == pytest.approx(0.5, abs=0.01)
