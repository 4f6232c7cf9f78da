"""Tables that other programs can read, and that can be cut back to what a checkpoint saw."""

import csv
import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hymarl.training.run_directory import RunDirectory, Table


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
    assert position == len("a\n1\n") == (tmp_path / "t.csv").stat().st_size
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


def test_status_says_how_it_stands_and_why(tmp_path):
    directory = RunDirectory(tmp_path / "deep" / "run")
    directory.status("running")
    assert json.loads((directory.path / "status.json").read_text()) == {"status": "running", "reason": None}
    directory.status("failed", "ValueError: x")
    assert json.loads((directory.path / "status.json").read_text()) == {"status": "failed", "reason": "ValueError: x"}


def test_checkpoints_have_a_folder_of_their_own(tmp_path):
    assert RunDirectory(tmp_path).checkpoints == tmp_path / "checkpoints"
