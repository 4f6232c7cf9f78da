import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hymarl.envs.loadbalance.traces import (
    DYNAMIC,
    SECONDS_PER_ITERATION,
    STATIC,
    Trace,
    TraceError,
    read_trace,
    write_trace,
)

HEADER = "time\tquery\n"
GOOD = HEADER + "0.5\t/dummy.php/?n=3670000\n2\t/dummy.php/?n=1835000\n2.0\t/dummy.php/?n=11\n"
REAL_NAME = "marllb_poisson_for_loop_rate_200.csv"
BESIDE = sorted(Path(__file__).resolve().parents[4].glob(f"*/data/{REAL_NAME}"))
"""A trace recorded for the testbed, if it lies beside the checkout or HYMARL_TRACE says where it is."""
REAL = Path(os.environ.get("HYMARL_TRACE", BESIDE[0] if BESIDE else REAL_NAME))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trace.csv"


def trace_of(times: list[float], sizes: list[float]) -> Trace:
    return Trace(np.array(times), np.array(sizes), np.full(len(times), DYNAMIC))


# Reading


@pytest.mark.parametrize("text", [GOOD, GOOD.removesuffix("\n"), GOOD.replace("\n", "\r\n"), "\ufeff" + GOOD])
def test_reads_times_and_sizes(path: Path, text: str) -> None:
    path.write_bytes(text.encode())
    trace = read_trace(path)
    assert trace.times.tolist() == [0.5, 2.0, 2.0]  # equal times are legal
    np.testing.assert_allclose(trace.sizes, [0.2, 0.1, 11 * 0.2 / 3.67e6], rtol=1e-15)
    assert trace.kinds.tolist() == [DYNAMIC] * 3
    assert [a.dtype for a in (trace.times, trace.sizes, trace.kinds)] == [np.float64, np.float64, np.int64]
    assert len(trace) == 3
    assert trace.duration == 1.5


def test_seconds_per_iteration_scales_the_sizes(path: Path) -> None:
    path.write_text(GOOD)
    np.testing.assert_allclose(read_trace(path, seconds_per_iteration=1e-6).sizes, [3.67, 1.835, 1.1e-5])
    np.testing.assert_allclose(read_trace(str(path), seconds_per_iteration=1e-6).times, [0.5, 2.0, 2.0])


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_seconds_per_iteration_must_make_sense(path: Path, value: float) -> None:
    path.write_text(GOOD)
    with pytest.raises(ValueError, match="seconds_per_iteration must be positive and finite"):
        read_trace(path, seconds_per_iteration=value)


LINE = "'time<TAB>/dummy.php/?n=<iterations>'"
QUERY = "'/dummy.php/?n=<iterations>' with a whole number above 0"
SECONDS = "expected seconds, a number not below 0"
WIKI = "the wiki format ('time url'), which does not say how much work a request is"
MALFORMED = {
    "empty file": ("", ", line 1: expected the header 'time\\tquery' (with a tab), found ''"),
    "no header": ("0.5\t/dummy.php/?n=1\n", ", line 1: expected the header 'time\\tquery' (with a tab), found '0.5"),
    "header with a comma": ("time,query\n0,1\n", ", line 1: expected the header 'time\\tquery' (with a tab), found"),
    "header with a space": ("time query\n", ", line 1: expected the header 'time\\tquery' (with a tab), found"),
    "header only": (HEADER, ", line 2: expected a request, found the end of the file"),
    "wiki header": ("time url\n0.1 http://x/wiki/index.php/Berlin\n", f", line 1: this is {WIKI}"),
    "wiki line": (HEADER + "0.1 http://x/wiki/index.php/Berlin\n", f", line 2: this is {WIKI}"),
    "blank line": (GOOD + "\n3\t/dummy.php/?n=1\n", f", line 5: expected {LINE}, found ''"),
    "space for tab": (GOOD + "3 /dummy.php/?n=1\n", f", line 5: expected {LINE}, found '3 /dummy.php/?n=1'"),
    "cut off": (GOOD + "3.25", f", line 5: expected {LINE}, found '3.25'"),
    "cut off after n=": (GOOD + "3.25\t/dummy.php/?n=", f", line 5: expected {QUERY}, found '/dummy.php/?n='"),
    "another page": (GOOD + "3\t/index.html\n", f", line 5: expected {QUERY}, found '/index.html'"),
    "third column": (GOOD + "3\t/dummy.php/?n=1\t7\n", f", line 5: expected {QUERY}, found '/dummy.php/?n=1\\t7'"),
    "fraction of a loop": (GOOD + "3\t/dummy.php/?n=1.5\n", f", line 5: expected {QUERY}, found '/dummy.php/?n=1.5'"),
    "underscores": (GOOD + "3\t/dummy.php/?n=1_000\n", f", line 5: expected {QUERY}, found '/dummy.php/?n=1_000'"),
    "negative loop": (GOOD + "3\t/dummy.php/?n=-4\n", f", line 5: expected {QUERY}, found '/dummy.php/?n=-4'"),
    "word for time": (GOOD + "noon\t/dummy.php/?n=1\n", f", line 5: {SECONDS}, found 'noon'"),
    "no time": (GOOD + "\t/dummy.php/?n=1\n", f", line 5: {SECONDS}, found ''"),
    "nan": (GOOD + "nan\t/dummy.php/?n=1\n", f", line 5: {SECONDS}, found 'nan'"),
    "inf": (GOOD + "inf\t/dummy.php/?n=1\n", f", line 5: {SECONDS}, found 'inf'"),
    "negative time": (HEADER + "-0.5\t/dummy.php/?n=1\n", f", line 2: {SECONDS}, found '-0.5'"),
    "other digits": (GOOD + "٣\t/dummy.php/?n=1\n", f", line 5: {SECONDS}, found '٣'"),
    "too large a time": (
        GOOD + "1e999\t/dummy.php/?n=1\n",
        ", line 5: the time must be finite and not negative; found",
    ),
    "no work": (GOOD + "3\t/dummy.php/?n=0\n", ", line 5: the size must be finite and positive; found '3\\t/dummy"),
    "endless work": (GOOD + f"3\t/dummy.php/?n={'9' * 400}\n", ", line 5: the size must be finite and positive; found"),
    "back in time": (GOOD + "1.9\t/dummy.php/?n=1\n", ", line 5: the time must not be before that of the line above"),
    "first of two": (
        GOOD + "1\t/dummy.php/?n=1\n4\t/dummy.php/?n=0\n",
        ", line 5: the time must not be before that of the line above",
    ),
}


@pytest.mark.parametrize(("text", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_file_names_line_and_expectation(path: Path, text: str, message: str) -> None:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    assert f"{path}{message}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 300


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n \t\n\n", "\r\n\r\n"])
def test_blank_lines_at_the_end_are_no_requests(path: Path, end: str) -> None:
    path.write_text(GOOD.rstrip("\n") + end, encoding="utf-8")
    assert len(read_trace(path)) == 3


def test_missing_file(path: Path) -> None:
    with pytest.raises(TraceError, match=r"trace\.csv: there is no such trace file"):
        read_trace(path)


def test_folder_instead_of_file(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read: Is a directory"):
        read_trace(tmp_path)


def test_binary_file(path: Path) -> None:
    path.write_bytes(b"\x80\x81\xff")
    with pytest.raises(TraceError, match="not a text file"):
        read_trace(path)


def test_trace_error_is_a_value_error() -> None:
    assert issubclass(TraceError, ValueError)


# The type


def test_trace_refuses_what_cannot_be_played() -> None:
    for times, sizes, reason in [
        ([], [], "at least one request"),
        ([1.0], [1.0, 2.0], "vectors of one length"),
        ([1.0, 0.5], [1.0, 1.0], "request 1: the time must not be before"),
        ([float("nan")], [1.0], "request 0: the time must be finite"),
        ([0.0, float("nan"), 1.0], [1.0, 1.0, 1.0], "request 1: the time must be finite"),
        ([-1.0], [1.0], "request 0: the time must be finite and not negative"),
        ([0.0], [0.0], "request 0: the size must be finite and positive"),
        ([0.0], [float("nan")], "request 0: the size must be finite and positive"),
    ]:
        with pytest.raises(ValueError, match=reason):
            trace_of(times, sizes)
    with pytest.raises(ValueError, match="kinds must be 0"):
        Trace(np.zeros(1), np.ones(1), np.array([2]))


# Writing


@given(
    gaps=st.lists(st.floats(0.0, 1e6, allow_nan=False), min_size=1, max_size=20),
    iterations=st.lists(st.integers(1, 10**12), min_size=20, max_size=20),
)
def test_round_trip_is_exact(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[float], iterations: list[int]
) -> None:
    path = tmp_path_factory.mktemp("round") / "trace.csv"
    trace = trace_of(
        np.cumsum(gaps).tolist(), (np.array(iterations[: len(gaps)], float) * SECONDS_PER_ITERATION).tolist()
    )
    write_trace(trace, path)
    again = read_trace(path)
    assert again.times.tolist() == trace.times.tolist()
    assert again.sizes.tolist() == trace.sizes.tolist()


def test_written_file_has_the_format_to_the_byte(path: Path) -> None:
    write_trace(trace_of([0.5, 2.0, 1e17], [0.2, 0.1, 1e-12]), path)
    assert path.read_bytes() == (
        b"time\tquery\n0.5\t/dummy.php/?n=3670000\n2.0\t/dummy.php/?n=1835000\n1e+17\t/dummy.php/?n=1\n"
    )
    assert len(read_trace(path)) == 3


def test_static_requests_cannot_be_written(path: Path) -> None:
    with pytest.raises(ValueError, match="static"):
        write_trace(Trace(np.zeros(1), np.ones(1), np.array([STATIC])), path)
    assert not path.exists()


# A trace of the testbed itself, which is not part of the project


@pytest.mark.skipif(not REAL.is_file(), reason="needs a trace of the testbed; name one in HYMARL_TRACE")
def test_trace_of_the_testbed() -> None:
    trace = read_trace(REAL)
    gaps = np.diff(trace.times)
    assert 0.0 <= trace.times[0] < 1.0
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.03)
    assert trace.sizes.mean() == pytest.approx(0.2, rel=0.02)
    assert trace.sizes.std() / trace.sizes.mean() == pytest.approx(1.0, abs=0.02)
    if REAL.name == REAL_NAME:
        assert len(trace) == 77_998
        assert len(trace) / trace.duration == pytest.approx(195.9, abs=0.05)
