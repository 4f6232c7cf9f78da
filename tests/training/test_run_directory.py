"""Tables that other programs can read, and that can be cut back to what a checkpoint saw."""

import csv
import fcntl
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hymarl.components.files import CheckpointError, WriteError
from hymarl.registry import ConfigError
from hymarl.training.run_directory import RunDirectory, Table, check_table, owning, read_status


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_written_below_the_columns_in_their_order(tmp_path):
    table = Table(tmp_path / "t.csv", ["a", "b", "c"])
    table.append({"c": 1, "a": 0.1})
    table.append({"b": "text"})
    table.close()
    table.close()
    assert (tmp_path / "t.csv").read_text() == "a,b,c\n0.1,,1\n,text,\n"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_every_value_comes_back_exactly_through_a_csv_reader(tmp_path, number, text):
    path = tmp_path / "t.csv"
    path.unlink(missing_ok=True)
    table = Table(path, ["number", "numpy", "text", "last"])
    table.append({"number": number, "numpy": np.float64(number), "text": text, "last": 3})
    table.close()
    (row,) = read(path)
    for name in ("number", "numpy"):
        assert float(row[name]) == number or (math.isnan(number) and math.isnan(float(row[name])))
    assert (row["text"], row["last"]) == (text, "3")


def test_a_value_without_a_column_is_an_error(tmp_path):
    table = Table(tmp_path / "t.csv", ["a"])
    with pytest.raises(ValueError, match="no column for x, y"):
        table.append({"a": 1, "y": 2, "x": 3})


def test_reopening_a_table_goes_on_below_its_rows(tmp_path):
    for value in (1, 2):
        table = Table(tmp_path / "t.csv", ["a"])
        table.append({"a": value})
        table.close()
    assert (tmp_path / "t.csv").read_text() == "a\n1\n2\n"


def test_rows_are_visible_after_flush(tmp_path):
    table = Table(tmp_path / "t.csv", ["a"])
    table.append({"a": 1})
    table.flush()
    assert read(tmp_path / "t.csv") == [{"a": "1"}]


def test_cutting_drops_what_came_after_a_position_and_goes_on_there(tmp_path):
    table = Table(tmp_path / "t.csv", ["a"])
    table.append({"a": 1})
    position = table.position()
    assert position["size"] == len("a\n1\n") == (tmp_path / "t.csv").stat().st_size
    table.append({"a": 2})
    table.cut(position)
    table.append({"a": 3})
    table.close()
    assert (tmp_path / "t.csv").read_text() == "a\n1\n3\n"


def test_clearing_leaves_the_columns(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.table("t", ["a"]).append({"a": 1})
    directory.clear()
    directory.close()
    assert (tmp_path / "run" / "t.csv").read_text() == "a\n"


def test_all_tables_are_cut_back_together(tmp_path):
    directory = RunDirectory(tmp_path)
    tables = [directory.table(name, ["x"]) for name in ("metrics", "timing")]
    for table in tables:
        table.append({"x": 1})
    positions = json.loads(json.dumps(directory.positions()))
    tables[0].append({"x": 2})
    directory.close()
    again = RunDirectory(tmp_path)  # another process, which resumes
    metrics, _ = (again.table(name, ["x"]) for name in ("metrics", "timing"))
    again.cut(positions)
    metrics.append({"x": 5})
    again.close()
    assert [r["x"] for r in read(tmp_path / "metrics.csv")] == ["1", "5"]
    assert [r["x"] for r in read(tmp_path / "timing.csv")] == ["1"]


def test_a_table_is_checked_up_to_a_position(tmp_path):
    path = tmp_path / "t.csv"
    table = Table(path, ["a"])
    table.append({"a": 17})
    position = table.position()
    table.append({"a": 2})
    table.close()
    check_table(path, position)  # what comes after it does not count
    content = path.read_text()
    for text, sentence in (
        (content.replace("17", "18"), "t.csv is damaged or was changed"),
        ("a\n", "is shorter than"),
    ):
        path.write_text(text)
        with pytest.raises(CheckpointError, match=sentence):
            check_table(path, position)
    path.unlink()
    with pytest.raises(CheckpointError, match="is shorter than it was at the checkpoint"):
        check_table(path, position)


def test_names_of_columns_that_need_quotes_have_them(tmp_path):
    table = Table(tmp_path / "t.csv", ["a,b", "c"])
    table.append({"a,b": 1, "c": 2})
    table.close()
    assert read(tmp_path / "t.csv") == [{"a,b": "1", "c": "2"}]


# Full disks


@pytest.fixture
def full(tmp_path):
    """A table on a disk without room."""
    (tmp_path / "t.csv").symlink_to("/dev/full")
    return tmp_path / "t.csv"


def test_a_table_that_cannot_be_written_is_named(full):
    with pytest.raises(WriteError, match=r"^cannot write .*/t\.csv: No space left on device$"):
        Table(full, ["a"])


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"status": 3}', "\xff", None])
def test_a_damaged_status_says_nothing(tmp_path, content):
    RunDirectory(tmp_path).status("finished")
    assert read_status(tmp_path) == "finished"
    if content is None:
        (tmp_path / "status.json").unlink()
    else:
        (tmp_path / "status.json").write_bytes(content.encode("latin-1"))
    assert read_status(tmp_path) is None


def test_a_status_that_has_no_room_beside_the_old_one_is_written_into_it(tmp_path, monkeypatch):
    directory = RunDirectory(tmp_path)
    directory.status("failed", "x" * 300)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", no_space)
        directory.status("failed", "no room")
    assert json.loads((tmp_path / "status.json").read_text()) == {"status": "failed", "reason": "no room"}
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def no_space(*_):
    raise OSError(28, os.strerror(28))


# One process at a time

HOLD = """
import sys, time
from pathlib import Path
from hymarl.training.run_directory import owning
with owning(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_directory_in_use_is_refused_until_its_process_is_killed(tmp_path):
    run = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        refused = pytest.raises(
            ConfigError, match=rf"run is in use by process {process.pid} on .*; wait until it ends, "
        )
        with refused, owning(run):
            pass
        process.kill()
        process.wait()
        assert (run / ".lock").exists()
        with owning(run):
            assert (run / ".lock").read_text().split()[0] == str(os.getpid())
    assert run.exists()  # it was there before
    assert not list(run.iterdir())


def test_a_directory_is_in_use_within_one_process_too(tmp_path):
    with owning(tmp_path), pytest.raises(ConfigError, match="is in use"), owning(tmp_path):
        pass
    with owning(tmp_path):
        pass


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(
    "name", [".lock", "train.log", "checkpoints/replay", "wandb", "x/y", "run-1/logs/debug-core.log"]
)
def test_a_run_with_a_link_that_leads_out_of_it_is_not_owned(tmp_path, name, there):
    run, outside = tmp_path / "run", tmp_path / "outside"
    (run / name).parent.mkdir(parents=True)
    (run / "config.yaml").touch()
    (run / name).symlink_to(outside)
    if there:
        outside.write_text("precious")
    with pytest.raises(ConfigError, match=rf"{name} is a link that leads out of .*run, and continuing"), owning(run):
        pass
    assert (outside.exists() and outside.read_text()) == (there and "precious")


def test_links_that_stay_inside_and_that_of_wandb_to_its_log_are_left_alone(tmp_path):
    """As wandb makes them."""
    (tmp_path / "config.yaml").touch()
    (tmp_path / "wandb" / "offline-run-1").mkdir(parents=True)
    (tmp_path / "wandb" / "latest-run").symlink_to("offline-run-1")
    (tmp_path / "wandb" / "offline-run-1" / "logs").mkdir()
    (tmp_path / "wandb" / "offline-run-1" / "logs" / "debug-core.log").symlink_to("/nowhere/core.log")
    with owning(tmp_path):
        pass


def test_a_link_is_no_lock(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(ConfigError, match=r"\.lock is a link, which no lock is; delete it"), owning(tmp_path / "run"):
        pass
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_directory_that_is_left_without_a_file_is_removed(tmp_path):
    with owning(tmp_path / "run"):
        pass
    assert not list(tmp_path.iterdir())
    with owning(tmp_path / "run"):
        (tmp_path / "run" / "file").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["file"]


def test_processes_started_meanwhile_do_not_keep_the_directory(tmp_path):
    with owning(tmp_path):
        program = subprocess.Popen(["sleep", "60"], close_fds=False)
    with owning(tmp_path):
        program.kill()
        program.wait()


def test_where_files_cannot_be_locked_the_run_goes_on(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with owning(tmp_path), owning(tmp_path):
        assert not list(tmp_path.iterdir())
    monkeypatch.setattr("hymarl.training.run_directory.fcntl", None)
    with owning(tmp_path), owning(tmp_path):
        assert not list(tmp_path.iterdir())


def test_a_lock_file_that_was_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
    real = fcntl.flock
    calls = []

    def removed_at_first(descriptor, how):
        calls.append(how)
        if len(calls) == 1:
            (tmp_path / ".lock").unlink()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", removed_at_first)
    with owning(tmp_path), pytest.raises(ConfigError, match="is in use"), owning(tmp_path):
        pass
    assert len(calls) == 3


def test_status_says_how_it_stands_and_why(tmp_path):
    directory = RunDirectory(tmp_path / "deep" / "run")
    directory.status("running")
    assert json.loads((directory.path / "status.json").read_text()) == {"status": "running", "reason": None}
    directory.status("failed", "ValueError: x")
    assert json.loads((directory.path / "status.json").read_text()) == {"status": "failed", "reason": "ValueError: x"}


def test_checkpoints_have_a_folder_of_their_own(tmp_path):
    assert RunDirectory(tmp_path).checkpoints == tmp_path / "checkpoints"
