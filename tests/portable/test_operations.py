"""What the operations of exported policies do: by hand, or as PyTorch does it."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hymarl.modules.gru import gru_step
from hymarl.portable.operations import FUNCTIONS, Operation, network, team

ENTITIES = [[[1.0, 2.0], [3.0, 6.0]]]  # N=1 K=2 F=2
BY_HAND = {
    "scale": ([[4.0, -90.0]], [1.0, 0.0], [2.0, 0.5], 10.0, [[6.0, -10.0]]),
    "lookup": ([1, -1], [[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]], [[0.0, 1.0], [5.0, 5.0]]),
    "choose": (ENTITIES, [[3, 0]], [[[6.0, 1.0]]]),
    "join": ([[1.0]], [[2.0, 3.0]], [[1.0, 2.0, 3.0]]),
    "append": (ENTITIES, [[[7.0, 8.0]]], [[[1.0, 2.0], [3.0, 6.0], [7.0, 8.0]]]),
    "relu": ([[-1.0, 2.0]], [[0.0, 2.0]]),
    "mean": (ENTITIES, [[[2.0, 4.0]]]),
    "center": ([[1.0, 3.0]], [[-1.0, 1.0]]),
    "add": (ENTITIES, [[[10.0, 20.0]]], [[[11.0, 22.0], [13.0, 26.0]]]),
    "flatten": (ENTITIES, [[1.0, 2.0, 3.0, 6.0]]),
}


def arrays(*lists):
    return [np.array(x, np.int64 if np.array(x).dtype.kind == "i" else np.float32) for x in lists]


@pytest.mark.parametrize("kind", BY_HAND)
def test_an_operation_by_hand(kind):
    *given, wanted = arrays(*BY_HAND[kind])
    found = FUNCTIONS[kind](*given)
    assert (found.dtype, found.tolist()) == (np.float32, wanted.tolist())


@pytest.mark.parametrize("lead", [(5,), (4, 3)], ids=["flat", "entities"])
def test_layers_are_those_of_pytorch(lead):
    torch.manual_seed(0)
    x, state, w, b = torch.randn(*lead, 6), torch.randn(*lead, 7), torch.randn(2, 6), torch.randn(2)
    gru = torch.randn(21, 6), torch.randn(21, 7), torch.randn(21), torch.randn(21)
    cell = torch.gru_cell(x.flatten(0, -2), state.flatten(0, -2), *gru).view(state.shape)
    norm = w[0], w[1], torch.tensor(1e-5)
    for function, given, wanted in (
        (FUNCTIONS["linear"], (x, w, b), F.linear(x, w, b)),
        (FUNCTIONS["linear"], (x, w), F.linear(x, w)),
        (FUNCTIONS["normalize"], (x, *norm), F.layer_norm(x, (6,), w[0], w[1], 1e-5)),
        (FUNCTIONS["gru"], (x, state, *gru), cell),
        (gru_step, (x, state, *gru), cell),
    ):
        found = function(*(part.numpy() for part in given))
        np.testing.assert_allclose(found, wanted.numpy(), atol=2e-6, rtol=1e-6)


def test_operations_are_carried_out_in_order_and_values_live_as_long_as_they_are_needed():
    operations = [
        Operation("join", ("obs", "obs"), (), "a"),
        Operation("relu", ("obs",), (), "b"),
        Operation("flatten", ("b",), (), "c"),
        Operation("join", ("a", "c", "hidden"), (), "d"),
    ]
    forward = network(operations, {}, ["d", "hidden", "a"])
    obs, hidden = np.array([[-1.0, 2.0]], np.float32), np.array([[7.0]], np.float32)
    for _ in range(2):
        found = forward(obs, np.zeros(1, np.int64), np.zeros(1, np.int64), hidden)
        assert [x.tolist() for x in found] == [[[-1, 2, -1, 2, 0, 2, 7]], [[7]], [[-1, 2, -1, 2]]]


def test_every_agent_of_a_team_goes_through_its_own_network():
    def times(factor):
        return lambda obs, last, agents, hidden: (factor * obs + 100 * agents[:, None] + last[:, None], hidden)

    obs = np.arange(8, dtype=np.float32).reshape(2, 4, 1)
    last, hidden = np.full((2, 4), -1), np.arange(8, dtype=np.float32).reshape(2, 4, 1)
    networks, groups = [times(1), times(-1)], [1, 0, 1, 0]
    wanted = np.array([-1, 1, -1, 1])[:, None] * obs + 100 * np.arange(4)[:, None] - 1
    scores, after = team(networks, groups, range(4))(obs, last, hidden)
    assert (scores.tolist(), after.tolist()) == (wanted.tolist(), hidden.tolist())
    chosen = [3, 0]
    scores, after = team(networks, groups, chosen)(obs[:, chosen], last[:, chosen], hidden[:, chosen])
    assert (scores.tolist(), after.tolist()) == (wanted[:, chosen].tolist(), hidden[:, chosen].tolist())
