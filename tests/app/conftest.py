"""Composed configurations, checked."""

import pytest
from hydra import compose, initialize_config_module
from omegaconf import open_dict

from hymarl.app.config import read
from hymarl.app.directories import register_resolvers


@pytest.fixture(scope="session")
def configured():
    """The checked configuration of a command line, and what of it was said there."""
    register_resolvers()

    def compose_and_read(*overrides):
        with initialize_config_module("hymarl.conf", version_base="1.3"):
            cfg = compose("config", overrides=list(overrides), return_hydra_config=True)
            choices = cfg.hydra.runtime.choices
            with open_dict(cfg):
                del cfg["hydra"]
            return read(cfg, choices, overrides)

    return compose_and_read
