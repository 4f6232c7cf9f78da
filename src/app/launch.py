"""Run one job: decide between checking, training, resuming and evaluating, and do it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from hydra.conf import HydraConf
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ..components.compiled import announced_compilation
from ..components.threads import available_cores
from ..ranges import absolute
from ..registry import ConfigError
from ..reports.settings import ReportSettings
from .changes import allow, episodes_to_test, evaluated, exported, require_what_sections_are_about, resumed
from .check import check
from .config import RunConfig, read, read_section
from .dashboard import DashboardSettings, publish
from .evaluate import Subject, learned, measure, scripted
from .export import export
from .jobs import STOP, is_job, is_quiet, stop_file
from .render import Medium
from .runs import require_run, require_unused
from .sweep import continued
from .testbed import TestbedSettings, play
from .train import SHARED, Output, train

_WHEN_CHECKING = frozenset({"check", "env", "agents", "joint"})


@announced_compilation()
def launch(cfg: DictConfig, job: HydraConf) -> None:
    """Run one composed configuration in its output directory.

    Raises:
        ConfigError: a mistake, in one sentence.
    """
    overrides = OmegaConf.to_container(job.overrides.task, resolve=False)  # with ${…} as typed
    assert isinstance(overrides, list)
    path, here = Path(job.runtime.output_dir), Path(job.runtime.cwd)
    require_what_sections_are_about(cfg, overrides, sweep=job.mode is RunMode.MULTIRUN)
    overrides = [override for override in overrides if not override.startswith("sweep.")]
    if _about_no_run(cfg, overrides, path, here):
        return
    stop = stop_file(job) if is_job(job) else None
    if stop is not None and stop.exists():
        raise KeyboardInterrupt
    own = path / STOP
    if stop is not None and own.exists():  # its trial has ended before it began
        return
    config, film = read(cfg, job.runtime.choices, overrides, here), cfg.render == "gif"
    if _plays_nothing(cfg, config, overrides, path, here):
        return
    if cfg.resume is not None:
        source = _source(cfg.resume, here)
        _require_film(cfg.render)
        run = train(resumed(source, config, overrides), source, resume=True, jobs=_jobs(job), film=film)
        if run.tested is None:
            print(
                f"{source} is finished, there is nothing to do; to train on, raise train.total_steps above {run.step}"
            )
        return
    if cfg.evaluate is None and not config.learns:
        config = episodes_to_test(config, overrides)
    earlier = continued(path, config) if stop is not None else None
    if earlier is None:
        require_unused(path)
    if cfg.evaluate is not None:
        source = _source(cfg.evaluate, here)
        config = evaluated(source, config, overrides)
        _evaluate(config, learned(config, source), path, cfg.render)
    elif not config.learns:
        show = (lambda _: None) if is_quiet(job) else print
        _evaluate(config, scripted(config), path, cfg.render, show)
    else:
        _require_film(cfg.render)
        stops = [lambda _: stop.exists() or own.exists()] if stop is not None else []
        train(
            earlier or config,
            path,
            resume=earlier is not None,
            jobs=_jobs(job),
            film=film,
            callbacks=stops,
            output=Output() if stop is None else SHARED,
        )


def _plays_nothing(cfg: DictConfig, config: RunConfig, overrides: list[str], path: Path, here: Path) -> bool:
    """Check an environment or export a policy if that is asked for; whether it was."""
    if cfg.check:
        allow(_WHEN_CHECKING, overrides, "check=true looks at an environment alone")
        check(config)
    elif cfg.export is not None:
        source = _source(cfg.export, here)
        export(source, path, *exported(source, config, overrides))
    return bool(cfg.check) or cfg.export is not None


def _about_no_run(cfg: DictConfig, overrides: Sequence[str], path: Path, here: Path) -> bool:
    """Make a report or dashboard, or play on the testbed, if that is asked for; returns whether it was."""
    for name, command in (("report", _report), ("dashboard", _dashboard)):
        if cfg[name].runs:
            allow(frozenset({name}), overrides, f"{name}.runs is about runs that there are")
            command(cfg, path)
            return True
    if cfg.testbed.policy is None:
        return False
    allow(frozenset({"testbed"}), overrides, "testbed.policy plays on real proxies")
    print(play(read_section(cfg, "testbed", TestbedSettings, here), path, here, partial(print, flush=True)))
    return True


def _report(cfg: DictConfig, path: Path) -> None:
    from ..reports.report import make

    report = make(read_section(cfg, "report", ReportSettings, Path.cwd()), path, partial(print, flush=True))
    print(report.text, *report.notes, f"report: {path}", sep="\n")


def _dashboard(cfg: DictConfig, path: Path) -> None:
    publish(read_section(cfg, "dashboard", DashboardSettings), path, partial(print, flush=True))


def _require_film(medium: Medium | None) -> None:
    """Refuse to show in the terminal what a training run does: it writes a film at its end, or nothing."""
    if medium == "terminal":
        raise ConfigError(
            "render=terminal shows an evaluated policy; say which: evaluate=<run directory>, or policy=random; a run "
            "that trains can make a film of its test: render=gif"
        )


def _evaluate(
    config: RunConfig, subject: Subject, path: Path, medium: Medium | None, show: Callable[[str], object] = print
) -> None:
    show(f"{measure(config, subject, path, medium).text()}\nresults: {path}")


def _source(given: str, here: Path) -> Path:
    """The directory of an earlier run."""
    source = Path(absolute(str(given), here))
    require_run(source)
    return source


def _jobs(job: HydraConf) -> int:
    """How many jobs of a sweep share the cores of this machine, as its launcher says; one if it does not say."""
    if job.mode is not RunMode.MULTIRUN:
        return 1
    if "n_jobs" in job.launcher:
        return int(job.launcher.n_jobs) if job.launcher.n_jobs > 0 else available_cores()
    cores = job.launcher.get("cpus_per_task")  # of submitit
    if "ray" in job.launcher:
        cores = OmegaConf.select(job.launcher, "ray.remote.num_cpus") or 1
    return max(1, available_cores() // int(cores)) if cores else 1
