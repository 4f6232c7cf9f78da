"""Reading values out of scores."""

import torch

from hymarl.learners.values import greedy, taken


def test_taken_reads_the_score_of_each_action():
    scores = torch.arange(24.0).view(2, 3, 4)
    actions = torch.tensor([[0, 3, 1], [2, 2, 0]], dtype=torch.int8)
    assert taken(scores, actions).tolist() == [[0.0, 7.0, 9.0], [14.0, 18.0, 20.0]]


def test_taken_passes_the_gradient_to_that_score_only():
    scores = torch.zeros(1, 3, requires_grad=True)
    taken(scores, torch.tensor([1])).sum().backward()
    assert scores.grad.tolist() == [[0.0, 1.0, 0.0]]


def test_greedy_is_the_best_available_action_and_the_first_of_equals():
    scores = torch.tensor([[5.0, 1.0, 2.0], [1.0, 3.0, 3.0], [-1.0, -2.0, -3.0]])
    avail = torch.tensor([[False, True, True], [True, True, True], [False, False, True]])
    assert greedy(scores, avail).tolist() == [2, 1, 2]


def test_greedy_leaves_the_scores_and_their_graph_alone():
    scores = torch.tensor([[5.0, 1.0]], requires_grad=True)
    before = scores.detach().clone()
    chosen = greedy(scores, torch.tensor([[False, True]]))
    assert not chosen.requires_grad
    assert torch.equal(scores, before)
    (taken(scores, chosen) * 2).sum().backward()
    assert scores.grad.tolist() == [[0.0, 2.0]]
