"""What all learners share: following targets, standardizing rewards, clipping, counting."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hymarl.components.optimizers.base import OptimizerFactory, without_compiler
from hymarl.components.replay.base import Sample
from hymarl.components.rng import Stream
from hymarl.components.spec import EnvSpec
from hymarl.learners.base import Learner, Loss
from hymarl.learners.reward_scaler import RewardScaler
from hymarl.learners.target_networks import TargetNetworks
from hymarl.modules.noisy import NoisyLinear, noisy_layers

SPEC = EnvSpec(n_agents=2, n_actions=2, obs_dim=1, state_dim=1, episode_limit=4)


class SGD(OptimizerFactory):
    """Plain gradient descent."""

    def __init__(self):
        super().__init__(lr=0.1, lr_of=None, lr_warmup=0, lr_schedule="constant", lr_updates=1, weight_decay=0.0)

    def make(self, groups):
        return without_compiler(torch.optim.SGD)(groups, lr=self.lr)


# Target networks


def online():
    networks = nn.ModuleDict({"controller": nn.Linear(1, 1), "mixer": nn.BatchNorm1d(1)})
    set_to(networks, 1.0)
    return networks


def set_to(networks, value):
    with torch.no_grad():
        for x in (*networks.parameters(), *networks.buffers()):
            x.fill_(value)


def values(networks):
    return {name: x.item() for name, x in networks.state_dict().items()}


def test_hard_targets_are_copied_whole_every_so_many_updates():
    networks = online()
    target = TargetNetworks(networks, mode="hard", interval_updates=3, tau=0.5)
    seen = []
    for update in range(1, 8):
        set_to(networks, 1.0 + update)
        target.follow(update)
        seen.append(set(values(target.networks).values()))  # weights and running statistics alike
    assert seen == [{1.0}, {1.0}, {4.0}, {4.0}, {4.0}, {7.0}, {7.0}]


def test_soft_targets_move_a_fraction_at_every_update_also_buffers_but_whole_numbers():
    networks = online()
    target = TargetNetworks(networks, mode="soft", interval_updates=3, tau=0.25)
    set_to(networks, 5.0)
    wanted = {
        1: 2.0,  # 1 + 0.25 * (5 - 1)
        2: 2.75,  # 2 + 0.25 * (5 - 2)
    }
    for update, weight in wanted.items():
        target.follow(update)
        found = values(target.networks)
        assert found.pop("mixer.num_batches_tracked") == 5
        assert set(found.values()) == {weight}


def test_targets_are_copies_without_gradients():
    networks = online()
    target = TargetNetworks(networks, mode="hard", interval_updates=1, tau=0.5)
    assert not any(p.requires_grad for p in target.networks.parameters())
    assert all(p.requires_grad for p in networks.parameters())
    set_to(networks, 9.0)
    assert set(values(target.networks).values()) == {1.0}


def test_targets_describe_themselves():
    hard = TargetNetworks(online(), mode="hard", interval_updates=7, tau=0.5)
    soft = TargetNetworks(online(), mode="soft", interval_updates=7, tau=0.5)
    assert (hard.describe(), soft.describe()) == ("copied every 7 updates", "moved by 0.5 at every update")


# Standardized rewards


def test_reward_scaler_by_hand():
    # Seen: 1, 2, 3 and then 6: mean 3, variance (4 + 1 + 0 + 9) / 4 = 3.5. The 100s are padding.
    scaler = RewardScaler()
    scaler.observe(torch.tensor([[1.0, 2.0, 100.0], [3.0, 100.0, 100.0]]), torch.tensor([[1, 1, 0], [1, 0, 0]]).bool())
    scaler.observe(torch.tensor([[6.0]]), torch.tensor([[True]]))
    assert (int(scaler.count), float(scaler.mean), float(scaler.square)) == (4, 3.0, pytest.approx(14.0))
    assert torch.allclose(scaler(torch.tensor([3.0, 10.0])), torch.tensor([0.0, 7 / 3.5**0.5]))


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=6),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_reward_scaler_equals_the_statistics_of_everything_seen(shapes, seed, individual):
    rng, scaler, seen = np.random.default_rng(seed), RewardScaler(), []
    for shape in shapes:
        reward = 1000 + rng.normal(size=(*shape, 2) if individual else shape)
        filled = rng.random(shape) < 0.6
        scaler.observe(torch.from_numpy(reward), torch.from_numpy(filled))
        seen += reward[filled].ravel().tolist()
    assert int(scaler.count) == len(seen)
    x = torch.tensor([999.0, 1001.0], dtype=torch.float64)
    if len(seen) < 2:
        assert torch.equal(scaler(x), x)
    else:
        assert np.allclose(scaler(x).numpy(), (x.numpy() - np.mean(seen)) / np.std(seen), rtol=1e-6)


def test_rewards_that_are_all_equal_stay_as_they_are():
    scaler = RewardScaler()
    scaler.observe(torch.full((2, 3), 4.0), torch.ones(2, 3, dtype=torch.bool))
    assert scaler(torch.tensor([4.0])).item() == 4.0


# Updating


class Slope(Learner):
    """Its loss is the sum of the controller's weights times a number that stands in the first reward."""

    metric_names = (*Learner.metric_names, "slope")

    def loss(self, batch, weights=None):
        slope = batch.reward[0, 0]
        return Loss((self.networks["controller"].weight * slope).sum(), {"slope": slope}, weights)


@pytest.fixture(scope="session")
def slope_learner():
    def make(**changes):
        controller = nn.Linear(4, 1, bias=False)
        with torch.no_grad():
            controller.weight.fill_(1.0)
        settings = {"grad_clip": None, "standardize_rewards": False}
        return Slope({"controller": controller}, SGD(), **settings | changes)

    return make


def update(learner, batch, weights=None):
    return learner.update(Sample(batch, np.arange(batch.n_episodes), weights))


def rewarded(random_batch, reward):
    batch = random_batch(SPEC, [2])
    batch.reward[:] = reward
    return batch


@pytest.mark.parametrize(
    ("grad_clip", "moved"),
    [(None, 0.3), (10.0, 0.3), (1.0, 0.05)],  # 0.1 * 3 each; a gradient of (3, 3, 3, 3) has norm 6, so 3 / 6 at clip 1
)
def test_the_gradient_is_clipped_by_its_norm(slope_learner, random_batch, grad_clip, moved):
    learner = slope_learner(grad_clip=grad_clip)
    metrics = update(learner, rewarded(random_batch, 3.0)).metrics
    assert torch.allclose(learner.networks["controller"].weight, torch.full((1, 4), 1.0 - moved), atol=1e-5)
    assert {name: x.item() for name, x in metrics.items()} == pytest.approx({"loss": 12, "grad_norm": 6, "slope": 3})
    assert tuple(metrics) == learner.metric_names
    assert not any(x.requires_grad for x in metrics.values())


def test_no_clipping_changes_no_gradient_however_long(slope_learner, random_batch):
    learner = slope_learner(grad_clip=None)
    metrics = update(learner, rewarded(random_batch, 3e19)).metrics  # the squares are too large for a norm
    assert metrics["grad_norm"].isinf()
    assert torch.allclose(learner.networks["controller"].weight, torch.full((1, 4), -3e18))


def test_gradients_do_not_accumulate(slope_learner, random_batch):
    learner = slope_learner()
    norms = [update(learner, rewarded(random_batch, 1.0)).metrics["grad_norm"].item() for _ in range(3)]
    assert norms == pytest.approx([2, 2, 2])


def test_updates_are_counted_and_priorities_handed_on(slope_learner, random_batch):
    learner = slope_learner()
    for n in range(1, 5):
        assert update(learner, rewarded(random_batch, 1.0)).priorities is None
        assert learner.updates == n
    weights = torch.tensor([0.5])
    assert update(learner, rewarded(random_batch, 1.0), weights).priorities is weights


def test_a_learner_is_continued_exactly(slope_learner, random_batch):
    learner, again = (slope_learner(standardize_rewards=True) for _ in range(2))
    learner.prepare(rewarded(random_batch, 2.0))
    learner.prepare(rewarded(random_batch, 3.0))
    update(learner, rewarded(random_batch, 1.0))
    again.load_state_dict(learner.state_dict())
    for each in (learner, again):
        each.prepare(rewarded(random_batch, 4.0))
        update(each, rewarded(random_batch, 1.0))
    assert again.updates == learner.updates == 2
    assert all(torch.equal(x, again.state.state_dict()[name]) for name, x in learner.state.state_dict().items())
    assert int(learner.state["reward_scaler"].count) == 6


@pytest.mark.parametrize("names", [["agents"], ["controller", "policy"], ["controller", "step"]])
def test_names_of_networks_that_weights_files_could_not_hold_are_refused(names):
    networks = {name: nn.Linear(1, 1) for name in names}
    with pytest.raises(ValueError, match="networks must include 'controller'"):
        Slope(networks, SGD(), grad_clip=None, standardize_rewards=False)


# Rewards to learn from


def test_a_common_reward_is_given_to_every_value(slope_learner, random_batch):
    batch = random_batch(SPEC, [2, 3])
    learner = slope_learner()
    for n in (1, 2):
        found = learner.rewards(batch, n)
        assert found.shape == (2, 3, n)
        assert all(torch.equal(found[..., v], batch.reward) for v in range(n))


def test_individual_rewards_go_to_their_agents_and_not_to_a_joint_value(slope_learner, random_batch):
    batch, learner = random_batch(SPEC, [2, 3]), slope_learner()
    batch.reward = torch.randn(2, 3, 2)
    assert torch.equal(learner.rewards(batch, 2), batch.reward)
    with pytest.raises(ValueError, match="individual rewards cannot be learned as one joint value; choose mixer=none"):
        learner.rewards(batch, 1)


def test_rewards_are_standardized_by_what_was_observed_only_if_asked(slope_learner, random_batch):
    batch = random_batch(SPEC, [4, 1])
    for asked in (False, True):
        learner = slope_learner(standardize_rewards=asked)
        learner.prepare(batch)
        mean, std = batch.reward[batch.filled].mean(), batch.reward[batch.filled].std(unbiased=False)
        wanted = (batch.reward - mean) / std if asked else batch.reward
        assert torch.allclose(learner.rewards(batch, 1)[..., 0], wanted, atol=1e-6)
        before = learner.rewards(batch, 1).clone()
        update(learner, rewarded(random_batch, 100.0))  # replay teaches the statistics nothing
        assert torch.equal(learner.rewards(batch, 1), before)


def test_noisy_layers_have_noise_in_updates_only_and_targets_their_own(
    component, make_controller, monkeypatch, random_batch, spec
):
    torch.manual_seed(0)
    parts = make_controller(spec, "mlp", {"noisy": True}), component("mixer", "vdn", spec)
    learner = component("learner", "q", *parts, component("optimizer", "adam"))
    batch, drawn, draw = random_batch(spec, [3, 5]), [], NoisyLinear.draw
    monkeypatch.setattr(NoisyLinear, "draw", lambda layer, *which: (drawn.append((layer, *which)), draw(layer, *which)))
    state = torch.get_rng_state()
    for _ in range(2):
        update(learner, batch)
    online, target = (noisy_layers(m)[0] for m in (learner.networks, learner.targets))
    assert drawn == [
        (x, s, n) for n in (0, 1) for x, s in ((online, Stream.UPDATE_NOISE), (target, Stream.TARGET_NOISE))
    ]
    assert torch.equal(torch.get_rng_state(), state)
    assert online.weight_sigma.unique().numel() > 1  # it was learned
    assert torch.equal(learner.loss(batch).loss, learner.loss(batch).loss)
    assert len(drawn) == 4
