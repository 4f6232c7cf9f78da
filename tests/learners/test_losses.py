"""Losses over valid cells, by hand and against what padding may do to them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hymarl.learners.losses import masked_mean, td_loss

MASK = torch.tensor([[True, True, False], [True, False, False]])
ERROR = torch.tensor([[[1.0, 2.0], [3.0, -4.0], [1e7, 1e7]], [[0.5, 0.0], [1e7, 1e7], [1e7, 1e7]]])  # B T V


def test_the_sum_over_valid_cells_is_divided_by_their_number_times_the_values():
    assert masked_mean(ERROR, MASK).item() == pytest.approx((1 + 2 + 3 - 4 + 0.5 + 0) / (3 * 2))
    assert td_loss(ERROR, MASK).item() == pytest.approx((1 + 4 + 9 + 16 + 0.25 + 0) / (3 * 2))
    assert td_loss(ERROR[..., :1], MASK).item() == pytest.approx((1 + 9 + 0.25) / 3)


def test_huber_by_hand():
    # delta 2: up to 2 the square, beyond delta * (2 |x| - delta): 3 -> 8, 4 -> 12.
    assert td_loss(ERROR, MASK, huber_delta=2.0).item() == pytest.approx((1 + 4 + 8 + 12 + 0.25) / 6)


def test_huber_is_twice_the_usual_definition():
    x = torch.linspace(-5, 5, 101).view(1, -1, 1)
    usual = torch.nn.functional.huber_loss(x, torch.zeros_like(x), delta=1.5)
    assert td_loss(x, torch.ones(1, 101, dtype=torch.bool), huber_delta=1.5).item() == pytest.approx(2 * usual.item())


def test_the_slope_of_huber_is_bounded_and_continuous():
    x = torch.tensor([-100.0, -2.0001, -1.9999, 1.0, 2.0, 100.0]).view(1, -1, 1).requires_grad_()
    td_loss(x, torch.ones(1, 6, dtype=torch.bool), huber_delta=2.0).backward()
    slopes = x.grad.flatten() * 6
    assert torch.allclose(slopes, torch.tensor([-4.0, -4.0, -4.0, 2.0, 4.0, 4.0]), atol=1e-3)


@given(st.integers(0, 10**6), st.floats(0.01, 10))
def test_huber_agrees_with_the_square_for_small_errors(seed, delta):
    x = (torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1) * delta
    mask = torch.ones(3, 4, dtype=torch.bool)
    assert td_loss(x, mask, huber_delta=delta).item() == pytest.approx(td_loss(x, mask).item())
    assert td_loss(3 * x + delta, mask, huber_delta=delta) <= td_loss(3 * x + delta, mask)


@pytest.mark.parametrize("delta", [None, 1.0])
@pytest.mark.parametrize("garbage", [1e7, torch.inf, torch.nan])
def test_masked_cells_enter_neither_value_nor_gradient(delta, garbage):
    clean = torch.where(MASK.unsqueeze(-1), ERROR, 0.0).requires_grad_()
    dirty = torch.where(MASK.unsqueeze(-1), ERROR, garbage).requires_grad_()
    for x in (clean, dirty):
        td_loss(x, MASK, delta).backward()
    assert td_loss(dirty, MASK, delta) == td_loss(clean, MASK, delta)
    assert masked_mean(dirty, MASK) == masked_mean(clean, MASK)
    assert torch.equal(dirty.grad, clean.grad)
    assert not dirty.grad[~MASK].any()
    assert dirty.grad[MASK].any()


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3), st.integers(0, 10**6))
def test_padding_changes_no_loss(rows, steps, more_rows, more_steps, seed):
    g = torch.Generator().manual_seed(seed)
    error = torch.randn(rows, steps, 2, generator=g, dtype=torch.float64)
    mask = torch.rand(rows, steps, generator=g) < 0.7
    padded = torch.full((rows + more_rows, steps + more_steps, 2), 5.0, dtype=torch.float64)
    padded[:rows, :steps] = error
    mask_padded = torch.zeros(padded.shape[:2], dtype=torch.bool)
    mask_padded[:rows, :steps] = mask
    for delta in (None, 0.5):
        assert td_loss(padded, mask_padded, delta).item() == pytest.approx(td_loss(error, mask, delta).item())


def test_no_valid_cell_is_no_loss():
    assert td_loss(ERROR, torch.zeros_like(MASK)).item() == 0.0
