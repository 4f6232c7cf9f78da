from pathlib import Path

import numpy as np
import pytest

from hymarl.reports.evaluations import read_evaluations

HEADER = "step,stream,episode,return,length,jct_mean\n"


def write(directory: Path, text: str) -> Path:
    (directory / "evaluations.csv").write_text(HEADER + text)
    return directory


def test_one_stream_is_read_as_columns(tmp_path: Path) -> None:
    run = write(tmp_path, "0,validation,0,1.5,10,200.0\n0,validation,1,2.5,10,\n0,test,0,9.0,10,nan\n")
    table = read_evaluations(run, "validation")
    assert list(table) == ["step", "episode", "return", "length", "jct_mean"]
    np.testing.assert_array_equal(table["return"], [1.5, 2.5])
    np.testing.assert_array_equal(table["jct_mean"], [200.0, np.nan])
    np.testing.assert_array_equal(read_evaluations(run, "test")["return"], [9.0])


def test_nothing_of_a_stream_is_empty_columns(tmp_path: Path) -> None:
    table = read_evaluations(write(tmp_path, ""), "validation")
    assert {name: column.size for name, column in table.items()} == dict.fromkeys(
        ["step", "episode", "return", "length", "jct_mean"], 0
    )


def test_a_line_that_a_killed_run_left_unfinished_is_ignored(tmp_path: Path) -> None:
    run = write(tmp_path, "0,validation,0,1.5,10,200.0\n0,validation,1,2.5,10,20")
    np.testing.assert_array_equal(read_evaluations(run, "validation")["return"], [1.5])


@pytest.mark.parametrize(
    ("line", "message"),
    [("0,validation,0,much,10,1.0\n", "evaluations.csv:2: 'much' is not a number"), ("0,test\n", ":2: 2 cells")],
)
def test_a_damaged_line_is_an_error_that_says_where(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_evaluations(write(tmp_path, line), "validation")
