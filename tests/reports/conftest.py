"""Run directories, written by hand: those of this program and those of PyMARL and EPyMARL."""

import csv
import json
from types import SimpleNamespace

import pytest
import yaml

from hymarl.components.files import checksum
from hymarl.reports.report import make
from hymarl.reports.settings import ReportSettings

_CURVE = ((0, (1.0, 3.0)), (100, (4.0, 6.0)), (200, (8.0, 10.0)))  # steps, returns of the episodes


@pytest.fixture(scope="session")
def write_run():
    """``write_run(folder, seed=1, mixer="vdn", agents=4, curve=…, tests=…, total_steps=7, **plain)``: a finished run.

    Its ``jct_mean`` is 100 minus the return. ``tests={}``: it has no test.
    """

    def write(
        folder, *, seed=1, mixer="qmix", agents=2, env="board", curve=_CURVE, tests=None, status="finished", **more
    ):
        folder.mkdir(parents=True)
        train = {"total_steps": more.pop("total_steps", 200)}
        components = {
            "env": {"option": env, "name": env, "settings": {"size": 3}},
            "mixer": {"option": mixer, "name": mixer, "settings": {"embed_dim": 32} if mixer == "qmix" else {}},
            "learner": {"option": "q", "name": "q", "settings": {"gamma": more.pop("gamma", 0.99)}},
        }
        plain = {"format": 2, "algo": mixer, "agents": agents, "seed": seed, "device": "cpu", "threads": 1, **more}
        text = yaml.safe_dump({**plain, "components": components, "train": train})
        (folder / "config.yaml").write_text(f"{text}# checksum: {checksum(text.encode())}\n")
        (folder / "status.json").write_text(json.dumps({"status": status, "reason": None}))
        (folder / "protocol.json").write_text(json.dumps({"header": {"agents": agents or 3}}))
        rows = [(s, i, r) for s, returns in curve for i, r in enumerate(returns)]
        lines = [f"{step},validation,{i},{ret},10,{100 - ret}" for step, i, ret in rows]
        (folder / "evaluations.csv").write_text("\n".join(["step,stream,episode,return,length,jct_mean", *lines, ""]))
        policies = {"learned": curve[-1][1], "sed": (5.0, 5.0)} if tests is None else tests
        lines = [f"{p},200,test,{i},{r},10,{100 - r}" for p, returns in policies.items() for i, r in enumerate(returns)]
        header = "policy,step,stream,episode,return,length,jct_mean"
        if policies:
            (folder / "comparison.csv").write_text("\n".join([header, *lines, ""]))
        (folder / "timing.csv").write_text("step,env_steps_per_s,wall_s\n100,10.0,10.0\n150,50.0,1.0\n200,25.0,2.0\n")
        return folder

    return write


@pytest.fixture(scope="session")
def write_sacred():
    """``write_sacred(folder, seed=1, epymarl=True)``: QMIX on 3m, as PyMARL or EPyMARL leave it."""

    def write(folder, *, seed=1, epymarl, values=(1.0, 5.0, 9.0), status="COMPLETED"):
        folder.mkdir(parents=True)
        config = {"name": "qmix", "mixer": "qmix", "gamma": 0.99, "env": "sc2", "env_args": {"map_name": "3m"}}
        config |= {"seed": seed, "use_cuda": seed == 1, "agents": None}
        (folder / "config.json").write_text(json.dumps(config))
        times = {"start_time": "2026-01-01T10:00:00", "stop_time": "2026-01-01T10:01:40", "status": status}
        (folder / "run.json").write_text(json.dumps(times))
        steps = [0, 100, 200]
        numpy = [{"dtype": "float64", "py/object": "numpy.float64", "value": v} for v in values]
        info = {"test_return_mean": numpy, "test_return_mean_T": steps, "loss": [0.1], "loss_T": [7]}
        metrics = {"test_return_mean": {"steps": steps, "values": list(values), "timestamps": ["", "", ""]}}
        (folder / "info.json").write_text(json.dumps({} if epymarl else info))
        (folder / "metrics.json").write_text(json.dumps(metrics if epymarl else {}))
        return folder

    return write


@pytest.fixture(scope="session")
def settings():
    """``settings(path, …, by=["mixer"])``: the settings of a report on these runs, small and quick."""

    def make(*runs, **changes):
        values = {
            "runs": [*map(str, runs)],
            "by": [],
            "where": None,
            "unfinished": False,
            "metrics": ["return", "jct_mean"],
            "lower_is_better": ["jct_mean"],
            "final": None,
            "levels": [],
            "baseline": "sed",
            "normalize": "range",
            "samples": 200,
            "seed": 0,
            "formats": ["csv"],
        }
        assert set(changes) <= set(values)
        return ReportSettings(**values | changes)

    return make


@pytest.fixture
def report(tmp_path, settings):
    """``report(path, …, by=["mixer"])``: a report on these runs, its ``notes``, ``text``, ``files``, and its tables.

    ``table("final")`` has its rows as mappings. It is written into ``out`` below the test's directory.
    """

    def write(*runs, **changes):
        shown = []
        made = make(settings(*runs, **changes), tmp_path / "out", shown.append)
        assert not any("\n" in text for text in (*shown, *made.notes))

        def table(name):
            with (tmp_path / "out" / "tables" / f"{name}.csv").open(encoding="utf-8") as file:
                return list(csv.DictReader(file))

        return SimpleNamespace(**made._asdict(), table=table, shown=shown, note="\n".join(made.notes))

    return write
