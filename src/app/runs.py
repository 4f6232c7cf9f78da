"""Run directories: whether a path is one, and which ones are below it."""

from __future__ import annotations

from pathlib import Path

from ..registry import ConfigError

_FILE = "config.yaml"
_DEPTH, _SHOWN = 4, 5  # how far below a folder runs are looked for, and how many are named


def require_run(directory: Path) -> None:
    """Refuse a path that is not a run directory.

    Raises:
        ConfigError: there is no ``config.yaml`` of a run; names the runs that could be meant.
    """
    if (directory / _FILE).is_file():
        return
    if not directory.exists():
        raise ConfigError(f"{directory} is not a run directory: it does not exist")
    if (directory / "status.json").is_file() and not (directory / "metrics.csv").exists():
        raise ConfigError(f"{directory} has no {_FILE}: the run was ended before it began; start it anew elsewhere")
    above = [folder for folder in directory.parents if (folder / _FILE).is_file()]
    if above:
        raise ConfigError(f"{directory} is not a run directory, but in one: {above[0]}")
    runs = _below(directory)
    if not runs:
        raise ConfigError(f"{directory} is not a run directory: it has no {_FILE}")
    more = f" and {len(runs) - _SHOWN} more" if len(runs) > _SHOWN else ""
    raise ConfigError(
        f"{directory} is not a run directory; the newest runs in it: {', '.join(map(str, runs[:_SHOWN]))}{more}"
    )


def runs_in(directory: Path) -> list[Path]:
    """The directory itself if it is that of a run, else the runs below it, the newest first.

    Raises:
        ConfigError: there are none.
    """
    runs = [directory] if (directory / _FILE).is_file() else _below(directory) if directory.is_dir() else []
    if not runs:
        require_run(directory)
    return runs


def require_unused(directory: Path) -> None:
    """Refuse a directory that holds a run.

    Raises:
        ConfigError: it does.
    """
    if (directory / _FILE).exists():
        raise ConfigError(
            f"{directory} holds a run already: continue it with resume={directory}, or choose another directory"
        )


def _below(directory: Path) -> list[Path]:
    """The run directories in a folder, the newest first."""
    found: list[Path] = []
    level = [directory]
    for _ in range(_DEPTH):
        inside = [
            path
            for folder in level
            for path in folder.glob("*/")
            if not (path.name.startswith(".") or path.is_symlink())
        ]
        runs = [path for path in inside if (path / _FILE).is_file()]
        found += runs
        level = [path for path in inside if path not in runs]
    return sorted(found, key=lambda path: (path / _FILE).stat().st_mtime, reverse=True)
