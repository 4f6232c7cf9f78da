"""Layers over the last axis."""

import pytest
import torch

from hymarl.modules.agents.base import mlp_to_output


def operations(node):
    """The names of the operations through which a gradient goes back."""
    found, left = set(), [node]
    while left:
        node = left.pop()
        found.add(node.name())
        left += [before for before, _ in node.next_functions if before is not None]
    return found


@pytest.mark.parametrize("lead", [(4,), (4, 3, 2), (0, 3)])
def test_layers_go_over_the_last_axis_without_copies_in_the_backward_pass(lead):
    layers = mlp_to_output(5, 7, 6, 2)
    inputs = torch.randn(*lead, 5)
    found, wanted = layers(inputs), inputs
    for k in range(0, 5, 2):
        wanted = wanted @ layers[k].weight.T + layers[k].bias
        wanted = wanted.relu() if k < 4 else wanted
    torch.testing.assert_close(found, wanted)
    assert not operations(found.grad_fn) & {"CopySlices", "AsStridedBackward0"}
