"""Prioritized replay: which episodes are drawn, what they count, and that it is continued exactly."""

import numpy as np
import pytest
import torch

from hymarl.registry import ConfigError


@pytest.fixture
def make(component, spec):
    def made(seed=0, **changes):
        settings = {"batch_episodes": 2, "buffer_episodes": 6, "updates_per_episode": 1.0, "least": 1e-12}
        return component("replay", "prioritized", spec, {}, seed, **settings | changes)

    return made


@pytest.fixture
def filled(make, random_batch, spec):
    """A replay of episodes 3 to 8, at the places 3, 4, 5, 0, 1, 2, with these priorities in the order of numbers."""

    def fill(priorities=(1.0, 2.0, 4.0, 8.0, 0.5, 0.5), **changes):
        replay = make(**changes)
        replay.insert(random_batch(spec, [1 + i % 6 for i in range(9)]))
        for number, priority in zip(range(3, 9), priorities, strict=True):
            sample = replay.sample(1, 0)._replace(numbers=np.array([number]))
            replay.learned(sample, torch.tensor([priority], dtype=torch.float64))
        return replay

    return fill


def test_episodes_are_drawn_in_proportion_to_their_priorities(filled):
    replay, counts, n = filled(alpha=0.5), np.zeros(9), 4000
    for update in range(n):
        np.add.at(counts, replay.sample(2, update).numbers, 1)
    wanted = np.sqrt([1.0, 2.0, 4.0, 8.0, 0.5, 0.5])
    wanted /= wanted.sum()
    assert counts[:3].sum() == 0
    assert np.abs(counts[3:] / (2 * n) - wanted).max() < 5 * (0.25 / (2 * n)) ** 0.5


def test_with_beta_1_the_expected_gradient_is_that_of_uniform_draws(filled):
    replay = filled(alpha=0.7, beta=1.0)
    by_number = {}
    for update in range(300):
        sample = replay.sample(2, update)
        by_number |= dict(zip(sample.numbers.tolist(), sample.weights.tolist(), strict=True))
    places = np.arange(3, 9) % 6
    weights = np.array([by_number[number] for number in range(3, 9)])
    assert replay.probabilities[places] * weights == pytest.approx(np.full(6, 1 / 6), rel=1e-6)


def test_beta_rises_to_1(filled):
    replay = filled(alpha=1.0, beta=0.2, beta_updates=100)
    for update, beta in ((0, 0.2), (50, 0.6), (100, 1.0), (1000, 1.0)):
        sample = replay.sample(2, update)
        chances = replay.probabilities[sample.numbers % 6]
        assert sample.weights.numpy() == pytest.approx((6 * chances) ** -beta, rel=1e-6)


def test_a_new_episode_has_the_largest_priority(filled, random_batch, spec):
    replay = filled(alpha=1.0)
    replay.insert(random_batch(spec, [4]))  # in place of episode 3
    wanted = np.array([8.0, 0.5, 0.5, 8.0, 2.0, 4.0])  # by place: episodes 6, 7, 8, 9, 4, 5
    assert replay.probabilities == pytest.approx(wanted / wanted.sum())


def test_what_is_said_of_an_episode_that_is_gone_changes_nothing(filled):
    replay = filled()
    before = replay.probabilities.copy()
    replay.learned(replay.sample(1, 0)._replace(numbers=np.array([2])), torch.tensor([99.0]))
    assert np.array_equal(replay.probabilities, before)


def test_it_is_continued_exactly(filled, make):
    replay = filled(alpha=0.6, beta=0.5)
    other = make(alpha=0.6, beta=0.5)
    other.load_state_dict(replay.state_dict())
    other.restore(3, [replay.episodes(3)])
    for update in range(20):
        ours, theirs = replay.sample(2, update), other.sample(2, update)
        assert np.array_equal(ours.numbers, theirs.numbers)
        assert torch.equal(ours.weights, theirs.weights)
        assert all(
            torch.equal(x, y)
            for x, y in zip(ours.episodes.tensors().values(), theirs.episodes.tensors().values(), strict=True)
        )


def test_a_learner_that_says_nothing_is_refused(filled):
    replay = filled()
    with pytest.raises(ValueError, match="replay=prioritized needs a learner that says how much is left"):
        replay.learned(replay.sample(2, 0), None)


def test_an_exponent_above_1_is_refused(make):
    with pytest.raises(ConfigError, match="alpha must be at most 1"):
        make(alpha=1.5)
