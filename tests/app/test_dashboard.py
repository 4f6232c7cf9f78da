"""The dashboard of runs, without a network: what would be published."""

import json
import sys

import pytest

from hymarl.app.dashboard import DashboardSettings, publish
from hymarl.registry import ConfigError

pytest.importorskip("wandb_workspaces")


def settings(*runs, **changes):
    return DashboardSettings(
        **({"title": "ours", "project": "p", "entity": None} | changes), runs=[str(r) for r in runs]
    )


@pytest.fixture
def runs(tmp_path):
    """A folder with two runs that wandb recorded and one that it did not."""
    folder = tmp_path / "results"
    for i in range(3):
        run = folder / f"run{i}"
        run.mkdir(parents=True)
        (run / "config.yaml").touch()
        (run / "evaluations.csv").write_text("step,stream,episode,return,length,jct_mean,jain_tau,drops\n")
        (run / "metrics.csv").write_text("step,episodes,epsilon,td_error_abs,loss\n")
        if i < 2:
            (run / "logger_ids.txt").write_text(f"sacred 4\nwandb earlier\nwandb id{i}\n")
    return folder


@pytest.fixture(autouse=True)
def without_key(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_without_a_key_the_specification_is_written(runs, tmp_path):
    said = []
    path = publish(settings(runs, runs / "run0"), tmp_path / "out", said.append)
    assert path == tmp_path / "out" / "dashboard.json"
    assert said[0] == "1 of 3 runs are not in the dashboard: wandb did not record them"
    assert said[1].startswith("dashboard: not published, as there is no API key of wandb")
    assert str(path) in said[1]
    view = json.loads(path.read_text())
    assert (view["displayName"], view["project"]) == ("ours", "p")
    (run_set,) = view["spec"]["section"]["runSets"]
    (only,) = run_set["filters"]["filters"]
    assert (only["key"], sorted(only["value"])) == ({"section": "run", "name": "name"}, ["id0", "id1"])
    sections = {s["name"]: s["panels"] for s in view["spec"]["section"]["panelBankConfig"]["sections"]}
    charts = [panel["config"] for panel in sections["Results"][:3]]
    assert [(c["xAxis"], c["metrics"], c["groupBy"]) for c in charts] == [
        ("agents", [f"final/{name}"], "mixer.value") for name in ("return", "jct_mean", "jain_tau")
    ]
    assert "lower is better" in charts[1]["yAxisTitle"]
    training = [panel["config"]["metrics"] for panel in sections["Training"]]
    names = "metrics/loss", "metrics/td_error_abs", "metrics/epsilon", "timing/env_steps_per_s"
    assert training == [[name] for name in names]
    assert sections["Pictures"][0]["config"]["mediaKeys"] == ["learning_curve", "film"]


def test_offline_nothing_is_published_although_there_is_a_key(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "offline")
    said = []
    assert publish(settings(runs / "run0"), tmp_path, said.append) == tmp_path / "dashboard.json"
    assert "not published, as WANDB_MODE=offline" in said[0]


def test_runs_that_cannot_be_shown_are_refused(runs, tmp_path):
    with pytest.raises(ConfigError, match="none of these runs was recorded by wandb"):
        publish(settings(runs / "run2"), tmp_path, print)
    with pytest.raises(ConfigError, match="nowhere is not a run directory: it does not exist"):
        publish(settings(tmp_path / "nowhere"), tmp_path, print)


def test_without_the_package_it_says_what_to_install(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    with pytest.raises(ConfigError, match=r"pip install 'hymarl\[dashboard\]'"):
        publish(settings(runs), tmp_path, print)
