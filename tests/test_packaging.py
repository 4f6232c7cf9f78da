"""What a user gets who installs the package instead of the checkout."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]


def packages_in_tree() -> set[str]:
    folders = {path.parent.relative_to(ROOT / "src").parts for path in (ROOT / "src").rglob("*.py")}
    return {".".join(("hymarl", *folder)) for folder in folders} | {"hymarl.conf", "hydra_plugins.hymarl"}


def test_package_list_equals_the_tree() -> None:
    assert sorted(SETUPTOOLS["packages"]) == sorted(packages_in_tree())


def test_every_package_has_an_init_file() -> None:
    folders = {path.parent for path in (ROOT / "src").rglob("*.py")} | {ROOT / "conf"}
    assert not [str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").is_file()]


def test_pins_agree_with_the_ranges() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert list(pins) == sorted(pins)
    assert not [name for name, version in pins.items() if "+" in version]  # no variant for one kind of machine
    extras = PROJECT["project"]["optional-dependencies"].values()
    for text in [*PROJECT["project"]["dependencies"], *(text for extra in extras for text in extra)]:
        requirement = Requirement(text)
        if requirement.name != PROJECT["project"]["name"]:
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)], prereleases=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy so that no build folder appears in the checkout."""
    copy = tmp_path_factory.mktemp("sources")
    for folder in ("src", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return next((copy / "dist").glob("*.whl"))


@pytest.mark.timeout(180)
def test_wheel(wheel: Path, tmp_path: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {f"hymarl/{p.relative_to(ROOT / 'src').as_posix()}" for p in (ROOT / "src").rglob("*.py")}
    configuration = {
        f"hymarl/conf/{p.relative_to(ROOT / 'conf').as_posix()}"
        for p in (ROOT / "conf").rglob("*")
        if p.suffix in {".py", ".yaml"}
    }
    information = {name for name in names if ".dist-info/" in name}
    plugins = {p.relative_to(ROOT).as_posix() for p in (ROOT / "hydra_plugins").rglob("*.py")}
    others = {"hymarl/py.typed", "hymarl/reports/page.html", "hymarl/testbed/sed.lua"}
    assert names - information == modules | configuration | plugins | others
    assert any(name.endswith("licenses/LICENSE") for name in information)

    # The wheel is put in front of the checkout, as if installed, and used from a folder that knows nothing of either.
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    entry_points = next((tmp_path / "site").glob("*.dist-info/entry_points.txt")).read_text()
    assert "hymarl = hymarl.main:main" in entry_points
    (tmp_path / "elsewhere").mkdir()
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=60, cwd=tmp_path / "elsewhere", env=environment
        ).stdout

    located = python("-c", "import hymarl, hymarl.conf; print(hymarl.__file__, hymarl.conf.__file__, sep='\\n')")
    assert [Path(line).is_relative_to(tmp_path / "site") for line in located.splitlines()] == [True, True]
    shown = python("-m", "hymarl", "--help")
    assert "qmix" in shown
    assert "loadbalance" in shown
    assert not any((tmp_path / "elsewhere").iterdir())
