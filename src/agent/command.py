"""``hymarl-agent``: drives a load balancer that runs elsewhere."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from ..envs.loadbalance.settings import Settings
from ..portable import PortablePolicy
from ..registry import ConfigError
from .haproxy import HAProxy
from .pilot import Limits, Pilot, Policy, drive, listed
from .settings import exported_settings, settings_of
from .site import Option, Site, SiteError
from .vpp import Vpp

SITES: Mapping[str, type[Site]] = {"haproxy": HAProxy, "vpp": Vpp}
"""What can be driven."""

RULES, DEFAULT_ENV = ("latency", "pretrained"), "lb_haproxy"
"""Policies that are rules of an environment, and the one that is made for real load balancers."""

_DESCRIPTION = "Move the weights of a load balancer that runs, from what it tells of its requests."
_EPILOG = """
The agent begins with the weights that are set, sets them again when it ends or does not see what happens, and never
goes beyond its limits. It needs no torch.
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
    notes = [f"--site {name}: {site.notes.strip()}\n" for name, site in SITES.items()]
    parser = argparse.ArgumentParser(
        "hymarl-agent",
        description=_DESCRIPTION,
        epilog="\n".join([*notes, _EPILOG.strip()]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--site", choices=list(SITES), required=True, help="what is driven")
    for site, option in _site_options():
        add(option.name, metavar=option.metavar, help=f"{site}: {option.about}")
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


def _site_options() -> Sequence[tuple[str, Option]]:
    return [(name, option) for name, site in SITES.items() for option in site.options]


def _chosen_options(given: argparse.Namespace) -> Mapping[str, str]:
    """Values of the options of the chosen site.

    Raises:
        ConfigError: one is missing, or one is given that another site has.
    """
    own = SITES[given.site].options
    names, values = " and ".join(option.name for option in own), vars(given)
    for site, option in _site_options():
        if option not in own and values[option.key] is not None:
            raise ConfigError(f"{option.name} is for --site {site}; --site {given.site} needs {names}")
    for option in own:
        if values[option.key] is None:
            raise ConfigError(f"--site {given.site} needs {option.name}: {option.about}")
    return {option.key: values[option.key] for option in own}


def _run(given: argparse.Namespace) -> int:
    policy, settings = chosen(given.policy, given.env)
    limits = Limits(given.max_step, given.max_span, given.blind_after)
    site = SITES[given.site].opened(_chosen_options(given), given.dry_run)
    pilot = Pilot(site, settings, limits, given.dry_run, time.time_ns() % 2**32, _say)
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda n, _: stopped.append(n))
    try:
        pilot.connect()
        _say(f"driving {site.name}: {listed(pilot.weights)}")
        end = time.monotonic() + given.seconds
        drive([pilot], policy, settings.dt, lambda: bool(stopped) or time.monotonic() >= end, lambda _: True)
        pilot.restore()
        _say(f"saw {pilot.seen:,} requests; the configured weights are set")
    finally:
        site.close()
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
