import json
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hymarl.components.loggers.base import Record, Results, RunInfo, remember_id
from hymarl.components.loggers.wandb import WandbLogger
from hymarl.training.run_directory import refuse_links

SETTINGS: dict[str, Any] = {
    "mode": "offline",
    "project": "project",
    "entity": None,
    "init_timeout_s": 10.0,
    "finish_timeout_s": 5.0,
}


def records(path: Path) -> Iterator[Any]:
    """The records of a ``.wandb`` file: a 7-byte header, then LevelDB's log format in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record as WandbRecord

    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a full record or the last part of one
            record = WandbRecord()
            record.ParseFromString(parts)
            parts = b""
            yield record


def recorded(run: RunInfo, wandb_id: str) -> list[Any]:
    """All records of a finished wandb run; its last ones reach the disk some milliseconds after ``finish``."""
    (path,) = (run.directory / "wandb").glob(f"offline-run-*-{wandb_id}/*.wandb")
    deadline = time.monotonic() + 20
    while not any(record.HasField("exit") for record in records(path)):
        assert time.monotonic() < deadline, "the run was not finished"
        time.sleep(0.02)
    return list(records(path))


def config(found: list[Any]) -> dict[str, Any]:
    return {item.key: json.loads(item.value_json) for r in found for item in r.run.config.update}


@pytest.fixture(autouse=True)
def private_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home"))


SECRET = "0123456789abcdef" * 2 + "01234567"


def leaked(folder: Path) -> list[Path]:
    """The files with the secret in them."""
    return [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_two_runs_in_one_process_share_nothing_and_tell_no_secret(
    make_run: Callable[..., RunInfo],
    unchanged_randomness: Callable[[], Any],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import wandb

    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("WANDB_RUN_ID", "of-another-job")
    runs = [make_run("a"), make_run("b", group="other", tags=("vdn", "", "x" * 100))]
    hooks = sys.exit, sys.excepthook
    ids = []
    with unchanged_randomness():
        for i, run in enumerate(runs):
            logger = WandbLogger(run, **SETTINGS)
            logger.log(Record("metrics", 100, {"loss": float(i)}))
            logger.log(Record("evaluation", 100, {"return_mean": 5}))
            ids.append(logger._wandb.id)
            logger.finish("finished" if i == 0 else "failed", None if i == 0 else "worker died")
    assert (sys.exit, sys.excepthook) == hooks
    assert wandb.run is None
    assert capfd.readouterr() == ("", "")
    for i, run in enumerate(runs):
        assert len(list((run.directory / "wandb").glob("offline-run-*"))) == 1
        found = recorded(run, ids[i])
        (start,) = [r.run for r in found if r.HasField("run")][:1]
        assert (start.run_id, start.run_group, start.display_name) == (ids[i], run.group, run.name)
        assert list(start.tags) == (["qmix", "matrix_game"] if i == 0 else ["vdn", "x" * 64])
        assert config(found)["mixer"] == run.config["mixer"]
        rows = [{item.nested_key[0]: json.loads(item.value_json) for item in r.history.item} for r in found]
        rows = [{key: row[key] for key in row if not key.startswith("_")} for row in rows if row]
        assert rows == [{"metrics/loss": i, "env_steps": 100}, {"evaluation/return_mean": 5, "env_steps": 100}]
        assert [r.exit.exit_code for r in found if r.HasField("exit")] == [i]
        assert leaked(run.directory) == []
    assert ids[0] != ids[1]
    assert "of-another-job" not in ids


def test_a_resumed_run_links_to_the_earlier_one(make_run: Callable[..., RunInfo]) -> None:
    first = WandbLogger(make_run(), **SETTINGS)
    first.finish("interrupted", None)
    resumed = make_run(resumed=True)
    second = WandbLogger(resumed, **SETTINGS)
    second.finish("finished", None)
    assert second._wandb.id != first._wandb.id
    assert config(recorded(resumed, second._wandb.id))["resumed_from"] == first._wandb.id


def test_the_results_are_a_point_over_the_number_of_agents(make_run: Callable[..., RunInfo], results: Results) -> None:
    labels = {"env": "lb_herd", "mixer": "vdn", "agents": 8, "seed": 3, "critic": None}
    run = make_run(labels=labels, columns=("metrics/loss", "test/jct_mean"), config={"agents": None, "seed": 3})
    logger = WandbLogger(run, **SETTINGS)
    logger.log(Record("metrics", 100, {"loss": 1.5}))
    logger.log(Record("evaluation", 100, {"return_mean": 60.0, "jct_mean": 300.0}))
    logger.log(Record("test", 200, {"jct_mean": 280.0}))
    logger.conclude(results)
    logger.finish("finished", None)
    found = recorded(run, logger._wandb.id)
    assert next(r.run.job_type for r in found if r.HasField("run")) == "train"
    assert labels.items() <= config(found).items()
    over = {r.metric.name or r.metric.glob_name: r.metric.step_metric for r in found if r.HasField("metric")}
    assert over.items() >= {"*": "env_steps", "test/jct_mean": "env_steps"}.items()
    assert {over[name] for name in results.numbers} == {"agents"}
    rows = [{"/".join(i.nested_key): json.loads(i.value_json) for i in r.history.item} for r in found]
    (last,) = [row for row in rows if "final/return" in row]
    assert results.numbers.items() <= last.items()
    assert (last["agents"], last["learning_curve/_type"], last["film/_type"]) == (8, "image-file", "video-file")
    for name in ("learning_curve", "film"):
        assert len(list((run.directory / "wandb").glob(f"offline-run-*/files/{last[f'{name}/path']}"))) == 1
    summary = {"/".join(i.nested_key) or i.key: i.value_json for r in found for i in r.summary.update}
    summary = {name: json.loads(value) for name, value in summary.items() if name[0] != "_"}
    expected = {**results.numbers, "test/jct_mean": 280.0, "evaluation/return_mean": 60.0, "status": "finished"}
    assert expected.items() <= summary.items()
    assert not {"metrics/loss", "evaluation/jct_mean"} & {*summary}


@pytest.mark.parametrize(
    ("uploaded", "mode", "same"), [(True, "online", True), (True, "offline", False), (False, "online", False)]
)
def test_only_what_the_server_has_is_continued(
    make_run: Callable[..., RunInfo], started: list[dict[str, Any]], uploaded: bool, mode: str, same: bool
) -> None:
    remember_id(make_run(), "wandb", "abc")
    if uploaded:
        remember_id(make_run(), "wandb_online", "abc")
    with pytest.raises(OSError, match="far enough"):
        WandbLogger(make_run(resumed=True), **(SETTINGS | {"mode": mode})).log(Record("metrics", 1, {"loss": 1.0}))
    (given,) = started
    assert (given["id"] == "abc", given["resume"]) == (same, "allow" if same else "never")
    assert given["config"]["resumed_from"] == "abc"


def test_disabled_leaves_nothing(make_run: Callable[..., RunInfo]) -> None:
    run = make_run()
    logger = WandbLogger(run, **(SETTINGS | {"mode": "disabled"}))
    logger.log(Record("metrics", 1, {"loss": 1.0}))
    logger.finish("finished", None)
    assert list(run.directory.iterdir()) == []


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings with which a wandb run was about to start."""
    import wandb

    settings: list[dict[str, Any]] = []

    def init(**given: Any) -> None:
        settings.append(given)
        raise OSError("far enough")

    monkeypatch.setattr(wandb, "init", init)
    return settings


@pytest.mark.parametrize(
    ("environment", "mode", "used"),
    [
        (None, None, "offline"),
        ("", None, "offline"),
        *((mode, None, mode) for mode in ("offline", "online", "disabled")),
        ("dryrun", None, "offline"),
        ("disabled", "online", "online"),
        ("nonsense", "disabled", "disabled"),
    ],
)
def test_the_environment_says_the_mode_unless_a_setting_does(
    make_run: Callable[..., RunInfo],
    monkeypatch: pytest.MonkeyPatch,
    started: list[dict[str, Any]],
    environment: str | None,
    mode: str | None,
    used: str,
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if environment is not None:
        monkeypatch.setenv("WANDB_MODE", environment)
    logger = WandbLogger(make_run(), **(SETTINGS | {"mode": mode}))
    with pytest.raises(OSError, match="far enough"):
        logger.log(Record("metrics", 1, {"loss": 1.0}))
    assert [settings["mode"] for settings in started] == [used]


def test_an_unknown_mode_is_refused(make_run: Callable[..., RunInfo], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "of-line")
    with pytest.raises(ValueError, match="WANDB_MODE=of-line is not a mode; choose one of: offline, online, disabled"):
        WandbLogger(make_run(), **(SETTINGS | {"mode": None}))


def test_the_project_is_that_of_the_environment_unless_a_setting_names_one(
    make_run: Callable[..., RunInfo], monkeypatch: pytest.MonkeyPatch, started: list[dict[str, Any]]
) -> None:
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    for environment, project in (("", None), ("theirs", None), ("theirs", "ours")):
        monkeypatch.setenv("WANDB_PROJECT", environment)
        with pytest.raises(OSError, match="far enough"):
            WandbLogger(make_run(), **(SETTINGS | {"project": project})).log(Record("metrics", 1, {}))
    assert [settings["project"] for settings in started] == ["hymarl", "theirs", "ours"]


def test_a_project_that_the_server_would_refuse_is_refused(make_run: Callable[..., RunInfo]) -> None:
    from wandb.sdk.wandb_settings import Settings

    for name in ("a/b", "a#b", "a?b", "a%b", "a:b", "a\\b"):
        with pytest.raises(Exception, match="Invalid project name"):
            Settings(project=name)
        with pytest.raises(ValueError, match=r"name a user or team with logger\.wandb\.entity"):
            WandbLogger(make_run(), **(SETTINGS | {"project": name}))


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_run_that_could_not_start_is_not_started_again_at_the_end(
    make_run: Callable[..., RunInfo], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    import wandb

    started = []

    def init(**settings: Any) -> None:
        started.append(settings["mode"])
        raise error

    monkeypatch.setattr(wandb, "init", init)
    logger = WandbLogger(make_run(), **SETTINGS)
    with pytest.raises(type(error)):
        logger.log(Record("metrics", 1, {"loss": 1.0}))
    logger.finish("interrupted", None)
    assert started == ["offline"]


def test_a_run_that_ends_before_its_first_record_is_recorded(make_run: Callable[..., RunInfo]) -> None:
    run = make_run()
    logger = WandbLogger(run, **SETTINGS)
    assert not (run.directory / "wandb").exists()
    logger.finish("failed", "no environment")
    assert [r.exit.exit_code for r in recorded(run, logger._wandb.id) if r.HasField("exit")] == [1]


ONLINE = """
import sys
from pathlib import Path
from hymarl.components.loggers.base import Record, RunInfo
from hymarl.components.loggers.wandb import WandbLogger
run = RunInfo(Path(sys.argv[1]), "name", "group", (), {"seed": 1}, 10, False)
logger = WandbLogger(run, mode=sys.argv[2], project="p", entity=None, init_timeout_s=3.0, finish_timeout_s=3.0)
logger.log(Record("metrics", 1, {"loss": 1.0}))
logger.finish("finished", None)
print("end of script")
"""
UNREACHABLE = {"WANDB_BASE_URL": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "PYTHONWARNINGS": "ignore"}


def environment(home: Path, **more: str) -> dict[str, str]:
    own = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    return own | UNREACHABLE | {"HOME": str(home), "NETRC": str(home / "netrc"), "TERM": "xterm"} | more


def test_online_without_a_key_never_prompts_even_on_a_terminal(tmp_path: Path) -> None:
    leader, follower = os.openpty()
    command = [sys.executable, "-c", ONLINE, str(tmp_path), "online"]
    terminal = {"stdin": follower, "stdout": follower, "stderr": follower}
    process = subprocess.Popen(command, env=environment(tmp_path), start_new_session=True, **terminal)
    os.close(follower)
    output, deadline = b"", time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if select.select([leader], [], [], 0.1)[0]:
            try:
                output += os.read(leader, 65536)
            except OSError:
                break
    if process.poll() is None and time.monotonic() >= deadline:
        process.kill()
    assert process.wait() == 0, output.decode()
    assert b"end of script" in output
    assert b"wandb: not online (No API key configured" in output
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == 1


def test_without_a_network_a_run_is_recorded_offline_and_no_secret_reaches_the_disk(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ONLINE, str(run), "online"],
        env=environment(tmp_path, WANDB_API_KEY=SECRET, WANDB_RUN_ID="of-another-job", WANDB_MODE=""),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "end of script\n"), done.stderr
    assert "wandb: not online" in done.stderr
    (file,) = run.glob("wandb/offline-run-*/*.wandb")
    assert "of-another-job" not in file.name
    assert any(path.is_symlink() for path in run.glob("wandb/*/logs/debug-core.log"))
    refuse_links(run)  # else a run that was killed could not be continued
    assert leaked(run) == []
    assert SECRET not in done.stderr
