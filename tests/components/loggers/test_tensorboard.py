import json
import time
from collections.abc import Callable
from typing import Any

from hymarl.components.loggers.base import Record, Results, RunInfo
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


def test_runs_can_be_compared_and_the_end_is_shown(make_run: Callable[..., RunInfo], results: Results) -> None:
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    labels = {"mixer": "vdn", "agents": 8, "critic": None}
    run = make_run(labels=labels, headline=("return_mean", "jct_mean"), columns=("metrics/loss",))
    logger = TensorBoardLogger(run, flush_s=30.0)
    logger.log(Record("evaluation", 100, {"return_mean": 1.5}))
    logger.conclude(results)
    logger.finish("finished", None)
    found = read(run)
    held = {}
    for tag in ("_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"):
        held[tag] = HParamsPluginData.FromString(found.SummaryMetadata(tag).plugin_data.content)
    chosen = held["_hparams_/session_start_info"].session_start_info.hparams
    assert {name: chosen[name].string_value or chosen[name].number_value for name in chosen} == {
        "mixer": "vdn",
        "agents": 8,
    }
    shown = [info.name.tag for info in held["_hparams_/experiment"].experiment.metric_infos]
    assert shown == ["test/return_mean", "test/jct_mean", "evaluation/return_mean", "evaluation/jct_mean"]
    assert held["_hparams_/session_end_info"].session_end_info.status == 1  # success
    layout = Layout.FromString(found.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    charts = {page.title: [chart.title for chart in page.chart] for page in layout.category}
    assert charts == {"Results": ["return_mean", "jct_mean"], "Training": ["metrics/loss"]}
    assert scalars(run, "ratio/sed/return") == [(200, 2.0)]
    (picture,) = found.Images("learning_curve")
    assert (picture.step, picture.width, picture.height) == (200, 6, 4)
    assert b"learned" in found.Tensors("comparison/text_summary")[0].tensor_proto.string_val[0]


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
