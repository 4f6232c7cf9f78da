"""Modules and classes that settings name: what can be typed next where there is none."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from hymarl.registry import ConfigError

ROOT = Path(__file__).resolve().parents[3]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
OPTIONS = sorted(path.stem for path in (ROOT / "conf" / "env").glob("*.yaml"))
NEEDED = {"pettingzoo": {"entry_point": "parallel_games:Uneven"}, "gymnasium": {"task": "Parts-v0"}}

MODULES = {
    "no_colon": "",
    "wrong_syntax": "def f(:\n",
    "raising": "raise RuntimeError('no licence\\nfound')",
    "leaving": "import sys; sys.exit('good-bye')",
    "lacking": "import no_such_library",
    "fine": "number = 3\ndef my_env(): pass\ndef _my_env(): pass",
}


@pytest.fixture
def modules(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


NO_NAMES = (
    "x",
    "..:x",
    ":",
    "",
    "x:",
    ":x",
    "a:b:c",
    "a b:c",
    "own/env.py:make",
    "fine.py:",
    ".fine:f",
    "a..b:c",
    "f:a.b",
)
NOT_THERE = {
    "nowhere.env:make": r"No module named 'nowhere'; install its package, start from the folder that holds "
    "nowhere, or add that folder to PYTHONPATH$",
    "fine.env:make": "No module named 'fine.env'; 'fine' is not a package; install its package, start",
    "lacking:make": "No module named 'no_such_library'; install the package that has no_such_library$",
    "raising:make": r"RuntimeError: no licence found \(.*raising.py, line 1, in <module>\)$",
    "leaving:make": r"SystemExit: good-bye \(.*leaving.py, line 1, in <module>\)$",
    "wrong_syntax:make": r"SyntaxError: invalid syntax \(wrong_syntax.py, line 1\)$",
}
WRONG = {
    **dict.fromkeys(NO_NAMES, r"SETTING must read module:name, such as my_package.my_module:my_name, got '"),
    **{given: f"'{given.partition(':')[0]}' cannot be imported: {why}" for given, why in NOT_THERE.items()},
    "fine:make": "SETTING=fine:make: the module fine has no 'make'$",
    "fine:myenv": r"SETTING=fine:myenv: the module fine has no 'myenv'; did you mean 'my_env'\?$",
    "fine:number": "SETTING=fine:number must be a class or a function, it is a int; name another$",
}


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("given", WRONG)
@pytest.mark.parametrize("setting", ["pettingzoo entry_point", "pymarl entry_point", "pettingzoo others"])
def test_what_cannot_be_found_is_told_with_what_can_be_typed_next(play, setting, given):
    option, setting = setting.split()
    changes = {"entry_point": "parallel_games:Uneven", setting: {"b": given} if setting == "others" else given}
    named = r"env\.others\.b" if setting == "others" else r"env\.entry_point"
    with pytest.raises(ConfigError, match=rf"^env={option}: {WRONG[given].replace('SETTING', named)}") as caught:
        play(option, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["..", "a b", "x.", "tuple_games:Parts", ""])
def test_the_name_of_a_package_is_a_name(play, package):
    with pytest.raises(
        ConfigError, match=r"env\.package must be the name of a module, such as my_package\.my_module, got"
    ):
        play("gymnasium", task="Parts-v0", package=package)


@pytest.mark.parametrize("chosen", [option for option in OPTIONS if option.split("_")[0] in EXTRAS])
def test_every_option_names_its_extra(play, monkeypatch, chosen):
    """As after ``pip install hymarl`` alone: none of the extras' packages is there."""
    wanted = [name for extra in EXTRAS.keys() & set(OPTIONS) for name in EXTRAS[extra]]
    packages = {re.split("[<>=\\[ ]", name)[0].replace("-", "_") for name in wanted} - {"hymarl"}
    for module in [name for name in sys.modules if name.split(".")[0] in {*packages, "parallel_games"}]:
        monkeypatch.delitem(sys.modules, module)
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"pip install 'hymarl\[{chosen.split('_')[0]}\]'"):
        play(chosen, **NEEDED.get(chosen, {}))
