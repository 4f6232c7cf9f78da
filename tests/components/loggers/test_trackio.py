import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hymarl.components.loggers.base import RunInfo
from hymarl.components.loggers.trackio import TrackioLogger
from hymarl.registry import ConfigError

SCRIPT = """
import sys
from pathlib import Path
from hymarl.components.loggers.base import Record, Results, RunInfo
from hymarl.components.loggers.trackio import TrackioLogger
labels = {"mixer": "vdn", "agents": 8}
for resumed in (False, True):
    run = RunInfo(Path(sys.argv[1]), "name", "group", (), {"x": {"y": None}}, 10, resumed, labels=labels)
    logger = TrackioLogger(run, project="p")
    logger.log(Record("metrics", 10 + resumed, {"loss": 1.0}))
    if resumed:
        logger.conclude(Results(20, {"final/return": 3.0}, "", {"learning_curve": Path(sys.argv[2])}))
    logger.finish("finished", None)
from trackio.sqlite_storage import SQLiteStorage as Storage
(name,) = Storage.get_runs("p")
config = Storage.get_run_config("p", name)
assert (config["mixer"], config["agents"], config["_Group"]) == ("vdn", 8, "group")
rows = Storage.get_logs("p", name)
assert [row["step"] for row in rows] == [10, 11, 20]
assert (rows[0]["metrics/loss"], rows[2]["final/return"]) == (1.0, 3.0)
assert rows[2]["learning_curve"]["_type"] == "trackio.image"
print("read back")
"""


def test_a_run_and_its_continuation_are_one_run_in_the_local_database(tmp_path: Path, results) -> None:
    pytest.importorskip("trackio")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TRACKIO_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), str(results.files["learning_curve"])],
        env={**environment, "TRACKIO_DIR": str(tmp_path / "trackio")},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "read back\n"), done.stderr


def test_without_the_package_it_says_what_to_install(
    make_run: Callable[..., RunInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(ConfigError, match=r"pip install 'hymarl\[trackio\]'"):
        TrackioLogger(make_run(), project="p")
