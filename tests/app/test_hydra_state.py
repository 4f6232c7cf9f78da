"""Hydra's global state, and what we do to it while we compose."""

import copy

from hydra.core.config_store import ConfigStore

from hymarl.app.hydra_state import without_copies_of_the_store


def test_the_store_is_not_copied_inside_the_block_and_gives_away_copies_as_ever():
    store = ConfigStore.instance()
    assert "__deepcopy__" not in vars(ConfigStore)
    with without_copies_of_the_store():
        with without_copies_of_the_store():
            assert copy.deepcopy([store])[0] is store
        assert copy.deepcopy([store])[0] is store
        first = store.load("hydra/config.yaml").node
        first.verbose = True
        assert store.load("hydra/config.yaml").node.verbose is False
    assert "__deepcopy__" not in vars(ConfigStore)
