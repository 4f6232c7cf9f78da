"""Every component is stated once in code and once in YAML, and mistakes in a configuration become sentences."""

import importlib
import inspect
import itertools
import pickle
import re
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Literal

import pytest
from hydra import compose, initialize_config_module
from omegaconf import MISSING, DictConfig, OmegaConf

from hymarl.app.hydra_state import without_copies_of_the_store
from hymarl.app.options import WITHOUT_SECTION
from hymarl.registry import (
    PACKAGES,
    ConfigError,
    build,
    check_settings,
    factory,
    find,
    names,
    parameters,
    register,
    suggest,
)

CONF = resources.files("hymarl.conf")


def options(group: str) -> list[str]:
    return sorted(f.name.removesuffix(".yaml") for f in (CONF / group).iterdir() if f.name.endswith(".yaml"))


REGISTERED = [(group, name) for group in PACKAGES for name in names(group)]


def composed() -> Iterator[tuple[str, str, DictConfig]]:
    """Every option and its node as `python main.py group=option` composes it, before anything changes its values.

    One option of every group is composed at a time.
    """
    for at_once in itertools.zip_longest(*([(group, option) for option in options(group)] for group in PACKAGES)):
        chosen = list(filter(None, at_once))
        with without_copies_of_the_store(), initialize_config_module("hymarl.conf", version_base="1.3"):
            cfg = compose("config", overrides=["~algo", *(f"{group}={option}" for group, option in chosen)])
        for group, option in chosen:
            yield group, option, cfg[group][option] if group == "logger" else cfg[group]


# Names, files and signatures


def test_every_group_has_a_folder_and_every_folder_is_known() -> None:
    folders = {f.name for f in CONF.iterdir() if f.is_dir() and not f.name.startswith("_")}
    assert folders == {*PACKAGES, *WITHOUT_SECTION, "hydra"}


@pytest.mark.parametrize(("group", "name"), REGISTERED)
def test_registered_name_has_its_yaml(group: str, name: str) -> None:
    assert name in options(group)


def test_every_yaml_names_a_registered_class_and_fits_its_signature() -> None:
    seen = set()
    for group, option, node in composed():
        seen.add((group, option))
        assert node.name in names(group), option
        assert node.name == option or option not in names(group)  # a file named like a class is its own
        cls = find(group, node.name)
        values = {k: v for k, v in node.items_ex(resolve=False) if k != "name"}
        assert set(values) == set(parameters(cls)), option
        left_to_the_user = sorted(k for k in values if OmegaConf.is_missing(node, k))  # written as `key: ???`
        if left_to_the_user:
            with pytest.raises(ConfigError, match=f"no value for {', '.join(left_to_the_user)}"):
                check_settings(cls, values, option)
        else:
            check_settings(cls, values, option)
    assert seen == {(group, option) for group in PACKAGES for option in options(group)}


@pytest.mark.parametrize(("group", "name"), REGISTERED)
def test_settings_are_typed_documented_and_without_defaults(group: str, name: str) -> None:
    cls = find(group, name)
    signature = inspect.signature(cls.__init__).parameters.values()
    settings = [p for p in signature if p.kind is inspect.Parameter.KEYWORD_ONLY]
    assert not [p.name for p in settings if p.default is not inspect.Parameter.empty]
    assert not [p.name for p in settings if p.annotation is inspect.Parameter.empty]
    docstrings = "\n".join(base.__doc__ or "" for base in cls.__mro__)
    explained = re.findall(r"^\s+(\w+): ", docstrings, flags=re.MULTILINE)
    assert not [name for name in parameters(cls) if name not in explained]


@pytest.mark.parametrize(("group", "name"), REGISTERED)
def test_file_is_named_like_the_component(group: str, name: str) -> None:
    assert find(group, name).__module__.startswith(f"{PACKAGES[group]}.{name}")


# Mistakes


class Thing:
    """What the messages below are about."""

    def __init__(
        self,
        size: int,
        *,
        width: int,
        rate: float,
        mode: Literal["hard", "soft"],
        kind: Literal["a", "b"] | None,
        widths: list[int],
        table: dict[str, float],
        label: str | None,
    ) -> None:
        self.size, self.width = size, width


GOOD = {
    "width": 3,
    "rate": 0.5,
    "mode": "hard",
    "kind": None,
    "widths": [1, 2],
    "table": {"x": 1.0},
    "label": None,
}


def test_good_settings_come_back_plain() -> None:
    settings = check_settings(Thing, OmegaConf.create(GOOD), "thing=thing")
    assert settings == GOOD
    assert type(settings["widths"]) is list
    assert type(settings["table"]) is dict


def test_text_and_whole_numbers_are_converted_to_the_declared_type() -> None:
    settings = check_settings(Thing, GOOD | {"width": "4", "rate": 1, "kind": "b"}, "thing=thing")
    assert (settings["width"], settings["rate"], settings["kind"]) == (4, 1.0, "b")
    assert type(settings["rate"]) is float


CHOICES = "choose one of: kind, label, mode, rate, table, width, widths"
MISTAKES: dict[str, tuple[dict, str]] = {
    "unknown key, close": (GOOD | {"widht": 3}, f"unknown key 'widht'; did you mean 'width'? {CHOICES}"),
    "unknown key, far": (GOOD | {"zzz": 3}, f"unknown key 'zzz'; {CHOICES}"),
    "run-time object as a key": (GOOD | {"size": 3}, f"unknown key 'size'; {CHOICES}"),
    "text for a number": (
        GOOD | {"width": "wide"},
        "width has the wrong type: Value 'wide' of type 'str' could not be converted to Integer (expected int)",
    ),
    "fraction for a whole number": (
        GOOD | {"width": 1.5},
        "width has the wrong type: Value '1.5' of type 'float' could not be converted to Integer (expected int)",
    ),
    "null for a number": (
        GOOD | {"width": None},
        "width has the wrong type: Incompatible value 'None' for field of type 'int' (expected int)",
    ),
    "wrong element": (
        GOOD | {"widths": [1, "x"]},
        "widths[1] has the wrong type: Value 'x' of type 'str' could not be converted to Integer (expected list[int])",
    ),
    "number for a list": (
        GOOD | {"widths": 3},
        "widths has the wrong type: Invalid value assigned: single value is not a list. (expected list[int])",
    ),
    "list in a list": (GOOD | {"widths": [[1]]}, "widths[0] must be a whole number, got [1]"),
    "table for a list": (GOOD | {"widths": {"x": 1}}, "widths has the wrong type (expected list[int])"),
    "wrong entry of a table": (
        GOOD | {"table": {"x": "y"}},
        "table.x has the wrong type: Value 'y' of type 'str' could not be converted to Float "
        "(expected dict[str, float])",
    ),
    "wrong choice, close": (
        GOOD | {"mode": "sofd"},
        "mode=sofd is not a choice; did you mean 'soft'? choose one of: hard, soft",
    ),
    "wrong choice, far": (GOOD | {"mode": "x"}, "mode=x is not a choice; choose one of: hard, soft"),
    "wrong choice of optional": (GOOD | {"kind": "c"}, "kind=c is not a choice; choose one of: a, b, null"),
    "null for a choice": (
        GOOD | {"mode": None},
        "mode has the wrong type: Incompatible value 'None' for field of type 'str' (expected Literal['hard', 'soft'])",
    ),
    "missing": (
        {k: v for k, v in GOOD.items() if k not in ("rate", "mode")},
        "no value for mode, rate; give one: thing.mode=…",
    ),
    "explicitly missing": (GOOD | {"rate": MISSING}, "no value for rate; give one: thing.rate=…"),
    "dangling interpolation": (GOOD | {"width": "${nowhere}"}, "Interpolation key 'nowhere' not found"),
}


@pytest.mark.parametrize(("values", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_gets_one_sentence(values: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_settings(Thing, values, "thing=it")
    assert str(caught.value) == f"thing=it: {message}"


# Finding and building


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module of somebody else's with the given text and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)
    counter = itertools.count()

    def write(text: str) -> str:
        folder = tmp_path / f"somebody_{next(counter)}_{tmp_path.name}"
        folder.mkdir()
        (folder / "__init__.py").touch()
        (folder / "own.py").write_text(f"from hymarl.registry import register\n{text}")
        importlib.invalidate_caches()
        return f"{folder.name}.own"

    return write


def test_component_of_another_package_is_found_by_its_path(plugin: Callable[[str], str]) -> None:
    path = plugin("@register('mixer')\nclass Own:\n    pass\n\nclass NotMarked:\n    pass\n")
    assert find("mixer", path).__name__ == "Own"


def test_find_names_the_closest_match_and_all_choices() -> None:
    with pytest.raises(ConfigError) as caught:
        find("mixer", "qmux")
    choices = ", ".join(names("mixer"))
    assert str(caught.value) == f"mixer: there is no 'qmux'; did you mean 'qmix'? choose one of: {choices}"


def test_find_refuses_a_path_that_leads_nowhere() -> None:
    with pytest.raises(
        ConfigError, match=r"^mixer: there is no module 'nobody\.knows' to import; start from the folder"
    ):
        find("mixer", "nobody.knows")


@pytest.mark.parametrize(("classes", "count"), [("", 0), ("@register('env')\nclass A: pass\n", 0)])
def test_find_wants_one_marked_class_per_file(plugin: Callable[[str], str], classes: str, count: int) -> None:
    path = plugin(classes)
    with pytest.raises(ConfigError) as caught:
        find("mixer", path)
    message = f"mixer: {path} must have exactly one class marked @register('mixer'), it has {count}"
    assert str(caught.value) == message


def test_find_refuses_two_marked_classes(plugin: Callable[[str], str]) -> None:
    path = plugin("@register('mixer')\nclass A: pass\n@register('mixer')\nclass B: pass\n")
    with pytest.raises(ConfigError, match=r"must have exactly one class marked .* it has 2$"):
        find("mixer", path)


def test_an_error_inside_a_component_file_is_not_hidden(plugin: Callable[[str], str]) -> None:
    path = plugin("import a_module_that_is_not_installed\n")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_installed"):
        find("mixer", path)


def test_subclass_of_a_component_is_not_registered_by_inheritance(plugin: Callable[[str], str]) -> None:
    path = plugin("@register('mixer')\nclass A: pass\nclass B(A): pass\n")
    assert find("mixer", path).__name__ == "A"


def test_register_refuses_an_unknown_group() -> None:
    with pytest.raises(ValueError, match="there is no group 'mixers'; the groups are env, "):
        register("mixers")


def test_constructor_that_refuses_a_value_becomes_a_sentence(plugin: Callable[[str], str]) -> None:
    path = plugin(
        "@register('mixer')\nclass Own:\n    def __init__(self, *, n: int) -> None:\n"
        "        raise ValueError(f'n must be even, got {n}')\n"
    )
    with pytest.raises(ConfigError) as caught:
        build("mixer", path, {"n": 3})
    assert str(caught.value) == f"mixer={path}: n must be even, got 3"


def test_factory_survives_the_way_to_a_worker(plugin: Callable[[str], str]) -> None:
    path = plugin(
        "@register('mixer')\nclass Own:\n    def __init__(self, spec, *, n: int) -> None:\n"
        "        self.spec, self.n = spec, n\n"
    )
    settings = {"n": 3}
    make = pickle.loads(pickle.dumps(factory("mixer", path, settings)))
    settings["n"] = 4  # the factory has its own copy
    made = make("spec")
    assert (made.spec, made.n) == ("spec", 3)


@pytest.mark.parametrize(
    ("wrong", "choices", "message"),
    [
        ("qmx", ["vdn", "qmix"], "did you mean 'qmix'? choose one of: qmix, vdn"),
        ("zzz", ["vdn", "qmix"], "choose one of: qmix, vdn"),
        ("zzz", [], "there is nothing to choose from"),
    ],
)
def test_suggest(wrong: str, choices: list[str], message: str) -> None:
    assert suggest(wrong, choices) == message


def test_a_setting_without_a_type_is_named() -> None:
    class Untyped:
        def __init__(self, spec, *, width: int, depth) -> None:  # type: ignore[no-untyped-def]
            pass

    with pytest.raises(ConfigError, match=r"Untyped: the setting depth has no type; write depth: int, say"):
        parameters(Untyped)
