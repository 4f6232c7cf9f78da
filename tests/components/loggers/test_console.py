import io
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from hymarl.components.loggers.base import Record, RunInfo
from hymarl.components.loggers.console import ConsoleLogger, _Rate

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
    rate = _Rate()
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


def test_no_bar_on_a_dumb_terminal(make_run: Callable[..., RunInfo], monkeypatch: pytest.MonkeyPatch) -> None:
    read = open_terminal(monkeypatch, "dumb")
    console = logger(make_run(), progress="auto")
    console.log(Record("metrics", 500, {}))
    assert read() == "  500 steps  50%  - steps/s\r\n"
