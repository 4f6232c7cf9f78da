"""Runs of PyMARL and EPyMARL: Sacred directories and TensorBoard event files."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from .runs import Run, Series, flat

_TEST = re.compile(r"test_(\w+)_mean")
_TOKEN = re.compile(r"(?P<algo>.+?)(_seed(?P<seed>\d+)_(?P<env>.+?))?_+(?P<date>\d{4}-\d\d-\d\d[_ ]\d\d[-:]\d\d[-:].+)")
"""How PyMARL (``qmix__2024-01-31_12-00-00``) and EPyMARL (``qmix_seed1_3m_2024-…``) name the folders of event files."""


def read_sacred_config(folder: Path) -> dict[str, Any]:
    """The configuration of a Sacred run; ``algo`` is PyMARL's ``name``, ``env`` the map or key where there is one.

    Raises:
        ValueError: it is damaged.
    """
    plain = _json(folder / "config.json")
    config = dict(flat(plain))
    maps = [config.get(key) for key in ("env_args.map_name", "env_args.key", "env_args.scenario_name")]
    named = {"algo": config.get("name"), "env": next((name for name in maps if name), config.get("env"))}
    return {**config, **{key: value for key, value in named.items() if value is not None}}


def read_sacred(folder: Path, config: Mapping[str, Any]) -> Run:
    """A Sacred run, whose test metrics are in ``metrics.json`` (EPyMARL) or ``info.json`` (PyMARL).

    ``test_<metric>_mean`` is the metric over training, as evaluated then.

    Raises:
        ValueError: a file is damaged, or there are no test metrics.
    """
    record = _json(folder / "run.json")
    metrics = _json(folder / "metrics.json") if (folder / "metrics.json").is_file() else {}
    series = {name: (m.get("steps"), m.get("values")) for name, m in metrics.items() if isinstance(m, dict)}
    if not any(_TEST.fullmatch(name) for name in series) and (folder / "info.json").is_file():
        info = _json(folder / "info.json")
        series = {name: (info[f"{name}_T"], values) for name, values in info.items() if f"{name}_T" in info}
    try:
        curves = {
            match[1]: _increasing(np.array(steps, np.float64), np.array(list(map(_number, values)), np.float64))
            for name, (steps, values) in series.items()
            if (match := _TEST.fullmatch(name)) and values and steps
        }
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{folder}: its test metrics are not lists of numbers as Sacred writes them") from error
    return _run(folder, config, curves, record.get("status") == "COMPLETED", _seconds(record))


def read_tensorboard_config(folder: Path) -> dict[str, Any]:
    """What the name of a folder of event files says: algorithm, and with EPyMARL seed and environment."""
    match = _TOKEN.fullmatch(folder.name)
    if not match:
        return {"algo": folder.name}
    seed = {"seed": int(match["seed"]), "env": match["env"]} if match["seed"] else {}
    return {"algo": match["algo"], **seed}


def read_tensorboard(folder: Path, config: Mapping[str, Any]) -> Run:
    """A run of which there are TensorBoard event files, with scalars named ``test_<metric>_mean``.

    Whether it finished, they do not say: it counts as finished.

    Raises:
        ValueError: there are no such scalars.
    """
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    log, damage = logging.getLogger("tensorboard"), _Damage()
    level, handlers, propagate = log.level, log.handlers, log.propagate
    log.setLevel(logging.DEBUG)  # the level at which it says that a file ends within a record; what is left is read
    log.handlers, log.propagate = [damage], False
    try:
        events = EventAccumulator(str(folder), {SCALARS: 0})
        events.Reload()
        scalars = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"] if _TEST.fullmatch(tag)}
    except Exception as error:  # its reader raises errors of many libraries for damaged files
        raise ValueError(f"{folder}: its event files cannot be read") from error
    finally:
        log.setLevel(level)
        log.handlers, log.propagate = handlers, propagate
    curves = {
        tag.removeprefix("test_").removesuffix("_mean"): _increasing(
            np.array([event.step for event in points], np.float64), np.array([event.value for event in points])
        )
        for tag, points in scalars.items()
    }
    times = [event.wall_time for points in scalars.values() for event in points]
    return _run(folder, config, curves, not damage.found, max(times) - min(times) if times else math.nan)


class _Damage(logging.Handler):
    """Notices that TensorBoard met a record that it could not read."""

    found = False

    def emit(self, record: logging.LogRecord) -> None:
        self.found |= record.levelno >= logging.WARNING or record.getMessage().startswith("Truncated record")


def _run(folder: Path, config: Mapping[str, Any], curves: dict[str, Series], finished: bool, wall_s: float) -> Run:
    curves = {name: series for name, series in curves.items() if len(series.steps)}
    if not curves:
        raise ValueError(f"{folder} has no metrics named test_…_mean, as PyMARL writes them")
    return Run(
        path=folder,
        config=config,
        finished=finished,
        curves=curves,
        tests={},
        metrics=tuple(curves),
        wall_s=wall_s,
        steps_per_s=max(float(series.steps[-1]) for series in curves.values()) / wall_s if wall_s else math.nan,
        doubt=None,
    )


def _increasing(steps: Any, values: Any) -> Series:
    """The points in the order of their steps, the last one of each step, without values that are no numbers."""
    if steps.shape != values.shape:
        raise ValueError("as many steps as values")
    last = {float(step): float(value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)}
    at = sorted(last)
    return Series(np.array(at), np.array([last[step] for step in at]))


def _number(value: Any) -> float:
    """A number as Sacred stores it: plain, or as NumPy's in a mapping."""
    return float(value["value"] if isinstance(value, dict) else value)


def _seconds(record: Mapping[str, Any]) -> float:
    """From the start to the end, or to the last sign of life."""
    end = record.get("stop_time") or record.get("heartbeat")
    try:
        return (datetime.fromisoformat(str(end)) - datetime.fromisoformat(str(record["start_time"]))).total_seconds()
    except (KeyError, ValueError, TypeError):
        return math.nan


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: it cannot be read") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it is no mapping")
    return content
