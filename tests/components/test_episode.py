"""Batches of episodes: shapes, memory, cutting, and the rules of the time axis."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hymarl.components.episode import Column, EpisodeBatch, action_dtype
from hymarl.components.spec import EnvSpec

SPEC = EnvSpec(n_agents=2, n_actions=3, obs_dim=4, state_dim=5, episode_limit=6)
LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=5)


def equal(a, b):
    pairs = zip(a.tensors().values(), b.tensors().values(), strict=True)
    return all(x.dtype == y.dtype and torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize(("n", "dtype"), [(2, torch.int8), (127, torch.int8), (128, torch.int16), (300, torch.int16)])
def test_actions_are_stored_in_the_smallest_type_that_holds_them(n, dtype):
    assert action_dtype(n) == dtype
    assert torch.iinfo(dtype).max >= n - 1


@pytest.mark.parametrize("individual", [False, True])
def test_empty_is_padding_of_the_documented_shapes_and_types(individual):
    batch = EpisodeBatch.empty(dataclasses.replace(SPEC, individual_rewards=individual), 7)
    assert {name: (tuple(x.shape), x.dtype) for name, x in batch.tensors().items()} == {
        "obs": ((7, 7, 2, 4), torch.float32),
        "state": ((7, 7, 5), torch.float32),
        "avail": ((7, 7, 2, 3), torch.bool),
        "actions": ((7, 6, 2), torch.int8),
        "reward": ((7, 6, 2) if individual else (7, 6), torch.float32),
        "terminated": ((7, 6), torch.bool),
        "filled": ((7, 6), torch.bool),
        "key": ((7,), torch.int64),
        "policy_updates": ((7,), torch.int64),
    }
    assert batch.avail.all()
    assert not any(x.any() for name, x in batch.tensors().items() if name != "avail")


def test_bytes_are_counted_by_hand():
    # obs 7*2*4*4 = 224, state 7*5*4 = 140, avail 7*2*3 = 42, actions 6*2 = 12, reward 6*4 = 24, terminated and filled
    # 6 each, key and policy_updates 8 each
    one = 224 + 140 + 42 + 12 + 24 + 6 + 6 + 8 + 8
    assert EpisodeBatch.bytes_per_episode(SPEC) == one
    assert EpisodeBatch.empty(SPEC, 5).n_bytes == 5 * one


def test_truncated_is_the_last_step_of_episodes_that_did_not_terminate(random_batch):
    batch = random_batch(SPEC, [1, 3, 6, 6], ends=[False, True, False, True])
    wanted = torch.zeros(4, 6, dtype=torch.bool)
    wanted[0, 0] = wanted[2, 5] = True
    assert torch.equal(batch.truncated, wanted)
    assert not EpisodeBatch.empty(SPEC, 2).truncated.any()


@given(LENGTHS, st.integers(0, 1000))
def test_every_episode_ends_once_either_terminated_or_truncated(random_batch, lengths, seed):
    batch = random_batch(SPEC, lengths, length=6, seed=seed)
    ends = batch.terminated.long() + batch.truncated.long()
    assert ends.sum(dim=1).tolist() == [1] * len(lengths)
    assert ends.argmax(dim=1).tolist() == [n - 1 for n in lengths]
    assert batch.lengths.tolist() == lengths


@given(LENGTHS, st.data())
def test_select_copies_the_episodes_asked_for_cut_to_the_longest_of_them(random_batch, lengths, data):
    batch = random_batch(SPEC, lengths, length=6)
    index = torch.tensor(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=6)))
    chosen = batch.select(index)
    longest = max(lengths[i] for i in index)
    chosen.validate(SPEC)
    assert chosen.filled.shape == (len(index), longest)
    for row, i in enumerate(index.tolist()):
        for name, x in chosen.tensors().items():
            whole = batch.tensors()[name][i]
            assert torch.equal(x[row], whole[: x.shape[1]] if whole.dim() else whole), name
    before = batch.reward.clone()
    chosen.reward += 1
    assert torch.equal(batch.reward, before)


def test_selecting_no_episodes_gives_none(random_batch):
    none = random_batch(SPEC, [2, 3]).select(torch.zeros(0, dtype=torch.int64))
    assert none.n_episodes == 0
    none.validate(SPEC)


EXTRAS = {
    "log_prob": Column((2,), torch.float32, "T", padding=-1),
    "value": Column((), torch.float64, "T+1"),
    "latent": Column((3,), torch.int16, "episode", padding=9),
}


def with_extras():
    batch = EpisodeBatch.empty(SPEC, 4, extras=EXTRAS)
    batch.filled[:, :2] = True
    batch.filled[1, :5] = True
    for i, x in enumerate(batch.extras.values()):
        x.copy_(torch.arange(x.numel()).view(x.shape) + i)
    return batch


def test_extras_have_their_place_in_time_and_their_padding():
    batch = EpisodeBatch.empty(SPEC, 4, extras=EXTRAS)
    shapes = {"log_prob": (4, 6, 2), "value": (4, 7), "latent": (4, 3)}
    assert {name: tuple(x.shape) for name, x in batch.extras.items()} == shapes
    assert [x.unique().tolist() for x in batch.extras.values()] == [[-1], [0], [9]]
    one = EpisodeBatch.bytes_per_episode(SPEC) + 6 * 2 * 4 + 7 * 8 + 3 * 2
    assert EpisodeBatch.bytes_per_episode(SPEC, EXTRAS) == one == batch.n_bytes // 4


def test_extras_are_selected_cleared_moved_and_checked_like_everything_else():
    batch = with_extras()
    chosen = batch.select(torch.tensor([2, 0]))
    assert {name: tuple(x.shape) for name, x in chosen.extras.items()} == {
        "log_prob": (2, 2, 2),
        "value": (2, 3),
        "latent": (2, 3),
    }
    assert torch.equal(chosen.extras["value"], batch.extras["value"][[2, 0], :3])
    assert torch.equal(chosen.extras["latent"], batch.extras["latent"][[2, 0]])
    assert batch.to("meta").extras["latent"].device.type == "meta"
    again = EpisodeBatch.from_tensors(batch.columns, batch.tensors())
    assert equal(again, batch)
    batch.clear([1])
    assert not batch.filled[1].any()
    assert batch.avail[1].all()
    assert [x[1].unique().tolist() for x in batch.extras.values()] == [[-1], [0], [9]]
    assert batch.extras["latent"][2].tolist() == chosen.extras["latent"][0].tolist()
    batch.extras = {**batch.extras, "value": batch.extras["value"][:, 1:]}
    with pytest.raises(ValueError, match=r"EpisodeBatch.extras.value is \(4, 6\) .*, expected \(4, 7\)"):
        batch.validate(SPEC)


def test_a_batch_is_extended_by_what_a_learner_adds():
    batch, advantage = with_extras(), torch.ones(4, 6)
    longer = batch.extended({"advantage": Column((), torch.float32, "T")}, {"advantage": advantage})
    assert list(longer.extras) == [*EXTRAS, "advantage"]
    assert longer.obs is batch.obs
    assert longer.select(torch.tensor([0])).extras["advantage"].shape == (1, 2)
    assert "advantage" not in batch.extras
    for wrong in (torch.ones(4, 6, 1), torch.ones(4, 7), torch.ones(4, 6, dtype=torch.float64)):
        with pytest.raises(ValueError, match=r"EpisodeBatch.extras.advantage is .*, expected \(4, 6\) torch.float32"):
            batch.extended({"advantage": Column((), torch.float32, "T")}, {"advantage": wrong})


def test_columns_that_are_missing_or_unknown_are_refused():
    batch = EpisodeBatch.empty(SPEC, 1)
    with pytest.raises(ValueError, match=r"episodes need the columns obs, .*, extras.log_prob, .* got obs"):
        EpisodeBatch.from_tensors(with_extras().columns, batch.tensors())


def test_to_moves_every_field(random_batch):
    moved = random_batch(SPEC, [2, 3]).to("meta")
    assert {x.device.type for x in moved.tensors().values()} == {"meta"}


def plant(batch, defect):
    row, last = 1, 2  # the second episode has three of four steps
    match defect:
        case "shape":
            batch.state = batch.state[:, :-1]
        case "type":
            batch.actions = batch.actions.long()
        case "gap":
            batch.filled[row, 0] = False
        case "ghost":
            batch.filled[row] = torch.tensor([True, True, False, True])
        case "early end":
            batch.terminated[row, last - 1] = True
        case "end in padding":
            batch.terminated[row, last + 1] = True
        case "unavailable action":
            batch.avail[row, last, 1, batch.actions[row, last, 1].long()] = False
        case "action out of range":
            batch.actions[row, last, 1] = 3
        case "negative action":
            batch.actions[row, last, 1] = -1


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        ("shape", r"EpisodeBatch.state is \(3, 4, 5\) torch.float32, expected \(3, 5, 5\) torch.float32"),
        ("type", r"EpisodeBatch.actions is \(3, 4, 2\) torch.int64, expected \(3, 4, 2\) torch.int8"),
        ("gap", "EpisodeBatch.filled must be a prefix"),
        ("ghost", "EpisodeBatch.filled must be a prefix"),
        ("early end", "EpisodeBatch.terminated may be true at the last filled step only"),
        ("end in padding", "EpisodeBatch.terminated may be true at the last filled step only"),
        ("unavailable action", "EpisodeBatch.actions holds an action that was not available"),
        ("action out of range", "EpisodeBatch.actions"),
        ("negative action", "EpisodeBatch.actions"),
    ],
)
def test_validate_finds_each_defect(random_batch, defect, message):
    batch = random_batch(SPEC, [4, 3, 1], ends=[True, False, False])
    batch.validate(SPEC)
    plant(batch, defect)
    with pytest.raises(ValueError, match=message):
        batch.validate(SPEC)


def test_validate_does_not_mind_what_padding_holds_as_an_action(random_batch):
    batch = random_batch(SPEC, [4, 2], ends=[True, False])
    batch.avail[1, 3] = False
    batch.validate(SPEC)
    batch.avail[0, 3] = False  # the same where an action was taken
    with pytest.raises(ValueError, match="not available"):
        batch.validate(SPEC)


def test_an_episode_without_steps_must_not_have_ended():
    batch = EpisodeBatch.empty(SPEC, 1)
    batch.terminated[0, 0] = True
    with pytest.raises(ValueError, match="terminated"):
        batch.validate(SPEC)
