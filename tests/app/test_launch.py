"""What a job of a sweep knows of the others."""

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from hymarl.app import launch


@pytest.mark.parametrize(
    ("mode", "launcher", "jobs"),
    [
        (RunMode.RUN, {"n_jobs": 4}, 1),
        (RunMode.MULTIRUN, {"_target_": "basic"}, 1),
        (RunMode.MULTIRUN, {"n_jobs": 4}, 4),
        (RunMode.MULTIRUN, {"n_jobs": -1}, 16),  # joblib: as many as there are cores
        (RunMode.MULTIRUN, {"cpus_per_task": 2}, 8),  # submitit
        (RunMode.MULTIRUN, {"ray": {"init": {}, "remote": {}}}, 16),
        (RunMode.MULTIRUN, {"ray": {"init": {}, "remote": {"num_cpus": 4}}}, 4),
    ],
)
def test_jobs_that_run_at_the_same_time_share_the_cores(monkeypatch, mode, launcher, jobs):
    monkeypatch.setattr(launch, "available_cores", lambda: 16)
    assert launch._jobs(OmegaConf.create({"mode": mode, "launcher": launcher})) == jobs
