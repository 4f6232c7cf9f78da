"""``hymarl-agent``: drives a load balancer that runs elsewhere."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ..envs.loadbalance.settings import Settings
from ..portable import PortablePolicy
from ..registry import ConfigError
from .haproxy import RequestLog, RuntimeApi, SiteError, lines_for_configuration
from .pilot import Limits, Pilot, Policy, drive
from .settings import exported_settings, settings_of

RULES, DEFAULT_ENV = ("latency", "pretrained"), "lb_haproxy"
"""Policies that are rules of an environment, and the one that is made for real load balancers."""

_DESCRIPTION = "Move the weights of a HAProxy that runs, from what its log and its statistics tell."
_EPILOG = """
HAProxy's frontend needs these lines, so that the agent sees its requests:

{lines}

and a stats socket of level admin. The agent begins with the weights that are set, sets them again when it ends or does
not see what happens, and never goes beyond its limits. It needs no torch.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script; returns its exit code: 0 after Ctrl-C or SIGTERM, 2 for a mistake, 1 for what went wrong."""
    given = _parser().parse_args(arguments)
    try:
        return _run(given)
    except (ConfigError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    except SiteError as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    lines = "\n".join(f"    {line}" for line in lines_for_configuration("127.0.0.1", 24200))
    parser = argparse.ArgumentParser(
        "hymarl-agent",
        description=_DESCRIPTION,
        epilog=_EPILOG.format(lines=lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--site", choices=["haproxy"], required=True, help="what is driven")
    add("--socket", required=True, help="its stats socket, of level admin")
    add("--backend", required=True, help="the backend whose weights move")
    add("--log", required=True, metavar="HOST:PORT", help="where to listen for its log (UDP)")
    add(
        "--policy",
        default="latency",
        help="latency or pretrained, or a directory that export=RUN has written",
    )
    add(
        "--env",
        help=f"environment whose settings latency and pretrained use ({DEFAULT_ENV}), with the time between decisions",
    )
    add("--dry-run", action="store_true", help="only say what would be set")
    add("--max-step", type=_factor, default=1.5, help="largest factor between a weight and the next (1.5)")
    add("--max-span", type=_factor, default=16.0, help="largest factor between a weight and the configured one (16)")
    add("--blind-after", type=float, default=10.0, metavar="S", help="seconds without news before it steps back (10)")
    add("--seconds", type=float, default=math.inf, help="end after so many seconds")
    return parser


def _factor(text: str) -> float:
    value = float(text)
    if not value >= 1.0:
        raise argparse.ArgumentTypeError(f"a factor is at least 1, got {text}")
    return value


def _run(given: argparse.Namespace) -> int:
    policy, settings = chosen(given.policy, given.env)
    host, _, port = given.log.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--log {given.log}: give an address and a port, such as 127.0.0.1:24200")
    limits = Limits(given.max_step, given.max_span, given.blind_after)
    api, log = RuntimeApi(given.socket, given.backend), RequestLog(host, int(port), given.backend)
    pilot = Pilot(api, log, settings, limits, given.dry_run, 1.0, time.time_ns() % 2**32, _say)
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda n, _: stopped.append(n))
    try:
        pilot.connect()
        _say(f"driving {given.backend}: {', '.join(f'{name} {w}' for name, w in pilot.weights.items())}")
        end = time.monotonic() + given.seconds
        drive([pilot], policy, settings.dt, lambda: bool(stopped) or time.monotonic() >= end, lambda _: True)
        pilot.restore()
        _say(f"saw {pilot.seen:,} requests; the configured weights are set")
    finally:
        log.close()
        api.close()
    return 0


def chosen(policy: str, env: str | None) -> tuple[Policy | None, Settings]:
    """What decides, None for a rule of the settings, and the settings of what is seen and done.

    Args:
        policy: ``latency``, ``pretrained``, or a directory that an export has written.
        env: option of the environment; an exported policy has its own.

    Raises:
        ConfigError: they do not fit together.
        ValueError: it is no exported policy.
    """
    if policy in RULES:
        return None, settings_of(env or DEFAULT_ENV, {"rule": policy})
    if env is not None:
        raise ConfigError(f"--env {env}: an exported policy has its own environment; leave it out")
    exported = PortablePolicy.load(Path(policy).expanduser())
    return exported, exported_settings(exported.about, policy)


def _say(text: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {text}", flush=True)
