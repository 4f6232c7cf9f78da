"""Targets compared with the definition of the lambda-return, written out as sums."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hymarl.learners.targets import lambda_returns, n_step_returns, one_step, trace_returns
from hymarl.learners.values import epsilon_greedy_mean, epsilon_greedy_probability

UNIT = st.floats(0, 1)
ROWS = st.lists(st.tuples(st.integers(1, 7), st.booleans()), min_size=1, max_size=5)  # length, whether terminated


def random_case(rows, seed, n_values=2, spare=0):
    """Rewards and next values ``[B, T, V]`` in double precision, ends and filled ``[B, T]``; padding holds garbage."""
    g = torch.Generator().manual_seed(seed)
    steps = max(length for length, _ in rows) + spare
    reward, values = torch.randn(2, len(rows), steps, n_values, generator=g, dtype=torch.float64)
    lengths, terminated = (torch.tensor(x) for x in zip(*rows, strict=True))
    t = torch.arange(steps)
    filled = t < lengths[:, None]
    ends = (t == lengths[:, None] - 1) & terminated[:, None]
    return reward, values, ends, filled


def n_step(reward, values, ends, t, n, gamma):
    """n rewards from time t, then the value of what follows: one row, one agent, plain numbers."""
    total = sum(gamma**k * reward[t + k] for k in range(n))
    return total if ends[t + n - 1] else total + gamma**n * values[t + n - 1]


def by_definition(reward, values, ends, filled, gamma, lam):
    """Every n-step return with its weight, (1 - lambda) lambda^(n-1), the rest of the weight on the longest.

    Sutton and Barto (2018), eq. 12.3; one row, one agent and one time after another.
    """
    out = torch.full_like(reward, torch.nan)
    for b in range(reward.shape[0]):
        length = int(filled[b].sum())
        for v in range(reward.shape[2]):
            r, w, e = reward[b, :, v].tolist(), values[b, :, v].tolist(), ends[b].tolist()
            for t in range(length):
                longest = length - t
                total = lam ** (longest - 1) * n_step(r, w, e, t, longest, gamma)
                for n in range(1, longest):
                    total += (1 - lam) * lam ** (n - 1) * n_step(r, w, e, t, n, gamma)
                out[b, t, v] = total
    return out


def close(a, b, where):
    return torch.allclose(a[where], b[where], rtol=1e-9, atol=1e-9)


def test_by_hand():
    # One episode of two steps that is cut off, then a step of padding; gamma 0.5, lambda 0.75.
    # G_1 = 2 + 0.5 * 8 = 6;  G_0 = 1 + 0.5 * (0.25 * 4 + 0.75 * 6) = 3.75;  terminated instead: G_1 = 2, G_0 = 2.25.
    reward = torch.tensor([[1.0, 2.0, 99.0]]).unsqueeze(-1)
    values = torch.tensor([[4.0, 8.0, -99.0]]).unsqueeze(-1)
    filled = torch.tensor([[True, True, False]])
    never, at_1 = torch.zeros(1, 3, dtype=torch.bool), torch.tensor([[False, True, False]])
    assert lambda_returns(reward, values, never, filled, 0.5, 0.75)[0, :2, 0].tolist() == [3.75, 6.0]
    assert lambda_returns(reward, values, at_1, filled, 0.5, 0.75)[0, :2, 0].tolist() == [2.25, 2.0]
    assert one_step(reward, values, never, 0.5)[0, :2, 0].tolist() == [3.0, 6.0]
    assert one_step(reward, values, at_1, 0.5)[0, :2, 0].tolist() == [3.0, 2.0]


@given(ROWS, st.integers(0, 10**6), UNIT, UNIT, st.integers(1, 3), st.integers(0, 2))
def test_lambda_returns_equal_the_definition(rows, seed, gamma, lam, n_values, spare):
    case = random_case(rows, seed, n_values, spare)
    assert close(lambda_returns(*case, gamma, lam), by_definition(*case, gamma, lam), case[3])


@given(ROWS, st.integers(0, 10**6), UNIT)
def test_lambda_zero_is_one_step(rows, seed, gamma):
    reward, values, ends, filled = random_case(rows, seed)
    wanted = reward + gamma * values * ~ends.unsqueeze(-1)
    assert close(one_step(reward, values, ends, gamma), wanted, filled)
    assert close(lambda_returns(reward, values, ends, filled, gamma, 0.0), wanted, filled)
    assert close(lambda_returns(reward, values, ends, filled, gamma, 1e-12), wanted, filled)  # the scan, not a shortcut


@given(ROWS, st.integers(0, 10**6), UNIT)
def test_lambda_one_is_monte_carlo_with_the_last_value_of_a_truncated_episode(rows, seed, gamma):
    reward, values, ends, filled = random_case(rows, seed)
    found = lambda_returns(reward, values, ends, filled, gamma, 1.0)
    for b, (length, terminated) in enumerate(rows):
        for t in range(length):
            wanted = sum(gamma**k * reward[b, t + k] for k in range(length - t))
            if not terminated:
                wanted = wanted + gamma ** (length - t) * values[b, length - 1]
            assert torch.allclose(found[b, t], wanted, rtol=1e-9, atol=1e-9)


@given(ROWS, st.integers(0, 10**6), UNIT, st.sampled_from([0.0, 0.3, 1.0]))
def test_padding_changes_no_target(rows, seed, gamma, lam):
    reward, values, ends, filled = random_case(rows, seed)
    found = lambda_returns(reward, values, ends, filled, gamma, lam)
    more = [torch.cat([x, torch.ones_like(x)], dim=1) for x in (reward, values)]  # in time …
    flags = [torch.cat([x, torch.zeros_like(x)], dim=1) for x in (ends, filled)]
    assert torch.equal(lambda_returns(*more, *flags, gamma, lam)[:, : reward.shape[1]][filled], found[filled])
    more = [torch.cat([x, torch.ones_like(x)], dim=0) for x in (reward, values)]  # … and in rows
    flags = [torch.cat([x, torch.zeros_like(x)], dim=0) for x in (ends, filled)]
    assert torch.equal(lambda_returns(*more, *flags, gamma, lam)[: len(rows)][filled], found[filled])


@given(
    ROWS, st.integers(0, 10**6), UNIT, st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([1e7, torch.nan, torch.inf])
)
def test_garbage_where_nothing_is_or_nothing_follows_changes_no_target(rows, seed, gamma, lam, garbage):
    reward, values, ends, filled = random_case(rows, seed, spare=1)
    found = lambda_returns(reward, values, ends, filled, gamma, lam)
    values[~filled | ends] = garbage  # beyond the last step, and the value after a terminal one
    reward[~filled] = garbage
    assert torch.equal(lambda_returns(reward, values, ends, filled, gamma, lam)[filled], found[filled])


def test_a_short_truncated_episode_beside_a_long_one_bootstraps_from_its_own_end():
    # What follows a truncated episode in the batch is padding, which must neither be a transition of its own nor reach
    # back into the episode with powers of gamma * lambda.
    reward = torch.zeros(2, 5, 1)
    values = torch.full((2, 5, 1), 2.0)
    values[0, 2:] = -9_999_999.0
    filled = torch.tensor([[True, True, False, False, False], [True] * 5])
    never = torch.zeros(2, 5, dtype=torch.bool)
    for lam in (0.0, 0.5, 1.0):
        found = lambda_returns(reward, values, never, filled, 0.5, lam)
        assert found[0, 1].item() == 1.0  # 0.5 * 2
        assert found[0, 0].item() == 0.5 * ((1 - lam) * 2 + lam * 1)
        assert torch.equal(
            found[0, :2], lambda_returns(*(x[:1, :2] for x in (reward, values, never, filled)), 0.5, lam)[0]
        )


def test_rows_do_not_influence_one_another():
    rows = [(3, True), (5, False), (1, False)]
    reward, values, ends, filled = random_case(rows, 0)
    together = lambda_returns(reward, values, ends, filled, 0.9, 0.7)
    for b in range(3):
        alone = lambda_returns(*(x[b : b + 1] for x in (reward, values, ends, filled)), 0.9, 0.7)
        assert torch.equal(alone[0][filled[b]], together[b][filled[b]])


@pytest.mark.parametrize("n_values", [1, 3])
def test_targets_keep_the_value_axis(n_values):
    case = random_case([(3, True), (2, False)], 0, n_values)
    assert lambda_returns(*case, 0.9, 0.5).shape == (2, 3, n_values)
    assert lambda_returns(*case, 0.9, 0.0).shape == (2, 3, n_values)


# Off-policy traces


def by_recursion(reward, values, q_taken, traces, ends, filled, gamma):
    """The definition: one row, one agent and one time after another, from the end."""
    out = torch.full_like(reward, torch.nan)
    for b in range(reward.shape[0]):
        length = int(filled[b].sum())
        for v, t in itertools.product(range(reward.shape[2]), reversed(range(length))):
            total = reward[b, t, v].item()
            if not ends[b, t]:
                future = values[b, t, v].item()
                if t + 1 < length:
                    future += traces[b, t + 1, v].item() * (out[b, t + 1, v] - q_taken[b, t + 1, v]).item()
                total += gamma * future
            out[b, t, v] = total
    return out


def random_traces(reward, seed):
    g = torch.Generator().manual_seed(seed + 1)
    q_taken, traces = torch.randn(reward.shape, generator=g).double(), torch.rand(reward.shape, generator=g).double()
    return q_taken, torch.where(traces < 0.2, 0.0, traces)


@settings(max_examples=20)
@given(ROWS, st.integers(0, 10**6), UNIT, st.integers(1, 3), st.integers(0, 2))
def test_trace_returns_equal_the_definition(rows, seed, gamma, n_values, spare):
    reward, values, ends, filled = random_case(rows, seed, n_values, spare)
    case = reward, values, *random_traces(reward, seed), ends, filled, gamma
    assert close(trace_returns(*case), by_recursion(*case), filled)


@settings(max_examples=20)
@given(ROWS, st.integers(0, 10**6), UNIT, UNIT)
def test_without_a_correction_trace_returns_are_lambda_returns_and_without_traces_one_step(rows, seed, gamma, lam):
    reward, values, ends, filled = random_case(rows, seed)
    now = torch.cat([torch.full_like(values[:, :1], torch.nan), values[:, :-1]], dim=1)  # V_t, not known at time 0
    found = trace_returns(reward, values, now, torch.full_like(values, lam), ends, filled, gamma)
    assert close(found, lambda_returns(reward, values, ends, filled, gamma, lam), filled)
    found = trace_returns(reward, values, now, torch.zeros_like(values), ends, filled, gamma)
    assert close(found, one_step(reward, values, ends, gamma), filled)


@settings(max_examples=20)
@given(ROWS, st.integers(0, 10**6), UNIT, st.sampled_from([1e7, torch.nan, torch.inf]))
def test_garbage_changes_no_return(rows, seed, gamma, garbage):
    reward, values, ends, filled = random_case(rows, seed, spare=1)
    q_taken, traces = random_traces(reward, seed)

    def returns():
        return (
            trace_returns(reward, values, q_taken, traces, ends, filled, gamma),
            n_step_returns(reward, values, ends, filled, gamma, 3),
        )

    wanted = returns()
    values[~filled | ends] = garbage
    for x in (reward, q_taken, traces):
        x[~filled] = garbage
    q_taken[:, 0] = traces[:, 0] = garbage  # nothing comes before the first step
    for x, y in zip(returns(), wanted, strict=True):
        assert torch.equal(x[filled], y[filled])


# One episode of three steps, rewards 1, 2, 3, with two actions, gamma 0.9, lambda 0.5. At time 1 the values are 5 and
# 4, and action 1 was taken; at time 2 they are 6 and 2, and action 0 was taken. It terminates, or is cut off before a
# value of 7.
Q = torch.tensor([[0.0, 0.0], [5.0, 4.0], [6.0, 2.0], [7.0, 7.0]]).unsqueeze(0)
TAKEN, BEST, AVAIL = (
    torch.tensor([[0, 1, 0]]),
    torch.zeros(1, 4, dtype=torch.int64),
    torch.ones(1, 4, 2, dtype=torch.bool),
)


def three_steps(probability, epsilon, terminated=True, lam=0.5):
    """The returns, where the trace is lambda times ``probability(pi)``."""
    ends = torch.tensor([[False, False, terminated]])
    expected = epsilon_greedy_mean(Q, BEST, AVAIL, epsilon)[:, 1:, None]
    pi = epsilon_greedy_probability(TAKEN, BEST[:, :-1], AVAIL[:, :-1], epsilon)
    q_taken = Q[:, :-1].gather(-1, TAKEN.unsqueeze(-1))
    traces = lam * probability(pi).unsqueeze(-1)
    reward = torch.tensor([[[1.0], [2.0], [3.0]]])
    filled = torch.ones(1, 3, dtype=torch.bool)
    return trace_returns(reward, expected, q_taken, traces, ends, filled, 0.9).flatten().tolist()


MU = epsilon_greedy_probability(TAKEN, BEST[:, :-1], AVAIL[:, :-1], 0.4)


@pytest.mark.parametrize(
    ("probability", "epsilon", "returns"),
    [
        (torch.ones_like, 0.0, [6.4225, 6.05, 3]),  # Q*(lambda) with correction (Harutyunyan et al., 2016)
        (lambda pi: pi, 0.0, [5.5, 6.05, 3]),  # Watkins
        (lambda pi: (pi / MU).clamp(max=1), 0.2, [5.7903, 5.69, 3]),  # Retrace
        (lambda pi: (pi / MU).clamp(max=1), 0.0, [5.5, 6.05, 3]),
        (lambda pi: pi, 0.2, [5.4921, 5.825, 3]),  # tree backup
    ],
)
def test_returns_of_three_steps_by_hand(probability, epsilon, returns):
    assert three_steps(probability, epsilon) == pytest.approx(returns, abs=1e-4)


def test_pengs_returns_of_three_steps_by_hand():
    reward, values = torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[[5.0], [6.0], [7.0]]])
    filled = torch.ones(1, 3, dtype=torch.bool)

    def returns(lam, terminated=True):
        ends = torch.tensor([[False, False, terminated]])
        return lambda_returns(reward, values, ends, filled, 0.9, lam).flatten().tolist()

    assert returns(0.5) == pytest.approx([5.9725, 6.05, 3], abs=1e-4)
    assert returns(0.0) == pytest.approx([5.5, 7.4, 3], abs=1e-4)
    assert returns(1.0) == pytest.approx([5.23, 4.7, 3], abs=1e-4)
    assert returns(0.5, terminated=False) == pytest.approx(
        [7.24825, 8.885, 9.3], abs=1e-4
    )  # with lambda 1/2 from 9.3 on
    assert three_steps(lambda pi: pi, 0.0, terminated=False) == pytest.approx([5.5, 8.885, 9.3], abs=1e-4)
    assert three_steps(lambda pi: pi, 0.0, lam=0.0) == pytest.approx([5.5, 7.4, 3], abs=1e-4)


# n steps


@settings(max_examples=20)
@given(ROWS, st.integers(0, 10**6), UNIT, st.integers(1, 9), st.integers(1, 3), st.integers(0, 2))
def test_n_step_returns_equal_the_definition(rows, seed, gamma, n, n_values, spare):
    reward, values, ends, filled = random_case(rows, seed, n_values, spare)
    found = n_step_returns(reward, values, ends, filled, gamma, n)
    for b, (length, _) in enumerate(rows):
        for t, v in itertools.product(range(length), range(n_values)):
            row = reward[b, :, v].tolist(), values[b, :, v].tolist(), ends[b].tolist()
            assert math.isclose(found[b, t, v], n_step(*row, t, min(n, length - t), gamma), rel_tol=1e-9, abs_tol=1e-9)


def test_one_step_is_one_and_many_are_monte_carlo():
    reward, values, ends, filled = random_case([(7, True), (4, False), (2, True)], 0)
    assert torch.equal(n_step_returns(reward, values, ends, filled, 0.9, 1), one_step(reward, values, ends, 0.9))
    found = n_step_returns(reward, values, ends, filled, 0.9, 10**9)
    assert close(found, lambda_returns(reward, values, ends, filled, 0.9, 1.0), filled)


# The policy that is learned


@settings(max_examples=20)
@given(st.lists(st.booleans(), min_size=1, max_size=6).filter(any), st.integers(0, 10**6), UNIT)
def test_an_epsilon_greedy_policy_by_its_definition(avail, seed, epsilon):
    g = torch.Generator().manual_seed(seed)
    scores, free = torch.randn(len(avail), generator=g, dtype=torch.float64), [u for u, on in enumerate(avail) if on]
    best = max(free, key=lambda u: scores[u].item())
    available, chosen = torch.tensor(avail), torch.tensor(best)
    wanted = [epsilon / len(free) + (1 - epsilon) * (u == best) for u in free]
    found = [epsilon_greedy_probability(torch.tensor(u), chosen, available, epsilon).item() for u in free]
    assert found == pytest.approx(wanted, abs=1e-6)
    mean = sum(p * scores[u].item() for p, u in zip(wanted, free, strict=True))
    assert epsilon_greedy_mean(scores, chosen, available, epsilon).item() == pytest.approx(mean, abs=1e-6)
