import json
import time
from collections.abc import Callable
from typing import Any

from hymarl.components.loggers.base import Record, RunInfo
from hymarl.components.loggers.tensorboard import TensorBoardLogger


def read(run: RunInfo) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.directory / "tensorboard"))
    events.Reload()
    return events


def scalars(run: RunInfo, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(run).Scalars(tag)]


def test_scalars_and_configuration_are_read_back(
    make_run: Callable[..., RunInfo], unchanged_randomness: Callable[[], Any]
) -> None:
    run = make_run()
    with unchanged_randomness():
        logger = TensorBoardLogger(run, flush_s=30.0)
        for step in (0, 200, 1_000_000_000):
            logger.log(Record("metrics", step, {"loss": step / 2, "updates": 3}))
            logger.log(Record("evaluation", step, {"return_mean": 1.5}))
        logger.log(Record("timing", 200, {"env_steps_per_s": 1234.0}))
        logger.finish("finished", None)
    assert scalars(run, "metrics/loss") == [(0, 0.0), (200, 100.0), (1_000_000_000, 500_000_000.0)]
    assert scalars(run, "evaluation/return_mean")[0] == (0, 1.5)
    assert scalars(run, "timing/env_steps_per_s") == [(200, 1234.0)]
    text = read(run).Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert json.loads(text) == run.config


def test_a_resumed_run_hides_what_was_written_after_its_checkpoint(make_run: Callable[..., RunInfo]) -> None:
    first, second = make_run(), make_run(resumed=True)
    for run, steps in ((first, range(0, 50, 10)), (second, range(30, 70, 10))):
        logger = TensorBoardLogger(run, flush_s=30.0)
        for step in steps:
            logger.log(Record("metrics", step, {"resumed": float(run.resumed)}))
        logger.finish("finished", None)
    expected = [(0, 0.0), (10, 0.0), (20, 0.0), (30, 1.0), (40, 1.0), (50, 1.0), (60, 1.0)]
    assert scalars(second, "metrics/resumed") == expected


def test_finishing_at_once_is_fine(make_run: Callable[..., RunInfo]) -> None:
    run = make_run(resumed=True)
    TensorBoardLogger(run, flush_s=30.0).finish("failed", "reason")
    assert not (run.directory / "tensorboard").exists()


def test_what_was_logged_is_on_disk_before_the_end(make_run: Callable[..., RunInfo]) -> None:
    run = make_run()
    logger = TensorBoardLogger(run, flush_s=0.0)
    logger.log(Record("metrics", 1, {"loss": 2.0}))
    deadline = time.monotonic() + 10
    while "metrics/loss" not in read(run).Tags()["scalars"]:
        assert time.monotonic() < deadline, "not flushed"
        time.sleep(0.2)
        logger.log(Record("metrics", 2, {"loss": 2.0}))
    logger.finish("finished", None)
