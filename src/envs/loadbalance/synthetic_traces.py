"""Synthetic request traces, in memory or as files for ``env.trace``.

``python -m hymarl.envs.loadbalance.synthetic_traces --help`` writes a file. It holds nothing but pseudo-random numbers,
and whoever makes one may treat it as public domain (CC0 1.0).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from .traces import DYNAMIC, Trace, write_trace

TraceKind = Literal["poisson", "longtail_day"]


def synthesize_trace(
    kind: TraceKind,
    rate: float,
    duration: float,
    seed: int,
    *,
    mean_size: float = 0.2,
    sigma: float = 1.5,
    swing: float = 0.6,
) -> Trace:
    """A random trace; equal arguments give equal traces.

    ``poisson`` has a constant rate and exponential sizes, as the testbed's own for-loop traces. ``longtail_day``
    squeezes a day and its night into ``duration``: the rate at time t is ``rate * (1 - swing * cos(2 pi t/duration))``,
    least at both ends and greatest in the middle, and sizes are log-normal, so that few jobs hold much of the work.

    Args:
        kind: which of the two.
        rate: mean number of requests per second.
        duration: seconds; the requests lie in [0, duration).
        seed: not negative.
        mean_size: mean size in CPU-seconds.
        sigma: ``longtail_day``: standard deviation of the logarithm of a size.
        swing: ``longtail_day``: how far the rate moves from its mean, in [0, 1].

    Raises:
        ValueError: a value out of range, or no request fell into the time.
    """
    for name, value in {"rate": rate, "duration": duration, "mean_size": mean_size}.items():
        if not 0.0 < value < float("inf"):
            raise ValueError(f"{name} must be positive and finite, got {value}")
    if not 0.0 <= sigma < float("inf") or not 0.0 <= swing <= 1.0 or seed < 0:
        raise ValueError(f"need sigma >= 0, 0 <= swing <= 1, seed >= 0; got {sigma}, {swing}, {seed}")
    if kind not in get_args(TraceKind):
        raise ValueError(f"kind must be one of {', '.join(get_args(TraceKind))}, got {kind!r}")
    day = kind == "longtail_day"
    random = np.random.default_rng(seed)
    # In a Poisson process the times, given their number, are independent and uniform. The day is one at its peak rate,
    # of which each request is kept with the probability that the time of day asks for.
    peak = 1.0 + swing if day else 1.0
    times = np.sort(random.random(random.poisson(rate * peak * duration))) * duration
    if day:
        relative_rate = 1.0 - swing * np.cos(2.0 * np.pi * times / duration)
        times = times[random.random(len(times)) * peak < relative_rate]
        sizes = random.lognormal(np.log(mean_size) - sigma**2 / 2.0, sigma, len(times))
    else:
        sizes = random.exponential(mean_size, len(times))
    return Trace(times, sizes, np.full(len(times), DYNAMIC, np.int64))


def main(arguments: list[str] | None = None) -> None:
    """Command line: write a synthetic trace and say what is in it."""
    parser = argparse.ArgumentParser(
        prog="python -m hymarl.envs.loadbalance.synthetic_traces",
        description="Write a synthetic request trace in the for-loop format of the MARLLB testbed.",
        epilog="The file holds nothing but pseudo-random numbers: treat it as public domain (CC0 1.0).",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("path", type=Path, help="file to write")
    parser.add_argument("--kind", choices=get_args(TraceKind), default="poisson", help="constant rate, or a day")
    parser.add_argument("--rate", type=float, default=200.0, help="mean requests per second")
    parser.add_argument("--duration", type=float, default=400.0, help="seconds")
    parser.add_argument("--seed", type=int, default=1, help="another number, another trace")
    parser.add_argument("--mean-size", type=float, default=0.2, help="mean job size in CPU-seconds")
    parser.add_argument("--sigma", type=float, default=1.5, help="spread of log-normal sizes (longtail_day)")
    parser.add_argument("--swing", type=float, default=0.6, help="how far the rate moves from its mean (longtail_day)")
    values = vars(parser.parse_args(arguments))
    path = values.pop("path")
    try:
        trace = synthesize_trace(**values)
        write_trace(trace, path)
    except (ValueError, OSError, MemoryError) as error:
        parser.error(str(error))
    print(f"{path}: {len(trace)} requests in {trace.duration:.1f} s, mean size {trace.sizes.mean():.4f} CPU-seconds")


if __name__ == "__main__":
    main()
