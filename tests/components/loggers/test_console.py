import io
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from hymarl.components.loggers.base import Record, RunInfo
from hymarl.components.loggers.console import ConsoleLogger, Rate
from hymarl.components.terminal import substitute_what_cannot_be_shown

SHOW = ["metrics/return_mean", "evaluation/return_mean"]


def logger(run: RunInfo, **changes: Any) -> ConsoleLogger:
    return ConsoleLogger(run, **({"progress": "lines", "interval_s": 0.0, "show": SHOW} | changes))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [100.0]
    monkeypatch.setattr("hymarl.components.loggers.console.time.monotonic", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def test_lines_say_steps_rate_remaining_time_and_values(
    make_run: Callable[..., RunInfo], clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    console = logger(make_run(total_steps=1_000_000))
    console.log(Record("evaluation", 0, {"return_mean": 60.5}))
    clock(2.0)
    console.log(Record("metrics", 4000, {"return_mean": 61.25, "loss": 3.0}))
    assert capsys.readouterr().out.splitlines() == [
        "        0 steps   0%  - steps/s  eval return 60.5",
        "    4,000 steps   0%  2,000 steps/s  8:18 left  return 61.25  eval return 60.5",
    ]


def test_lines_are_no_closer_than_the_interval(
    make_run: Callable[..., RunInfo], clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    console = logger(make_run(), interval_s=10.0)
    for step in range(26):
        console.log(Record("metrics", step, {}))
        clock(1.0)
    steps = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert steps == ["0", "10", "20"]


def test_a_resumed_run_begins_where_the_earlier_part_ended(
    make_run: Callable[..., RunInfo], clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    console = logger(make_run(total_steps=20_000, resumed=True, step=6400))
    clock(2.0)
    console.log(Record("metrics", 8000, {}))
    clock(2.0)
    console.log(Record("metrics", 12_000, {}))
    console.finish("interrupted", None)
    assert capsys.readouterr().out.splitlines() == [
        " 8,000 steps  40%  - steps/s",
        "12,000 steps  60%  2,000 steps/s  0:04 left",
        "interrupted after 12,000 of 20,000 steps in 0:04",
    ]
    logger(make_run(total_steps=20_000, resumed=True, step=6400)).finish("interrupted", None)
    assert capsys.readouterr().out == "interrupted after 6,400 of 20,000 steps in 0:00\n"


def test_a_run_that_ends_beyond_what_was_asked_for_is_not_more_than_whole(
    make_run: Callable[..., RunInfo], capsys: pytest.CaptureFixture[str]
) -> None:
    logger(make_run(total_steps=1000)).log(Record("metrics", 4000, {}))
    assert capsys.readouterr().out.split() == ["4,000", "steps", "100%", "-", "steps/s"]


def test_a_value_that_the_run_does_not_have_is_named_with_the_closest_match(
    make_run: Callable[..., RunInfo], capsys: pytest.CaptureFixture[str]
) -> None:
    known = ("metrics/loss", "metrics/return_mean", "evaluation/return_mean")
    logger(make_run(columns=known), show=["metrics/retrun_mean", "nope", "metrics/loss"])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(
        "logger.console.show: this run has no 'metrics/retrun_mean'; did you mean 'metrics/return_mean'? "
    )
    assert second == (
        "logger.console.show: this run has no 'nope'; choose one of: "
        "evaluation/return_mean, metrics/loss, metrics/return_mean"
    )
    logger(make_run(columns=known))
    logger(make_run(), show=["nope"])  # which values there are is not known
    assert capsys.readouterr().out == ""


def test_an_unknown_value_does_not_replace_a_known_one(
    make_run: Callable[..., RunInfo], capsys: pytest.CaptureFixture[str]
) -> None:
    console = logger(make_run())
    for value in (1.0, float("nan")):
        console.log(Record("metrics", 1, {"return_mean": value}))
    assert capsys.readouterr().out.splitlines()[-1].endswith("return 1")


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        ("finished", None, "finished after 1,000 steps in 1:05  return 8"),
        ("failed", "worker 3 died", "failed after 1,000 of 2,000 steps in 1:05: worker 3 died  return 8"),
        ("interrupted", None, "interrupted after 1,000 of 2,000 steps in 1:05  return 8"),
    ],
)
@pytest.mark.parametrize("progress", ["lines", "none"])
def test_the_last_line_says_how_it_ended(
    make_run: Callable[..., RunInfo],
    clock: Callable[[float], None],
    capsys: pytest.CaptureFixture[str],
    status: Any,
    reason: str | None,
    expected: str,
    progress: str,
) -> None:
    console = logger(make_run(total_steps=2000), progress=progress)
    clock(65.0)
    console.log(Record("metrics", 1000, {"return_mean": 8.0}))
    console.finish(status, reason)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == expected
    assert len(lines) == (2 if progress == "lines" else 1)


def test_the_rate_is_that_of_the_last_minute() -> None:
    rate = Rate(0)
    assert rate.per_second is None
    for now in range(200):
        rate.add(float(now), 10 * now if now < 100 else 1000 + 30 * (now - 100))
        rate.add(now + 0.5, rate.step)
    assert rate.per_second == pytest.approx(30.0)


def open_terminal(monkeypatch: pytest.MonkeyPatch, kind: str = "xterm") -> Callable[[], str]:
    """Make standard output a terminal; returns a function that reads what was written to it."""
    leader, follower = os.openpty()
    os.set_blocking(leader, False)
    stream = io.TextIOWrapper(os.fdopen(follower, "wb", buffering=0), write_through=True)
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("TERM", kind)
    monkeypatch.setenv("COLUMNS", "100")

    def read() -> str:
        chunks = []
        while True:
            try:
                chunks.append(os.read(leader, 65536))
            except BlockingIOError:
                return b"".join(chunks).decode()

    return read


def test_a_terminal_gets_a_bar_with_messages_above_it_run_after_run(
    make_run: Callable[..., RunInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = open_terminal(monkeypatch)
    stdout, threads = sys.stdout, set(threading.enumerate())
    for name in ("a", "b"):
        console = logger(make_run(name), progress="auto")
        console.log(Record("evaluation", 500, {"return_mean": 7.0}))
        console.message("saved [bold]as it is[/bold] ± 1")
        print("printed by someone else")
        console.finish("finished", None)
        output = read()
        assert "━" in output
        assert "500/1,000" in output
        assert "- steps/s  eval return 7" in output
        assert "saved [bold]as it is[/bold] ± 1\r\n" in output
        assert "printed by someone else\r\n" in output
        assert output.endswith("finished after 500 steps in 0:00  eval return 7\r\n")
        assert sys.stdout is stdout
        for thread in set(threading.enumerate()) - threads:
            thread.join(10)  # told to end, by now or a moment later
            assert not thread.is_alive()


def test_the_bar_of_a_resumed_run_begins_where_the_earlier_part_ended(
    make_run: Callable[..., RunInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = open_terminal(monkeypatch)
    console = logger(make_run(step=500), progress="bar")
    console.message("resumed at step 500")
    console.finish("interrupted", None)
    output = read()
    assert "500/1,000" in output
    assert " 0/1,000" not in output


def test_a_bar_in_a_terminal_with_few_characters(
    make_run: Callable[..., RunInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = open_terminal(monkeypatch)
    sys.stdout.reconfigure(encoding="ascii")
    substitute_what_cannot_be_shown()
    console = logger(make_run(), progress="bar")
    console.message("7 ± 1 … done")
    console.log(Record("metrics", 500, {}))
    console.finish("finished", None)
    output = read()
    assert "7 +- 1 ... done\r\n" in output
    assert "500/1,000" in output


def test_no_bar_on_a_dumb_terminal(make_run: Callable[..., RunInfo], monkeypatch: pytest.MonkeyPatch) -> None:
    read = open_terminal(monkeypatch, "dumb")
    console = logger(make_run(), progress="auto")
    console.log(Record("metrics", 500, {}))
    assert read() == "  500 steps  50%  - steps/s\r\n"
