"""Files that survive a crash, cannot execute anything, and whose damages are found."""

import errno
import io
import os
import pickle
import resource
import subprocess
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hymarl.components.files import (
    CheckpointError,
    WriteError,
    checksum,
    find_weights,
    keep_newest,
    load,
    remove_leftovers,
    save,
    write_atomically,
    writing,
)


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
    noted = save(path, {"step": 1})
    with monkeypatch.context() as patch:
        patch.setattr(moment, crash)
        with pytest.raises(Crash):
            save(path, {"step": 2})
    assert load(path, noted) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["latest.pt"]
    noted = save(path, {"step": 3})
    assert load(path, noted) == {"step": 3}


@contextmanager
def no_room():
    """Files of this process cannot become larger than 100 bytes meanwhile, as on a full disk.

    Not a fixture: pytest writes its dots before it ends one, and they may go to a file.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_without_room_the_file_is_named_and_the_old_one_stays(tmp_path):
    path = tmp_path / "latest.pt"
    write_atomically(path, b"old")
    with no_room(), pytest.raises(WriteError, match=r"^cannot write .*/latest\.pt: File too large$"):
        save(path, {"step": 2})
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["latest.pt"]


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "results").touch()
    with pytest.raises(WriteError, match=r"^cannot write .*/results/config\.yaml: "):
        write_atomically(tmp_path / "results" / "config.yaml", b"x")


def test_a_sentence_about_a_file_stays_the_same_further_out(tmp_path):
    with pytest.raises(WriteError, match=r"^cannot write inner: No space left on device$"):  # noqa: SIM117
        with writing(tmp_path / "outer"), writing(Path("inner")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_killed_processes_left_is_removed_and_what_others_write_is_not(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    names = [f".latest.pt.{pid}.tmp" for pid in (ended.pid, os.getppid(), os.getpid())]
    for name in (*names, ".notes.tmp", "latest.pt"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {names[1], ".notes.tmp", "latest.pt"}  # of this process, no write is under way


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


def pickled(path, bomb):
    path.write_bytes(pickle.dumps({"weights": bomb}, protocol=2))


def sealed(path, bomb):
    """With a checksum as ours have."""
    stream = io.BytesIO()
    torch.save({"weights": bomb}, stream)
    path.write_bytes(stream.getvalue() + b"\nhymarl blake2b " + checksum(stream.getvalue()).encode())


@pytest.mark.parametrize(
    ("disguise", "sentence"),
    [
        (pickled, "is damaged or no file of HyMARL: the checksum at its end is missing or wrong"),
        (lambda path, bomb: torch.save({"weights": bomb}, path), "holds something other than data (tensors, numbers, "),
        (sealed, "holds something other than data (tensors, numbers, text); it was not loaded"),
    ],
    ids=["pickle", "first release", "sealed"],
)
def test_a_file_cannot_execute_anything(tmp_path, disguise, sentence):
    target, path = tmp_path / "executed", tmp_path / "bomb.pt"
    disguise(path, Bomb(target))
    with pytest.raises(CheckpointError) as refused:
        load(path)
    assert str(refused.value).startswith(f"{path} {sentence}")
    assert "weights_only" not in str(refused.value)
    assert not target.exists()
    pickle.loads(path.read_bytes()) if disguise is pickled else torch.load(path, weights_only=False)
    assert target.exists()  # the bomb was real


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match=r"^cannot read .*none\.pt: No such file or directory$"):
        load(tmp_path / "none.pt")


def test_other_data_than_a_dictionary_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"x\.pt is not a checkpoint of this program$"):
        load(tmp_path / "x.pt")


def stored():
    stream = io.BytesIO()
    torch.save({"weights": OrderedDict(a=torch.arange(50.0)), "steps": 3, "list": [1, 2.5, "x"]}, stream)
    return stream.getvalue()


CONTENT = stored()


def test_a_changed_bit_anywhere_is_found(tmp_path):
    path = tmp_path / "x.pt"
    save(path, {"weights": torch.arange(5.0)})
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        with pytest.raises(CheckpointError, match=r"x\.pt is damaged"):
            load(path)
    path.write_bytes(content)
    assert load(path)["weights"].tolist() == [0, 1, 2, 3, 4]


def test_another_file_than_the_noted_one_is_refused(tmp_path):
    path = tmp_path / "x.pt"
    noted = save(path, {"step": 1})
    save(path, {"step": 2})
    with pytest.raises(CheckpointError, match=r"x\.pt is not the file that the checkpoint names"):
        load(path, noted)


def test_a_file_of_the_first_release_is_read_unless_a_checksum_is_needed(tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(CONTENT)
    assert load(path)["steps"] == 3
    for needed in ({"sealed": True}, {"noted": checksum(CONTENT)}):
        with pytest.raises(CheckpointError, match="the checksum at its end is missing or wrong"):
            load(path, **needed)


def test_other_programs_can_read_the_files_too(tmp_path):
    save(tmp_path / "x.pt", {"step": 1})
    assert torch.load(tmp_path / "x.pt", weights_only=True) == {"step": 1}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=60), st.integers(0, len(CONTENT) - 1).map(lambda n: CONTENT[:n])))
def test_whatever_is_left_of_a_file_is_a_checkpoint_error(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(CheckpointError):
        load(tmp_path / "x.pt")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_a_changed_byte_in_a_file_without_checksum_is_a_checkpoint_error_or_unnoticed(tmp_path, place, change):
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
