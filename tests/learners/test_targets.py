"""Targets compared with the definition of the lambda-return, written out as sums."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hymarl.learners.targets import lambda_returns, one_step

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
