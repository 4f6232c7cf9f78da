"""From actions to weights."""

import numpy as np
import pytest

V = np.array([2.0, 2.0, 4.0, 4.0])


def weights_after(env, start, advance, actions):
    """Weights in use in each step, ``[T, L, S]``."""
    start(env)
    out = []
    for joint in actions:
        advance(env, joint[None])
        out.append(env.engine.world.pairs["weight"][0].copy())
    return np.array(out)


def clipped(tilt, clip):
    return V * np.exp(np.clip(tilt - tilt.mean(axis=1, keepdims=True), -clip, clip))


@pytest.mark.parametrize(("mode", "first"), [("favour", 0), ("favour0", 1)])
def test_favour(make_env, start, advance, mode, first):
    env = make_env(agents=3, action_mode=mode, delta=0.5, leak=0.8, clip=0.9, episode_limit=30)
    assert env.spec.n_actions == 4 + first
    actions = np.random.default_rng(1).integers(0, env.spec.n_actions, (30, 3))
    actions[10:] = actions[0]
    tilt = np.zeros((3, 4))
    for joint, weights in zip(actions, weights_after(env, start, advance, actions), strict=True):
        tilt *= 0.8
        for i, u in enumerate(joint):
            if u >= first:
                tilt[i, u - first] += 0.5
        assert weights == pytest.approx(clipped(tilt, 0.9))


def test_adjust(make_env, start, advance):
    env = make_env(agents=3, action_mode="adjust", delta=0.25, leak=1.0, clip=1.0, episode_limit=60)
    assert env.spec.n_actions == 9
    actions = np.random.default_rng(2).integers(0, 9, (60, 3))
    actions[:20] = [0, 2, 8]  # nothing, server 1 up, server 3 down
    tilt = np.zeros((3, 4))
    for joint, weights in zip(actions, weights_after(env, start, advance, actions), strict=True):
        for i, u in enumerate(joint):
            if 1 <= u <= 4:
                tilt[i, u - 1] += 0.25
            elif u > 4:
                tilt[i, u - 5] -= 0.25
        tilt = np.clip(tilt, -1.0, 1.0)
        assert weights == pytest.approx(clipped(tilt, 1.0))


@pytest.mark.parametrize(
    ("mode", "entity", "kind"),
    [
        ("favour", (0, 1, 2, 3), (0, 0, 0, 0)),
        ("favour0", (-1, 0, 1, 2, 3), (1, 0, 0, 0, 0)),
        ("adjust", (-1, 0, 1, 2, 3, 0, 1, 2, 3), (2, 0, 0, 0, 0, 1, 1, 1, 1)),
    ],
)
def test_entities_say_what_actions_are_about(make_env, mode, entity, kind):
    entities = make_env(action_mode=mode).spec.entities
    assert (entities.n_entities, entities.n_features, entities.start) == (4, 12, 0)
    assert (entities.action_entity, entities.action_kind) == (entity, kind)


@pytest.mark.parametrize(("mode", "first"), [("favour", 0), ("favour0", 1), ("adjust", 1)])
def test_unknown_servers_are_unavailable_and_forgotten(make_env, start, advance, mode, first):
    env = make_env(n_envs=16, action_mode=mode, scenario="failure", slots=5)
    start(env)
    world, lost = env.engine.world, 0
    for _ in range(env.spec.episode_limit):
        actions = np.full((16, 4), first)
        step = advance(env, actions)
        known = world.servers["known"]
        assert not known[:, 4].any()
        for copy in range(first, step.avail.shape[2], 5):
            assert (step.avail[:, :, copy : copy + 5] == known[:, None]).all()
        if first:
            assert step.avail[:, :, 0].all()
        gone = ~known[:, 0]
        lost += gone.sum()
        blocks = step.obs.reshape(16, 4, 5, 12)
        assert not blocks[gone, :, 0].any()
        assert (world.pairs["count"].transpose(0, 2, 1)[~known] == 0).all()
    assert lost > 0


def test_the_tilt_of_an_unknown_server_decays_though_it_is_chosen(make_env, start, advance):
    env = make_env(n_envs=32, scenario="failure")
    start(env)
    world, seen = env.engine.world, 0
    for _ in range(env.spec.episode_limit):
        before, known = world.pairs["tilt"].copy(), world.servers["known"].copy()
        advance(env, np.zeros((32, 4), np.int64))
        gone = ~known[:, 0]
        seen += gone.sum()
        assert world.pairs["tilt"][gone, :, 0] == pytest.approx(0.9 * before[gone, :, 0])
        assert world.pairs["tilt"][~gone, :, 0] == pytest.approx(0.9 * before[~gone, :, 0] + 0.3)
    assert seen > 0


def test_actions_matter_for_what_comes_next_only(make_env, start, advance):
    env = make_env(n_envs=1)
    rewards = []
    for last in (0, 3):
        start(env)
        for t in range(20):
            step = advance(env, np.full((1, 4), last if t == 19 else 1))
            rewards.append(float(step.reward[0]))
    assert rewards[:19] == rewards[20:39]
    assert rewards[19] != rewards[39]


@pytest.mark.parametrize("wrong", [np.full((2, 4), 4), np.full((2, 4), -1), np.zeros((2, 3)), np.zeros((1, 4))])
def test_actions_that_do_not_exist_are_refused(make_env, start, advance, wrong):
    env = make_env(n_envs=2)
    start(env)
    with pytest.raises(ValueError, match=r"actions"):
        advance(env, wrong)


def test_an_episode_must_be_started_and_ends(make_env, start, advance):
    env = make_env(n_envs=2, episode_limit=3)
    with pytest.raises(ValueError, match="must be reset"):
        advance(env)
    start(env)
    assert [advance(env).truncated.tolist() for _ in range(3)] == [[False] * 2] * 2 + [[True] * 2]
    with pytest.raises(ValueError, match="must be reset"):
        advance(env)
    start(env)
    assert not advance(env).terminated.any()


def test_late_weights(make_env, start, advance):
    """With a delay the new weights are in use at the end of the interval, but not from its beginning."""
    prompt, late = make_env(n_envs=8), make_env(n_envs=8, action_delay=0.25)
    for env in (prompt, late):
        start(env)
        for t in range(10):
            step = advance(env, np.full((8, 4), t % 4))
        assert env.engine.world.pairs["weight"][0, 0] == pytest.approx(prompt.engine.world.pairs["weight"][0, 0])
    assert not np.array_equal(step.reward, prompt.engine.world.reward[:, 0])
