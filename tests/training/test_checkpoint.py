"""The replayed episodes on disk, as they were."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hymarl.components.files import CheckpointError, save
from hymarl.components.replay.uniform import UniformReplay
from hymarl.components.spec import EnvSpec
from hymarl.training.checkpoint import ReplayFiles

SPEC = EnvSpec(n_agents=2, n_actions=3, obs_dim=2, state_dim=1, episode_limit=5)


def ring(capacity):
    return UniformReplay(SPEC, {}, 1, batch_episodes=1, buffer_episodes=capacity, updates_per_episode=0.0)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.tensors().values(), b.tensors().values(), strict=True))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    st.integers(1, 8),
    st.lists(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=6), max_size=3), min_size=1, max_size=4),
)
def test_the_buffer_comes_back_from_disk_at_every_checkpoint(
    tmp_path_factory, random_batch, capacity, between_checkpoints
):
    folder = tmp_path_factory.mktemp("replay")
    buffer, files, seed, stamps = ring(capacity), ReplayFiles(folder), 0, {}
    for inserts in between_checkpoints:
        for lengths in inserts:
            buffer.insert(random_batch(SPEC, lengths, seed=(seed := seed + 1)))
        entries = files.append(buffer)
        files.prune()
        on_disk = {p.name: p.stat().st_mtime_ns for p in folder.glob("*")}
        assert set(on_disk) == {e["file"] for e in entries}  # only what is needed
        assert all(stamps[name] == stamp for name, stamp in on_disk.items() if name in stamps)  # written once
        stamps |= on_disk
        assert all(e["end"] > buffer.first for e in entries)
        assert not entries or (entries[0]["first"] <= buffer.first and entries[-1]["end"] == buffer.n_inserted)
        restored = ring(capacity)
        ReplayFiles(folder, entries).restore(restored)
        assert (restored.n_inserted, restored.first) == (buffer.n_inserted, buffer.first)
        if buffer.size:
            assert same(restored.episodes(restored.first), buffer.episodes(buffer.first))
            assert same(restored.sample(buffer.size, 5).episodes, buffer.sample(buffer.size, 5).episodes)
        files = ReplayFiles(folder, entries)  # as after a restart


def test_each_checkpoint_writes_only_what_is_new_and_drops_what_the_ring_lost(tmp_path, random_batch):
    buffer, files = ring(4), ReplayFiles(tmp_path)

    def after(n):
        if n:
            buffer.insert(random_batch(SPEC, [2] * n))
        found = [(e["first"], e["end"]) for e in files.append(buffer)]
        files.prune()
        return found

    assert after(0) == []
    assert after(3) == [(0, 3)]
    assert after(0) == [(0, 3)]
    assert after(2) == [(0, 3), (3, 5)]  # episode 0 is gone, 1 and 2 are still needed
    assert after(2) == [(3, 5), (5, 7)]
    assert after(6) == [(9, 13)]  # 7 and 8 were overwritten before they were ever written


def test_files_stay_until_a_checkpoint_without_them_is_on_disk(tmp_path, random_batch):
    buffer, files = ring(2), ReplayFiles(tmp_path)
    buffer.insert(random_batch(SPEC, [1, 2]))
    old, content = files.append(buffer), buffer.episodes(0)
    buffer.insert(random_batch(SPEC, [3, 4], seed=1))
    new = files.append(buffer)
    restored = ring(2)
    ReplayFiles(tmp_path, old).restore(restored)  # a crash here: the old checkpoint is still whole
    assert same(restored.episodes(0), content)
    files.prune()
    assert [p.name for p in tmp_path.iterdir()] == [new[0]["file"]]


def test_files_of_other_names_are_never_deleted(tmp_path):
    names = ["mine.pt", "episodes_best.pt", "episodes_1_2.pt.pt"]
    for name in (*names, "episodes_000000000_000000003.pt"):
        (tmp_path / name).touch()
    ReplayFiles(tmp_path).prune()
    assert {path.name for path in tmp_path.iterdir()} == set(names)


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_replay_file_is_an_error(tmp_path, random_batch, damage):
    buffer, files = ring(2), ReplayFiles(tmp_path)
    buffer.insert(random_batch(SPEC, [1, 2]))
    (entry,) = files.append(buffer)
    path = tmp_path / entry["file"]
    if damage == "missing":
        path.unlink()
    else:
        save(path, {name: x.clone() + 0 for name, x in random_batch(SPEC, [1, 2], seed=9).tensors().items()})
    with pytest.raises(CheckpointError, match=entry["file"]):
        ReplayFiles(tmp_path, [entry]).restore(ring(2))


@pytest.mark.parametrize("name", ["../outside.pt", "/outside.pt", "deeper/outside.pt"])
def test_files_outside_of_the_folder_are_not_read(tmp_path, random_batch, name):
    buffer, files = ring(2), ReplayFiles(tmp_path / "replay")
    buffer.insert(random_batch(SPEC, [1, 2]))
    (entry,) = files.append(buffer)
    path = tmp_path / "replay" / name.replace("/outside", f"{tmp_path}/outside") if name[0] == "/" else name
    (tmp_path / "outside.pt").write_bytes((tmp_path / "replay" / entry["file"]).read_bytes())
    with pytest.raises(CheckpointError, match=r"outside\.pt is no file of .*replay, which alone holds"):
        ReplayFiles(tmp_path / "replay", [{**entry, "file": str(path)}]).restore(ring(2))
