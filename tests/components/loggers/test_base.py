import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from hymarl import registry
from hymarl.components.loggers.base import Logger, LoggerSet, Record, Results, RunInfo, earlier_id, remember_id

RECORD = Record("metrics", 10, {"loss": 0.5})
CONF = Path(registry.__file__).parents[1] / "conf" / "logger"


class Recording(Logger):
    """Notes what it is told; raises ``error`` in the methods named by ``failing``."""

    def __init__(self, run: RunInfo, failing: tuple[str, ...] = (), error: type[BaseException] = OSError) -> None:
        self.run, self.failing, self.error = run, failing, error
        self.told: list[tuple[object, ...]] = []
        self._note("init")

    def log(self, record: Record) -> None:
        self._note("log", record)

    def message(self, text: str) -> None:
        self._note("message", text)

    def conclude(self, results: Results) -> None:
        self._note("conclude", results)

    def finish(self, status: str, reason: str | None) -> None:
        self._note("finish", status, reason)

    def _note(self, *event: object) -> None:
        self.told.append(event)
        if event[0] in self.failing:
            raise self.error("disk full\nand a second line")


class Loggers:
    """A `LoggerSet` of a healthy logger on either side of a failing one."""

    def __init__(self, run: RunInfo, *failing: str, error: type[BaseException] = OSError) -> None:
        self.reports: list[str] = []
        self.made: dict[str, Recording] = {}
        self.set = LoggerSet(
            run,
            {
                "first": lambda r: self._make("first", r),
                "bad": lambda r: self._make("bad", r, failing, error),
                "last": lambda r: self._make("last", r),
            },
            self.reports.append,
        )

    def _make(self, name: str, run: RunInfo, *settings: object) -> Recording:
        self.made[name] = Recording(run, *settings)
        return self.made[name]

    def told(self, name: str) -> list[object]:
        return [event[0] for event in self.made[name].told]


@pytest.fixture
def run(make_run: Callable[..., RunInfo]) -> RunInfo:
    return make_run()


def test_every_logger_is_told_everything(run: RunInfo, results: Results) -> None:
    loggers = Loggers(run)
    loggers.set.log(RECORD)
    loggers.set.message("hello")
    loggers.set.conclude(results)
    loggers.set.finish("failed", "out of memory")
    events = [("init",), ("log", RECORD), ("message", "hello"), ("conclude", results)]
    events.append(("finish", "failed", "out of memory"))
    assert [loggers.made[name].told for name in ("first", "bad", "last")] == [events] * 3
    assert loggers.made["first"].run is run
    assert loggers.reports == []


def test_a_logger_that_fails_at_the_results_is_dropped_and_the_others_get_them(run: RunInfo, results: Results) -> None:
    loggers = Loggers(run, "conclude")
    loggers.set.conclude(results)
    assert loggers.reports == ["logger=bad failed and is switched off: OSError: disk full"]
    assert loggers.told("last") == ["init", "conclude"]


@pytest.mark.parametrize("where", ["log", "message"])
def test_a_failing_logger_is_reported_once_and_dropped_while_the_others_go_on(run: RunInfo, where: str) -> None:
    loggers = Loggers(run, where, "finish")
    for _ in range(3):
        loggers.set.log(RECORD)
        loggers.set.message("hello")
    loggers.set.finish("finished")
    assert loggers.reports == ["logger=bad failed and is switched off: OSError: disk full"]
    assert loggers.told("bad").count(where) == 1
    assert loggers.told("bad")[-1] == "finish"
    for name in ("first", "last"):
        assert loggers.told(name) == ["init", *["log", "message"] * 3, "finish"]


def test_a_logger_that_cannot_be_constructed_is_reported_and_left_out(run: RunInfo) -> None:
    loggers = Loggers(run, "init")
    assert loggers.reports == ["logger=bad could not start and is switched off: OSError: disk full"]
    assert loggers.set.active == ("first", "last")
    loggers.set.log(RECORD)
    loggers.set.finish("finished")
    assert loggers.told("last") == ["init", "log", "finish"]
    assert len(loggers.reports) == 1


def test_a_mistake_in_the_settings_is_told_in_its_own_words(run: RunInfo) -> None:
    def refuse(_: RunInfo) -> Logger:
        raise registry.ConfigError("logger=mine: project='a/b' cannot hold /")

    reports: list[str] = []
    LoggerSet(run, {"mine": refuse}, reports.append)
    assert reports == ["logger=mine could not start and is switched off: project='a/b' cannot hold /"]


def test_messages_are_shown_while_a_logger_that_shows_them_works(run: RunInfo) -> None:
    class Silent(Recording):
        message = Logger.message

    assert not LoggerSet(run, {}, print).show_messages
    assert not LoggerSet(run, {"silent": Silent}, print).show_messages
    loggers = LoggerSet(run, {"silent": Silent, "shown": lambda r: Recording(r, ("log",))}, lambda _: None)
    assert loggers.show_messages
    loggers.log(RECORD)
    assert not loggers.show_messages


def test_a_failure_to_finish_is_reported_and_the_others_are_finished(run: RunInfo) -> None:
    loggers = Loggers(run, "finish")
    loggers.set.finish("finished")
    assert loggers.reports == ["logger=bad could not finish and is switched off: OSError: disk full"]
    assert loggers.told("first") == loggers.told("last") == ["init", "finish"]


def test_an_interruption_passes_through_and_finish_may_be_called_again(run: RunInfo) -> None:
    loggers = Loggers(run, "log", "finish", error=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        loggers.set.log(RECORD)
    with pytest.raises(KeyboardInterrupt):
        loggers.set.finish("interrupted")
    loggers.set.finish("interrupted")
    assert loggers.reports == []
    assert [loggers.told(name).count("finish") for name in loggers.made] == [1, 1, 1]


def test_a_report_may_be_a_message_to_the_loggers_themselves(run: RunInfo) -> None:
    loggers = Loggers(run, "log", "message")
    loggers.set._report = loggers.set.message
    loggers.set.log(RECORD)
    assert loggers.told("first") == ["init", "log", "message"]
    assert loggers.told("bad") == ["init", "log"]


def test_only_a_resumed_run_has_an_earlier_id(make_run: Callable[..., RunInfo]) -> None:
    fresh, resumed = make_run(), make_run(resumed=True)
    assert earlier_id(resumed, "sacred") is None
    for new_id in ("3", "7"):
        remember_id(fresh, "sacred", new_id)
    remember_id(fresh, "wandb", "abc")
    assert earlier_id(fresh, "sacred") is None
    assert earlier_id(resumed, "sacred") == "7"
    assert earlier_id(resumed, "wandb") == "abc"


@pytest.mark.parametrize("name", registry.names("logger"))
def test_settings_in_yaml_fit_the_constructor_and_land_under_the_name(name: str) -> None:
    path = CONF / f"{name}.yaml"
    first, second = path.read_text().splitlines()[:2]
    assert first == f"# @package logger.{name}"
    assert second == f"name: {name}"
    node = OmegaConf.load(path)
    del node["name"]
    registry.check_settings(registry.find("logger", name), node, f"logger={name}")


def test_several_loggers_are_chosen_at_once() -> None:
    from hydra import compose, initialize_config_module

    names = registry.names("logger")
    assert len(names) > 1
    with initialize_config_module("hymarl.conf", version_base="1.3"):
        config = compose(overrides=[f"+logger=[{','.join(names)}]", "logger.wandb.project=mine"])
    assert set(config.logger) == set(names)
    assert config.logger.wandb.project == "mine"


def test_importing_the_loggers_imports_no_library_they_log_to() -> None:
    modules = ["base", *registry.names("logger")]
    code = "; ".join([f"import hymarl.components.loggers.{m}" for m in modules])
    heavy = "{'torch', 'wandb', 'sacred', 'tensorboard', 'rich', 'matplotlib'}"
    code += f"; import hymarl.reports.learning_curve, hymarl.reports.tables, sys; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
