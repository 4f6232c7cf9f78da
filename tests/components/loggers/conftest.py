"""What the logger tests share: a run to log, and randomness to leave alone."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hymarl.components.loggers.base import Results, RunInfo


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunInfo]:
    def make(name: str = "run", **changes: Any) -> RunInfo:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        run = {
            "directory": directory,
            "name": name,
            "group": "matrix_game-qmix",
            "tags": ("qmix", "matrix_game"),
            "config": {"seed": 1, "mixer": {"name": "qmix", "embed_dim": 32}, "agents": None},
            "total_steps": 1000,
            "resumed": False,
        }
        return RunInfo(**(run | changes))

    return make


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """What a run has found, with real files."""
    from PIL import Image

    files = {"config": tmp_path / "config.yaml", "comparison": tmp_path / "comparison.txt"}
    for path in files.values():
        path.write_text(f"content of {path.name}\n")
    files |= {"learning_curve": tmp_path / "learning_curve.png", "film": tmp_path / "film.gif"}
    for name in ("learning_curve", "film"):
        Image.new("RGB", (6, 4), "red").save(files[name])
    numbers = {"final/return": 70.0, "reference/sed/return": 35.0, "ratio/sed/return": 2.0}
    return Results(200, numbers, "policy  return\nlearned     70", files)


@pytest.fixture
def unchanged_randomness() -> Callable[[], Any]:
    """A context that fails if any global generator was used, seeded or replaced inside."""

    def states() -> tuple[Any, bytes, bytes]:
        numpy_state = np.random.get_state()[1].tobytes()  # noqa: NPY002  # what a library might disturb
        return random.getstate(), numpy_state, torch.get_rng_state().numpy().tobytes()

    @contextmanager
    def check() -> Iterator[None]:
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002
        torch.manual_seed(5)
        before = states()
        yield
        assert states() == before

    return check
