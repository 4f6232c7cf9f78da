"""Which directories are runs."""

import pytest

from hymarl.app.runs import require_run
from hymarl.registry import ConfigError


@pytest.fixture
def results(tmp_path):
    """Seven runs, the first of which is the newest."""
    import os

    for n in range(7):
        run = tmp_path / "two_step" / "qmix" / f"run{n}"
        (run / "checkpoints").mkdir(parents=True)
        (run / "config.yaml").touch()
        (run / "checkpoints" / "best.pt").touch()
        os.utime(run / "config.yaml", (1000 - n, 1000 - n))
    return tmp_path


def test_a_run_is_a_run(results):
    assert require_run(results / "two_step" / "qmix" / "run0") is None  # does not raise


@pytest.mark.parametrize("folder", [".", "two_step", "two_step/qmix"])
def test_the_newest_runs_in_a_folder_are_named(results, folder):
    with pytest.raises(ConfigError) as caught:
        require_run(results / folder)
    names = ", ".join(str(results / "two_step" / "qmix" / f"run{n}") for n in range(5))
    expected = f"{results / folder} is not a run directory; the newest runs in it: {names} and 2 more"
    assert str(caught.value) == expected


@pytest.mark.parametrize("path", ["checkpoints", "checkpoints/best.pt"])
def test_the_run_that_something_is_of_is_named(results, path):
    run = results / "two_step" / "qmix" / "run3"
    with pytest.raises(ConfigError) as caught:
        require_run(run / path)
    assert str(caught.value) == f"{run / path} is not a run directory, but in one: {run}"


def test_a_folder_without_runs_is_none(tmp_path):
    with pytest.raises(ConfigError, match=r"is not a run directory: it has no config\.yaml"):
        require_run(tmp_path)
