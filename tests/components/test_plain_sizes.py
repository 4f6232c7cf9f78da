"""Sizes that come as NumPy integers are stored and read back as data like any others."""

import numpy as np

from hymarl.components.files import load, save
from hymarl.components.spec import Entities, EnvSpec
from hymarl.policies.description import PolicyDescription


def test_a_policy_described_by_numpy_integers_can_be_loaded(tmp_path):
    n = np.int64
    entities = Entities(n(2), n(3), n(0), (n(0), n(1)), (n(0), n(0)))
    spec = EnvSpec(n(2), n(2), n(6), n(4), n(5), entities=entities)
    description = PolicyDescription(spec, "mac", {}, "mlp", {})
    save(tmp_path / "policy.pt", description.to_plain())
    assert PolicyDescription.from_plain(load(tmp_path / "policy.pt")) == description
