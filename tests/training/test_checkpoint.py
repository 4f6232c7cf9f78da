"""Files that survive a crash, cannot execute anything, and hold the replayed episodes as they were."""

import io
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hymarl.components.files import CheckpointError, find_weights, keep_newest, load, save, write_atomically
from hymarl.components.replay.uniform import UniformReplay
from hymarl.components.spec import EnvSpec
from hymarl.training.checkpoint import ReplayFiles

SPEC = EnvSpec(n_agents=2, n_actions=3, obs_dim=2, state_dim=1, episode_limit=5)


def ring(capacity):
    return UniformReplay(SPEC, {}, 1, batch_episodes=1, buffer_episodes=capacity, updates_per_episode=0.0)


class Crash(Exception):
    pass


def crash(*_args, **_kwargs):
    raise Crash


# Writing


def test_content_and_folders_are_written_and_nothing_else_stays(tmp_path):
    path = tmp_path / "a" / "b" / "file.bin"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("moment", ["os.fsync", "pathlib.Path.replace"])
def test_a_crash_before_the_end_leaves_the_old_file(tmp_path, monkeypatch, moment):
    path = tmp_path / "latest.pt"
    checksum = save(path, {"step": 1})
    with monkeypatch.context() as patch:
        patch.setattr(moment, crash)
        with pytest.raises(Crash):
            save(path, {"step": 2})
    assert load(path, checksum) == {"step": 1}
    checksum = save(path, {"step": 3})  # what the crash left does not stand in the way
    assert load(path, checksum) == {"step": 3}


def test_the_content_is_synced_before_it_takes_the_name(tmp_path, monkeypatch):
    calls = []
    real = Path.replace
    monkeypatch.setattr("os.fsync", lambda descriptor: calls.append("sync"))
    monkeypatch.setattr(Path, "replace", lambda self, target: (calls.append("rename"), real(self, target)))
    write_atomically(tmp_path / "file", b"x")
    assert calls == ["sync", "rename", "sync"]  # the content, then the folder that holds the name


# Reading


def test_tensors_and_plain_data_come_back(tmp_path):
    data = {
        "weights": OrderedDict(a=torch.arange(3.0), b=torch.tensor([True])),
        "steps": 7,
        "best": float("-inf"),
        "nested": {"list": [1, "x", None], "half": torch.ones(2, dtype=torch.float16)},
    }
    back = load(tmp_path / "x.pt", save(tmp_path / "x.pt", data))
    assert torch.equal(back["weights"]["a"], data["weights"]["a"])
    assert torch.equal(back["nested"]["half"], data["nested"]["half"])
    assert (back["steps"], back["best"], back["nested"]["list"]) == (7, float("-inf"), [1, "x", None])


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("disguise", ["pickle", "checkpoint"])
def test_a_file_cannot_execute_anything(tmp_path, disguise):
    target, path = tmp_path / "executed", tmp_path / "bomb.pt"
    if disguise == "pickle":
        path.write_bytes(pickle.dumps({"weights": Bomb(target)}, protocol=2))
    else:
        torch.save({"weights": Bomb(target)}, path)
    with pytest.raises(CheckpointError, match=r"bomb.pt is damaged or not a checkpoint: "):
        load(path)
    assert not target.exists()
    torch.load(path, weights_only=False) if disguise == "checkpoint" else pickle.loads(path.read_bytes())
    assert target.exists()  # the bomb was real


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match=r"^cannot read .*none\.pt: No such file or directory$"):
        load(tmp_path / "none.pt")


def test_other_data_than_a_dictionary_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"x\.pt is not a checkpoint of this program$"):
        load(tmp_path / "x.pt")


def test_a_changed_bit_is_found_by_the_checksum(tmp_path):
    path = tmp_path / "x.pt"
    checksum = save(path, {"weights": torch.zeros(100)})
    content = bytearray(path.read_bytes())
    content[content.index(bytes(64)) + 10] ^= 1  # within the zeros
    path.write_bytes(content)
    assert load(path)["weights"].count_nonzero() == 1  # still a readable file: only the checksum can tell
    with pytest.raises(CheckpointError, match=r"x\.pt is damaged: its checksum is not the one noted in the checkpoint"):
        load(path, checksum)


def stored():
    stream = io.BytesIO()
    torch.save({"weights": OrderedDict(a=torch.arange(50.0)), "steps": 3, "list": [1, 2.5, "x"]}, stream)
    return stream.getvalue()


CONTENT = stored()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=60), st.integers(0, len(CONTENT) - 1).map(lambda n: CONTENT[:n])))
def test_whatever_is_left_of_a_file_is_a_checkpoint_error(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(CheckpointError):
        load(tmp_path / "x.pt")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_a_changed_byte_is_a_checkpoint_error_or_unnoticed_but_nothing_else(tmp_path, place, change):
    content = bytearray(CONTENT)
    content[place] ^= change
    (tmp_path / "x.pt").write_bytes(content)
    try:
        loaded = load(tmp_path / "x.pt")
    except CheckpointError:
        return
    assert isinstance(loaded, dict)


# Weights of a run


def test_best_weights_are_preferred_and_the_last_are_the_newest(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("weights_000000000900.pt", "weights_000000001000.pt", "latest.pt"):
        (folder / name).touch()
    assert find_weights(tmp_path) == find_weights(tmp_path, "last") == folder / "weights_000000001000.pt"
    (folder / "best.pt").touch()
    assert find_weights(tmp_path) == folder / "best.pt"
    assert find_weights(tmp_path, "last") == folder / "weights_000000001000.pt"
    assert find_weights(folder / "weights_000000000900.pt") == folder / "weights_000000000900.pt"


def test_no_weights_are_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no checkpoints; give a run directory or a \.pt file"):
        find_weights(tmp_path)


@pytest.mark.parametrize(("n", "left"), [(0, []), (2, ["w_3", "w_4"]), (9, ["w_1", "w_2", "w_3", "w_4"])])
def test_the_newest_files_are_kept(tmp_path, n, left):
    paths = [tmp_path / f"w_{i}" for i in (3, 1, 4, 2)]
    for path in paths:
        path.touch()
    keep_newest(paths, n)
    assert sorted(p.name for p in tmp_path.iterdir()) == left


# Replayed episodes


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
