"""Learning from the newest collection only."""

import numpy as np
import pytest
import torch

from hymarl.components.replay.latest import LatestReplay
from hymarl.components.spec import EnvSpec

SPEC = EnvSpec(n_agents=2, n_actions=3, obs_dim=2, state_dim=1, episode_limit=5)


@pytest.mark.parametrize(("epochs", "minibatches", "sizes"), [(1, 1, [7]), (2, 2, [4, 3]), (3, 20, [1] * 7)])
def test_every_episode_of_the_newest_collection_is_in_one_minibatch_of_each_epoch(
    random_batch, epochs, minibatches, sizes
):
    replay = LatestReplay(SPEC, {}, 3, epochs=epochs, minibatches=minibatches)
    for collection in range(2):
        batch = random_batch(SPEC, [3, 1, 5, 2, 4, 1, 2], seed=collection)
        batch.policy_updates[:] = torch.arange(7) + 7 * collection
        kept = batch.select(torch.arange(7))
        replay.insert(batch)
        batch.clear()  # the runner's memory is used again
        assert (replay.first, replay.n_inserted) == (7 * collection, 7 * collection + 7)
        samples = list(replay.due(n_updates=100))
        assert [s.episodes.n_episodes for s in samples] == sizes * epochs
        orders = []
        for epoch in range(epochs):
            part = samples[epoch * len(sizes) : (epoch + 1) * len(sizes)]
            numbers = np.concatenate([s.numbers for s in part])
            assert sorted(numbers) == list(range(7 * collection, 7 * collection + 7))
            orders.append(numbers.tolist())
            for sample in part:
                assert sample.episodes.policy_updates.tolist() == sample.numbers.tolist()
                wanted = kept.select(torch.from_numpy(sample.numbers - 7 * collection)).tensors()
                assert all(torch.equal(x, wanted[name]) for name, x in sample.episodes.tensors().items())
        assert len({tuple(order) for order in orders}) == epochs  # each epoch in an order of its own
        assert replay.first == replay.n_inserted  # nothing is kept
        assert list(replay.due(n_updates=200)) == []
        assert replay.episodes(replay.first).n_episodes == 0


def test_the_order_is_a_function_of_seed_and_update(random_batch):
    def order(seed, update):
        replay = LatestReplay(SPEC, {}, seed, epochs=1, minibatches=1)
        replay.insert(random_batch(SPEC, [1] * 9))
        return next(iter(replay.due(update))).numbers.tolist()

    assert order(1, 5) == order(1, 5)
    assert order(1, 5) != order(1, 6)
    assert order(1, 5) != order(2, 5)


def test_the_numbering_goes_on_after_a_continuation(random_batch):
    replay, again = (LatestReplay(SPEC, {}, 0, epochs=1, minibatches=1) for _ in range(2))
    replay.insert(random_batch(SPEC, [1, 2]))
    list(replay.due(0))
    again.load_state_dict(replay.state_dict())
    again.restore(0, [])
    for each in (replay, again):
        each.insert(random_batch(SPEC, [1, 2]))
    assert [s.numbers.tolist() for s in replay.due(1)] == [s.numbers.tolist() for s in again.due(1)]
