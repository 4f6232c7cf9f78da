"""Request traces: reading and writing the for-loop format of the MARLLB testbed.

A trace file has a header and one request a line, tab-separated::

    time<TAB>query
    0.11177174798310968<TAB>/dummy.php/?n=5478122

``time`` is in seconds and never decreases; the server runs an empty loop of ``n`` iterations, so ``n`` times the
seconds per iteration is the job's size. The testbed's other format, ``time url`` with a space and pages of a wiki, does
not say how long a page takes; it is recognized and refused.

`hymarl.envs.loadbalance.synthetic_traces` makes traces of this format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DYNAMIC, STATIC = 0, 1
"""Kinds of request: computed for the request (a loop, a page of a wiki), or a file."""

SECONDS_PER_ITERATION = 0.2 / 3.67e6
"""The testbed's traces have 3.67e6 iterations on average and its paper a mean job size of 200 ms."""

_HEADER = "time\tquery"
_QUERY = "/dummy.php/?n="
_NUMBER = re.compile(r"[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?")
_LINE = re.compile(rf"({_NUMBER.pattern})\t{re.escape(_QUERY)}([0-9]+)")
_WIKI = (
    "this is the wiki format ('time url'), which does not say how much work a request is and so cannot be played; "
    f"only the for-loop format is supported, with the header {_HEADER!r}"
)


class TraceError(ValueError):
    """A trace file that cannot be used: names the file, the line and what was expected."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Requests in the order of their arrival.

    Attributes:
        times: ``[n]`` float64, seconds, not negative and never decreasing; the first need not be 0.
        sizes: ``[n]`` float64, CPU-seconds at nominal speed, positive.
        kinds: ``[n]`` int64, `DYNAMIC` or `STATIC`.

    Raises:
        ValueError: no requests, arrays of different lengths, or numbers that break the rules above.
    """

    times: NDArray[np.float64]
    sizes: NDArray[np.float64]
    kinds: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.times.ndim != 1 or not self.times.shape == self.sizes.shape == self.kinds.shape:
            shapes = f"{self.times.shape}, {self.sizes.shape} and {self.kinds.shape}"
            raise ValueError(f"times, sizes and kinds must be vectors of one length, got {shapes}")
        if not len(self.times):
            raise ValueError("a trace must have at least one request")
        if not np.isin(self.kinds, (DYNAMIC, STATIC)).all():
            raise ValueError(f"kinds must be {DYNAMIC} (dynamic) or {STATIC} (static)")
        if problem := _first_problem(self.times, self.sizes):
            index, reason = problem
            raise ValueError(f"request {index}: {reason}")

    def __len__(self) -> int:
        return len(self.times)

    @property
    def duration(self) -> float:
        """Seconds from the first to the last request."""
        return float(self.times[-1] - self.times[0])


def read_trace(path: str | Path, *, seconds_per_iteration: float = SECONDS_PER_ITERATION) -> Trace:
    """Read a for-loop trace of the MARLLB testbed; all its requests are dynamic.

    Args:
        path: the file.
        seconds_per_iteration: CPU-seconds that one iteration of the loop takes at nominal speed.

    Raises:
        TraceError: the file is missing or unreadable, is empty, has another format, or a line is malformed, goes back
            in time or has a number out of range.
        ValueError: `seconds_per_iteration` is not positive and finite.
    """
    if not 0.0 < seconds_per_iteration < float("inf"):
        raise ValueError(f"seconds_per_iteration must be positive and finite, got {seconds_per_iteration}")
    lines = _read_lines(path)
    matches = [_LINE.fullmatch(line) for line in lines]
    if None in matches:
        index = matches.index(None)
        raise TraceError(f"{path}, line {index + 2}: {_explain(lines[index])}")
    # Not int(): an absurdly long number must become infinite and be refused below.
    times = np.array([float(m[1]) for m in matches if m])
    sizes = np.array([float(m[2]) for m in matches if m]) * seconds_per_iteration
    if problem := _first_problem(times, sizes):
        index, reason = problem
        raise TraceError(f"{path}, line {index + 2}: {reason}; found {_shown(lines[index])}")
    return Trace(times, sizes, np.full(len(times), DYNAMIC, np.int64))


def write_trace(trace: Trace, path: str | Path, *, seconds_per_iteration: float = SECONDS_PER_ITERATION) -> None:
    """Write a trace in the for-loop format: times exactly, sizes as the nearest number of iterations, at least one.

    Raises:
        ValueError: the trace has static requests, which the format cannot express.
    """
    if (trace.kinds != DYNAMIC).any():
        raise ValueError("the for-loop format has only dynamic requests, this trace also has static ones")
    iterations = np.maximum(np.rint(trace.sizes / seconds_per_iteration), 1.0)
    rows = zip(trace.times.tolist(), iterations.tolist(), strict=True)
    text = "\n".join([_HEADER, *(f"{time!r}\t{_QUERY}{n:.0f}" for time, n in rows), ""])
    Path(path).write_text(text, encoding="utf-8", newline="\n")


def _read_lines(path: str | Path) -> list[str]:
    """The lines after the header, whatever they hold."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise TraceError(f"{path}: there is no such trace file") from error
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TraceError(
            f"{path}: not a text file; expected tab-separated lines under the header {_HEADER!r}"
        ) from error
    header, *lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if header.split() == ["time", "url"]:
        raise TraceError(f"{path}, line 1: {_WIKI}")
    if header != _HEADER:
        raise TraceError(f"{path}, line 1: expected the header {_HEADER!r} (with a tab), found {_shown(header)}")
    if not lines:
        raise TraceError(f"{path}, line 2: expected a request, found the end of the file")
    return lines


def _first_problem(times: NDArray[np.float64], sizes: NDArray[np.float64]) -> tuple[int, str] | None:
    """Index of the first request that breaks a rule of `Trace`, and the rule."""
    rules = [
        (np.isfinite(times) & (times >= 0.0), "the time must be finite and not negative"),
        (np.diff(times, prepend=times[:1]) >= 0.0, "the time must not be before that of the line above"),
        (np.isfinite(sizes) & (sizes > 0.0), "the size must be finite and positive"),
    ]
    broken = [(int(np.argmin(holds)), reason) for holds, reason in rules if not holds.all()]
    return min(broken, key=lambda problem: problem[0]) if broken else None


def _explain(line: str) -> str:
    """What is wrong with a line that does not have the form of a request."""
    time, tab, query = line.partition("\t")
    if "/wiki/index.php/" in line:
        return _WIKI
    if not tab:
        return f"expected 'time<TAB>{_QUERY}<iterations>', found {_shown(line)}"
    if not _NUMBER.fullmatch(time):
        return f"expected seconds, a number not below 0, found {_shown(time)}"
    return f"expected '{_QUERY}<iterations>' with a whole number above 0, found {_shown(query)}"


def _shown(text: str) -> str:
    """Text as it appears in a message: quoted, and short even if the file is one huge line."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
