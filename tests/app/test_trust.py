"""Modules that a configuration names and HyMARL does not."""

from importlib import resources

import pytest
from omegaconf import OmegaConf

from hymarl.app.trust import foreign_modules

OPTIONS = [
    (folder.name, file.name.removesuffix(".yaml"))
    for folder in resources.files("hymarl.conf").iterdir()
    if folder.is_dir() and folder.name not in ("algo", "experiment", "preset", "search")
    for file in folder.iterdir()
    if file.name.endswith(".yaml")
]


def test_options_that_ship_name_no_foreign_modules():
    found = []
    for group, name in OPTIONS:
        settings = OmegaConf.to_container(OmegaConf.load(str(resources.files("hymarl.conf") / group / f"{name}.yaml")))
        component = {"name": settings.pop("name", ""), "settings": settings}
        found += [(group, name, module) for module in foreign_modules(group, component)]
    assert len(OPTIONS) > 20
    assert found == []


@pytest.mark.parametrize(
    ("name", "settings", "modules"),
    [
        ("own.net", {}, ["own.net"]),
        ("hymarl.main", {}, ["hymarl.main"]),
        ("hymarl.envs.pettingzoo", {}, []),
        ("pettingzoo", {"entry_point": "hymarl.registry:find"}, ["hymarl.registry"]),
        (
            "pettingzoo",
            {"entry_point": "hymarl.envs.adapters.mpe_opponents:flee"},
            ["hymarl.envs.adapters.mpe_opponents"],
        ),
        ("pettingzoo", {"others": {"agent": "hymarl.envs.adapters.mpe_opponents:flee"}}, []),
        ("pettingzoo", {"kwargs": {"id": "own-games:Game\n-v0"}}, ["own-games"]),
        ("pettingzoo", {"entry_point": "own.games:make"}, ["own.games"]),
        ("pettingzoo", {"entry_point": "os:system"}, ["os"]),
        ("pettingzoo", {"entry_point": "mpe2.simple_spread_v3:os"}, ["mpe2.simple_spread_v3"]),
        ("pettingzoo", {"others": {"agent": "own.rules:flee"}}, ["own.rules"]),
        ("pettingzoo", {"entry_point": "mpe2.simple_tag_v3:parallel_env", "kwargs": {"x": ["a:b"]}}, ["a"]),
        ("gymnasium", {"task": "own:Game-v0", "package": None}, ["own"]),
        ("gymnasium", {"task": "Game-v0", "package": "own"}, ["own"]),
        ("sacred", {"directory": "results/sacred", "url": "mongodb://host:27017", "at": "12:30"}, []),
        ("adam", {"lr": 0.1, "betas": [0.9, 0.99]}, []),
    ],
)
def test_what_is_imported_is_found_wherever_it_stands(name, settings, modules):
    assert foreign_modules("env", {"name": name, "settings": settings}) == modules
