"""Replay: a ring of whole episodes, compared with a plain list of the last ones."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hymarl.components.episode import EnvSpec, EpisodeBatch
from hymarl.components.replay.uniform import UniformReplay

SPEC = EnvSpec(n_agents=2, n_actions=3, obs_dim=2, state_dim=1, episode_limit=5)


def make(capacity, seed):
    return UniformReplay(SPEC, {}, seed, batch_episodes=1, buffer_episodes=capacity, updates_per_episode=0.0)


BATCHES = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=7), min_size=1, max_size=6)


def rows(batch):
    """The episodes one by one, each cut to its own length."""
    return [batch.select(torch.tensor([row])).tensors() for row in range(batch.n_episodes)]


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x[n], y[n]) for x, y in zip(a, b, strict=True) for n in x)


@pytest.fixture(scope="session")
def numbered(random_batch):
    """Batches in which ``policy_updates`` is the number of the episode in the order of insertion."""

    def make(lengths_of_batches, first=0):
        batches = []
        for lengths in lengths_of_batches:
            batch = random_batch(SPEC, lengths, seed=first)
            batch.policy_updates[:] = torch.arange(first, first + len(lengths))
            first += len(lengths)
            batches.append(batch)
        return batches

    return make


@given(BATCHES, st.integers(1, 9))
def test_the_buffer_holds_the_last_episodes_in_order_each_at_its_place(numbered, lengths, capacity):
    buffer, seen = make(capacity, seed=0), []
    for batch in numbered(lengths):
        buffer.insert(batch)
        seen += rows(batch)
        assert buffer.n_inserted == len(seen)
        assert buffer.size == min(capacity, len(seen))
        assert buffer.first == max(0, len(seen) - capacity)
        stored = buffer.episodes(buffer.first)
        stored.validate(SPEC)
        assert same(rows(stored), seen[-capacity:])
    places = buffer._storage.policy_updates[: buffer.size].tolist()
    assert all(number % capacity == place for place, number in enumerate(places))


def test_nothing_of_a_longer_episode_survives_a_shorter_one(numbered):
    buffer = make(1, seed=0)
    long, short = numbered([[5], [2]])
    buffer.insert(long)
    buffer.insert(short)  # its arrays have T = 2
    whole = EpisodeBatch.empty(SPEC, 1).tensors()  # also beyond the end: zeros, everything available
    for name, x in short.tensors().items():
        if buffer.columns[name].axis == "episode":
            whole[name][:] = x
        else:
            whole[name][:, : x.shape[1]] = x
    assert same([buffer._storage.tensors()], [whole])


def test_later_changes_of_an_inserted_batch_do_not_reach_the_buffer(numbered):
    buffer = make(3, seed=0)
    (batch,) = numbered([[2, 3]])
    before = rows(batch)
    buffer.insert(batch)
    for x in batch.tensors().values():
        x.zero_()
    assert same(rows(buffer.episodes(0)), before)


@given(BATCHES, st.integers(1, 9), st.integers(0, 10**6))
def test_a_sample_is_of_different_stored_episodes_and_valid(numbered, lengths, capacity, update):
    buffer = make(capacity, seed=4)
    for batch in numbered(lengths):
        buffer.insert(batch)
    n = (buffer.size + 1) // 2
    sample = buffer.sample(n, update).episodes
    sample.validate(SPEC)
    assert sample.n_episodes == n
    assert sample.filled.shape[1] == int(sample.lengths.max())
    numbers = sample.policy_updates.tolist()
    assert len(set(numbers)) == n
    assert buffer.sample(n, update).numbers.tolist() == numbers
    assert buffer.first <= min(numbers)
    assert max(numbers) < buffer.n_inserted
    stored = dict(enumerate(rows(buffer.episodes(buffer.first)), start=buffer.first))
    assert same(rows(sample), [stored[number] for number in numbers])


def test_samples_are_a_function_of_seed_and_update_only(numbered):
    def numbers(seed, update, *, disturbed=False):
        buffer = make(20, seed=seed)
        buffer.insert(numbered([[1] * 20])[0])
        if disturbed:
            buffer.sample(7, 99)
        return buffer.sample(8, update).episodes.policy_updates.tolist()

    assert numbers(1, 5) == numbers(1, 5) == numbers(1, 5, disturbed=True)
    assert numbers(1, 5) != numbers(1, 6)
    assert numbers(1, 5) != numbers(2, 5)


def test_samples_are_uniform(numbered):
    buffer = make(10, seed=0)
    buffer.insert(numbered([[1] * 10])[0])
    count = torch.zeros(10)
    for update in range(2000):
        count[buffer.sample(3, update).episodes.policy_updates] += 1
    # Each episode is drawn 600 times on average with standard deviation sqrt(2000 * 0.3 * 0.7) = 20.5.
    assert (count - 600).abs().max() < 4 * 20.5


def test_too_few_episodes_are_an_error(numbered):
    buffer = make(5, seed=0)
    buffer.insert(numbered([[1, 2]])[0])
    with pytest.raises(ValueError, match="cannot sample 3 episodes, the buffer holds 2"):
        buffer.sample(3, 0)
    assert buffer.sample(2, 0).episodes.n_episodes == 2


@given(BATCHES, st.integers(1, 9), BATCHES)
def test_a_restored_buffer_equals_the_original_now_and_later(numbered, lengths, capacity, more):
    original, files = make(capacity, seed=7), []
    for batch in numbered(lengths):
        start = original.n_inserted
        original.insert(batch)
        files.append((max(start, original.first), original.episodes(max(start, original.first))))
    needed = [(first, part) for first, part in files if first + part.n_episodes > original.first]
    restored = make(capacity, seed=7)
    restored.restore(needed[0][0], [part for _, part in needed])
    for batch in [None, *numbered(more, first=original.n_inserted)]:
        if batch is not None:
            original.insert(batch)
            restored.insert(batch)
        assert restored.n_inserted == original.n_inserted
        assert same(rows(restored.episodes(restored.first)), rows(original.episodes(original.first)))
        a, b = (replay.sample(original.size, 3).episodes for replay in (original, restored))
        assert all(torch.equal(x, y) for x, y in zip(a.tensors().values(), b.tensors().values(), strict=True))


@pytest.mark.parametrize(
    ("ratio", "wanted"), [(1.0, [0, 0, 1, 3]), (0.5, [0, 0, 0, 1]), (2.5, [0, 0, 2, 7]), (0.0, [0, 0, 0, 0])]
)
def test_updates_are_due_by_the_episode_from_the_first_whole_batch_on(numbered, ratio, wanted):
    def replay_of(ratio):
        return UniformReplay(SPEC, {}, 0, batch_episodes=3, buffer_episodes=9, updates_per_episode=ratio)

    replay, n_updates, seen = replay_of(ratio), 0, []
    for batch in numbered([[1], [2], [1], [2, 1]]):  # the third episode earns the first credit, the last two two more
        again = replay_of(ratio)  # the counters are all that a continuation needs beside the episodes
        again.load_state_dict(replay.state_dict())
        again.restore(0, [replay.episodes(0)])
        replay = again
        replay.insert(batch)
        samples = list(replay.due(n_updates))
        assert [s.episodes.n_episodes for s in samples] == [3] * len(samples)
        assert all(s.weights is None for s in samples)
        for i, sample in enumerate(samples):
            assert sample.numbers.tolist() == replay.sample(3, n_updates + i).numbers.tolist()
        n_updates += len(samples)
        seen.append(n_updates)
    assert seen == wanted
    assert list(replay.due(n_updates)) == []


def test_a_batch_larger_than_the_buffer_and_a_buffer_larger_than_memory_are_refused():
    with pytest.raises(ValueError, match="batch_episodes=9 must not be above buffer_episodes=8, or learning would"):
        UniformReplay(SPEC, {}, 0, batch_episodes=9, buffer_episodes=8, updates_per_episode=1.0)
    with pytest.raises(ValueError, match=r"replay of \d+ episodes would take .* GB of memory, .*; lower"):
        UniformReplay(SPEC, {}, 0, batch_episodes=9, buffer_episodes=10**12, updates_per_episode=1.0)
