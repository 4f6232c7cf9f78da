import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hymarl.components.loggers.base import Record, Repository, Results, RunInfo
from hymarl.components.loggers.sacred import SacredLogger
from hymarl.registry import ConfigError


def logger(run: RunInfo, directory: Path, heartbeat_s: float = 1000.0) -> SacredLogger:
    files = {"observer": "file", "directory": str(directory), "database": "sacred", "timeout_s": 0.2}
    return SacredLogger(run, **files, heartbeat_s=heartbeat_s)


def content(directory: Path, name: str) -> Any:
    return json.loads((directory / name).read_text())


@pytest.fixture
def sacred_dir(tmp_path: Path) -> Path:
    return tmp_path / "results" / "sacred"


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        ("finished", None, "COMPLETED"),
        ("failed", "worker 3 died\nat step 7", "FAILED"),
        ("interrupted", None, "INTERRUPTED"),
    ],
)
def test_status_result_and_times(
    make_run: Callable[..., RunInfo], sacred_dir: Path, status: Any, reason: str | None, expected: str
) -> None:
    sacred = logger(make_run(), sacred_dir)
    assert content(sacred_dir / "1", "run.json")["status"] == "RUNNING"
    sacred.log(Record("evaluation", 100, {"return_mean": 7.5}))
    sacred.finish(status, reason)
    run = content(sacred_dir / "1", "run.json")
    assert run["status"] == expected
    assert run["result"] == 7.5
    assert run["start_time"] <= run["heartbeat"] <= run["stop_time"]
    assert run.get("fail_trace") == (["worker 3 died", "at step 7"] if status == "failed" else None)
    assert run["experiment"]["name"] == "matrix_game-qmix"
    assert any(text.startswith("torch==") for text in run["experiment"]["dependencies"])


def test_what_readers_of_sacred_want_is_there(
    make_run: Callable[..., RunInfo], sacred_dir: Path, results: Results
) -> None:
    run = make_run(labels={"mixer": "vdn", "agents": 8}, repository=Repository("https://host/x", "abc", True))
    (run.directory / "train.log").write_text("of an earlier part\n")
    sacred = logger(run, sacred_dir)
    with (run.directory / "train.log").open("a") as log:
        log.write("algorithm  vdn\n")
    sacred.conclude(results)
    sacred.finish("finished", None)
    entry, names = content(sacred_dir / "1", "run.json"), [path.name for path in results.files.values()]
    assert entry["experiment"]["repositories"] == [{"url": "https://host/x", "commit": "abc", "dirty": True}]
    assert entry["artifacts"] == names
    assert all((sacred_dir / "1" / p.name).read_bytes() == p.read_bytes() for p in results.files.values())
    assert (sacred_dir / "1" / "cout.txt").read_text() == "algorithm  vdn\n"
    assert content(sacred_dir / "1", "config.json").items() >= {"mixer": "vdn", "agents": 8}.items()
    assert content(sacred_dir / "1", "info.json")["results"] == results.numbers
    assert content(sacred_dir / "1", "metrics.json") == {}  # without the file, Incense refuses the run


def test_a_database_that_does_not_answer_is_named_without_its_address(
    make_run: Callable[..., RunInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pymongo")
    monkeypatch.setenv("SACRED_MONGO_URL", "mongodb://me:secret@127.0.0.1:9")
    mongo = {"observer": "mongo", "directory": "x", "database": "sacred", "timeout_s": 0.1, "heartbeat_s": 1.0}
    with pytest.raises(ConfigError, match="does not answer at the address in SACRED_MONGO_URL") as told:
        SacredLogger(make_run(), **mongo)
    assert "secret" not in str(told.value)


def test_metrics_are_plain_numbers_in_order(make_run: Callable[..., RunInfo], sacred_dir: Path) -> None:
    import numpy as np
    import torch

    sacred = logger(make_run(), sacred_dir, heartbeat_s=0.0)
    values = [np.float32(0.5), torch.tensor(0.25), 1, np.float64(2.0)]
    for i, value in enumerate(values):
        sacred._due = 0.0  # a heartbeat per record: what is there must be kept
        sacred.log(Record("metrics", np.int64(i * 100), {"loss": value}))
    sacred.log(Record("timing", 300, {"env_steps_per_s": 10.0}))
    sacred.finish("finished", None)
    metrics = content(sacred_dir / "1", "metrics.json")
    assert metrics["metrics/loss"]["values"] == [0.5, 0.25, 1.0, 2.0]
    assert metrics["metrics/loss"]["steps"] == [0, 100, 200, 300]
    assert len(metrics["metrics/loss"]["timestamps"]) == 4
    assert metrics["timing/env_steps_per_s"]["values"] == [10.0]
    assert "py/" not in json.dumps(metrics)


def test_metrics_are_on_disk_after_the_heartbeat_interval(make_run: Callable[..., RunInfo], sacred_dir: Path) -> None:
    sacred = logger(make_run(), sacred_dir)
    sacred.log(Record("metrics", 1, {"loss": 1.0}))
    assert not (sacred_dir / "1" / "metrics.json").exists()
    sacred._due = 0.0
    sacred.log(Record("metrics", 2, {"loss": 2.0}))
    assert content(sacred_dir / "1", "metrics.json")["metrics/loss"]["values"] == [1.0, 2.0]


def test_heartbeats_that_take_long_become_rare(
    make_run: Callable[..., RunInfo], sacred_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sacred = logger(make_run(), sacred_dir, heartbeat_s=1.0)
    now = iter([0.0, 4.0])
    monkeypatch.setattr("hymarl.components.loggers.sacred.time.monotonic", lambda: next(now))
    sacred._heartbeat()
    assert sacred._due == 4.0 + 4.0 / 0.02


def test_config_keys_are_made_safe_and_nothing_is_lost(make_run: Callable[..., RunInfo], sacred_dir: Path) -> None:
    shared = [1, 2]
    config = {"a.b": {"$ref": 1, "50%": None}, "list": [{"x.y": (1, 2)}], 3: "three", "s": shared, "t": shared}
    logger(make_run(config=config), sacred_dir).finish("finished", None)
    assert content(sacred_dir / "1", "config.json") == {
        "a%2Eb": {"%24ref": 1, "50%25": None},
        "list": [{"x%2Ey": [1, 2]}],
        "3": "three",
        "s": [1, 2],
        "t": [1, 2],
    }


def test_every_run_has_its_own_id_and_a_resumed_one_knows_the_earlier(
    make_run: Callable[..., RunInfo], sacred_dir: Path
) -> None:
    runs = [make_run("a"), make_run("b"), make_run("a", resumed=True), make_run("a", resumed=True)]
    for run in runs:
        sacred = logger(run, sacred_dir)
        sacred.log(Record("metrics", 1, {"loss": 1.0}))
        sacred.finish("finished", None)
    infos = [content(sacred_dir / str(i), "info.json") for i in (1, 2, 3, 4)]
    assert [info["resumed_from"] for info in infos] == [None, None, "1", "3"]
    assert infos[1]["run_directory"] == str(runs[1].directory)
    assert infos[1]["tags"] == ["qmix", "matrix_game"]
    assert all(content(sacred_dir / str(i), "metrics.json")["metrics/loss"]["steps"] == [1] for i in (1, 2, 3, 4))


def test_ids_do_not_collide_when_many_runs_start_at_once(make_run: Callable[..., RunInfo], sacred_dir: Path) -> None:
    runs = [make_run(f"run{i}") for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        for sacred in pool.map(lambda run: logger(run, sacred_dir), runs):
            sacred.finish("finished", None)
    names = [content(sacred_dir / str(i), "info.json")["name"] for i in range(1, 25)]
    assert sorted(names) == sorted(run.name for run in runs)


def test_global_generators_and_output_are_left_alone(
    make_run: Callable[..., RunInfo],
    sacred_dir: Path,
    unchanged_randomness: Callable[[], Any],
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    with unchanged_randomness():
        sacred = logger(make_run(config={"seed": 1}), sacred_dir)
        sacred.log(Record("metrics", 1, {"loss": 1.0}))
        print("to be seen")
        sacred.finish("finished", None)
    assert capfd.readouterr().out == "to be seen\n"
    assert content(sacred_dir / "1", "config.json") == {"seed": 1}
    assert not recwarn.list


def test_a_relative_directory_is_the_one_where_the_run_began(
    make_run: Callable[..., RunInfo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    sacred = logger(make_run(), Path("results/sacred"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    sacred.log(Record("metrics", 100, {"loss": 1.0}))
    sacred.finish("finished", None)
    assert content(tmp_path / "results" / "sacred" / "1", "run.json")["status"] == "COMPLETED"
    assert "metrics/loss" in content(tmp_path / "results" / "sacred" / "1", "metrics.json")
    assert list((tmp_path / "elsewhere").iterdir()) == []
