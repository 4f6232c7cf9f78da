"""VPP's shared memory: what is seen in it is what the simulator sees, and nothing wrong is ever set.

VPP itself was not there: `fake_vpp.py` keeps the map as it does.
"""

import signal
import sys
import threading
import time

import numpy as np
import pytest

from hymarl.agent import vpp
from hymarl.agent.command import main
from hymarl.agent.pilot import NO_LIMITS, Limits, Pilot, drive
from hymarl.agent.settings import settings_of
from hymarl.agent.site import SiteError
from hymarl.agent.vpp import LAYOUT, Vpp, alias_table, probabilities
from hymarl.components.rng import Stream, keys
from hymarl.envs.loadbalance.live import Live

from .fake_vpp import END, FCT, FLOW_DURATION, FakeVpp

SMALL = {"cpus": [1, 2, 4], "balancers": 2, "warmup": 2.0, "episode_limit": 40, "action_delay": 0.0}
SMALL |= {"weight_unit": None, "reservoir": 128}
STATIC = {"scenario": "static", "features": "all", "obs_norm": "raw", "obs_unit": "size"}
VARIANTS = {
    "features and own weights": {"features": "all", "obs_unit": "size"},
    "raw": STATIC,
    "zeros": {"rule": "latency", "latency_gain": 0.1, "fill": "zero_fill", "decay_norm": True},
    "pretrained": {"rule": "pretrained"},
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shm_vip_1"


@pytest.fixture
def fake(path):
    """Three servers, 2 flows on each, of which server 1 takes a second, 2 half of one, 3 a third."""
    fake = FakeVpp(path, 3)
    for a in (1, 2, 3):
        fake.count(a, 2)
        for slot in range(20):
            fake.sample(a, FCT, slot, 1.0 + 0.04 * slot, 1.0 / a)
    fake.packet(2.0)
    return fake


@pytest.fixture
def make_pilot(path):
    """A pilot that drives the map, and what it said."""
    sites = []

    def make(settings=None, limits=NO_LIMITS, dry_run=False):
        for site in sites:
            site.close()  # one agent at a time
        sites.append(Vpp(str(path), dry_run))
        said = []
        settings = settings or settings_of("lb_haproxy", {"rule": "latency"})
        pilot = Pilot(sites[-1], settings, limits, dry_run, 0, said.append)
        pilot.connect()
        return pilot, said

    yield make
    for site in sites:
        site.close()


def rounds(pilot, steps):
    """What happens in turns with the decisions of the pilot, the first before the first of them."""
    turns = iter(steps)

    def stop():
        for step in turns:
            step()
            return False
        return True

    drive([pilot], None, 1e-6, stop, lambda _: True)


def passing(fake, times):
    return [lambda t=t: fake.packet(t) for t in times]


class Simulated:
    """VPPs in the place of the simulator's balancers."""

    def __init__(self, component, folder, shift=0.0, **changes):
        self.env = component("env", "lb_haproxy", None, 1, **{**SMALL, **changes})
        self.world, self.n, self.shift = self.env.engine.world, len(self.env.cpus), shift
        self.growth = self.env.engine.parameters.measuring.growth
        self.paths = [str(folder / f"shm_vip_{i}") for i in range(2)]
        self.vpps = [FakeVpp(path, self.n) for path in self.paths]
        self.time_step = self.env.reset(keys(0, Stream.TEST, [0]), np.ones(1, np.bool_))
        for fake in self.vpps:
            fake.score(self.world.servers["nominal"][0][::-1])
        self.write()

    def step(self, actions):
        self.time_step = self.env.step(np.array([actions]), np.ones(1, np.bool_))
        self.write()

    def write(self):
        """Have VPPs know what balancers do, with the last number for the first server."""
        samples = self.world.samples[0].reshape(2, self.n, 2, -1)
        for i, fake in enumerate(self.vpps):
            for j in range(self.n):
                fake.count(self.n - j, int(self.world.pairs["count"][0, i, j]))
                for quantity, place in enumerate((FCT, FLOW_DURATION)):
                    for slot in np.flatnonzero(samples["grown"][i, j, quantity]):
                        t, v = self.measured(samples[i, j, quantity, slot])
                        fake.sample(self.n - j, place, slot, t, v)
            fake.packet(self.now)

    @property
    def now(self):
        return float(self.world.episode["now"][0]) + self.shift

    def measured(self, sample):
        t = np.log(sample["grown"]) / self.growth + self.shift
        if not self.shift:
            return t, sample["value"]
        t_end, t_begin = np.float32(t), np.float32(t - sample["value"])  # VPP has nothing better
        return t_end, t_end - t_begin

    def pilots(self):
        found = [Pilot(Vpp(path, False), self.env, NO_LIMITS, False, 0, print) for path in self.paths]
        for pilot in found:
            pilot.connect()
        return found


def test_the_layout_has_the_offsets_of_vpps_structures():
    offsets = {name: LAYOUT.fields[name][1] for name in LAYOUT.names}
    out, weights = {"msg_out_cache": 43, "msg_out_frames": 571}, {"msg_in_cache": 133_755, "msg_in_frames": 134_531}
    assert offsets == {"unused": 0, "n_as": 42, **out, "res_as": 2683, **weights}
    assert LAYOUT.itemsize == END == 137_635
    assert (vpp.OUT.itemsize, vpp.RESERVOIRS.itemsize, vpp.IN.itemsize) == (528, 2048, 776)
    assert (vpp.RESERVOIRS.fields["flow_duration"][1], vpp.IN.fields["weights"][1]) == (1024, 264)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_what_is_seen_and_set_is_what_the_simulator_sees_and_sets(component, tmp_path, changes):
    simulated, choose = Simulated(component, tmp_path, **changes), np.random.default_rng(0)
    pilots, compared = simulated.pilots(), 0
    for _ in range(SMALL["episode_limit"]):
        for i, pilot in enumerate(pilots):
            assert pilot.last[0][0] == pytest.approx(simulated.time_step.obs[0, i], rel=1e-6, abs=1e-6)
            assert np.abs(pilot.last[0]).max() > 0.1
        actions = choose.integers(0, 3, 2)
        for pilot, action in zip(pilots, actions, strict=True):
            pilot.move(int(action))
        simulated.step(actions)
        for i, (pilot, fake) in enumerate(zip(pilots, simulated.vpps, strict=True)):
            weights = simulated.world.pairs["weight"][0, i]
            assert fake.scores[::-1] == pytest.approx(weights, rel=3e-6)  # logarithms of an estimate have 6 decimals
            assert fake.chances()[::-1] == pytest.approx(weights / weights.sum(), abs=1e-6)
            pilot.look()
            compared += 1
    assert compared == 80
    assert sum(pilot.seen for pilot in pilots) > 50


def test_a_reader_that_starts_late_sees_everything(component, tmp_path):
    simulated = Simulated(component, tmp_path, features="all", obs_unit="size", obs_own_weight=False)
    for _ in range(20):
        simulated.step([0, 1])
    for i, pilot in enumerate(simulated.pilots()):
        assert pilot.last[0][0] == pytest.approx(simulated.time_step.obs[0, i], rel=1e-6, abs=1e-6)


def test_after_a_day_times_are_what_single_precision_leaves_of_them(component, tmp_path):
    """Timestamps are multiples of 7.8 ms then, and durations their differences."""
    simulated = Simulated(component, tmp_path, shift=86400.0, features="all", obs_unit="size", obs_own_weight=False)
    for _ in range(30):
        simulated.step([0, 1])
    off = [np.abs(p.last[0][0] - simulated.time_step.obs[0, i]).max() for i, p in enumerate(simulated.pilots())]
    assert 1e-4 < max(off) < 0.01


@pytest.mark.parametrize(
    "weights", [[1.0], [1.0, 1.0], [0.0, 3.0, 1.0], [1e-6, 1e6, 5.0], [0.1, 0.2, 0.3, 0.4, 7.0, 0.05]]
)
def test_a_table_of_aliases_draws_by_weight(weights):
    weights = np.array(weights)
    assert probabilities(alias_table(weights)) == pytest.approx(weights / weights.sum(), abs=1e-6)


def test_servers_are_numbered_backwards_and_the_first_bit_is_the_most_significant(fake, make_pilot):
    assert fake.memory[51:59] == bytes([0, 0, 0, 0, 0, 0, 0, 0b01110000])  # little-endian
    fake.score([1.0, 2.0, 3.0])
    fake.count(3, 7)
    fake.packet(2.3)
    pilot, _ = make_pilot(settings_of("lb_haproxy", {"rule": "latency", "obs_norm": "raw"}))
    assert pilot.weights == {"as3": 3.0, "as2": 2.0, "as1": 1.0}
    assert pilot.last[0][0].reshape(3, -1)[:, 0].tolist() == [7, 2, 2]
    fake.remove(2)
    fake.packet(2.6)
    _, avail = pilot.look()
    assert avail.tolist() == [[True, False, True]]
    pilot.move(0)
    fake.packet(2.9)
    assert fake.scores[1] == 0.0  # LB_SED looks at deleted servers, too
    fake.add(2)  # again
    fake.packet(3.2)
    assert pilot.look()[1].all()
    pilot.move(0)
    fake.packet(3.5)
    assert (fake.scores > 0.0).all()
    fake.add(4)
    fake.packet(3.8)
    with pytest.raises(SiteError, match="has servers that it had not before; start the agent anew"):
        pilot.look()


def test_it_moves_within_limits_and_sets_what_it_found_at_the_end(fake, make_pilot):
    fake.score([2.0, 2.0, 2.0])
    pilot, said = make_pilot(limits=Limits(1.2, 2.0, 10.0))
    rounds(pilot, passing(fake, np.arange(2.3, 20.0, 0.3)))
    scores = np.array([found for _, found in fake.taken])
    steps = np.vstack([[2.0, 2.0, 2.0], scores])
    steps = steps[1:] / steps[:-1]
    assert scores[-1][0] < 2.0 < scores[-1][2]
    assert (steps.max(), steps.min()) <= (1.2001, 1.0)
    assert steps.min() > 1 / 1.2001
    assert (scores.max(), scores.min()) == pytest.approx((4.0, 1.0), rel=0.2)
    pilot.restore()
    fake.packet(30.0)
    assert fake.scores.tolist() == [2.0, 2.0, 2.0]
    assert fake.chances() == pytest.approx(np.full(3, 1 / 3))
    assert not said


def test_weights_that_were_set_as_a_table_alone_are_found(fake, make_pilot):
    for a, row in enumerate([(1.0, 0), (0.5, 0), (0.25, 1)], start=1):
        fake.put("<fI", 133_755 + 264 + 8 * a, *row)
    chances = fake.chances()
    pilot, _ = make_pilot()
    assert list(pilot.weights.values())[::-1] == pytest.approx(3 * chances)
    pilot.restore()
    fake.packet(3.0)
    assert fake.chances() == pytest.approx(chances)


def test_a_dry_run_writes_nothing(fake, make_pilot, path):
    pilot, said = make_pilot(dry_run=True)
    before = path.read_bytes()
    rounds(pilot, [lambda: None] * 5)
    pilot.restore()
    assert path.read_bytes() == before
    assert said[0].startswith("would set as3 1.")


def test_numbers_of_weights_go_on_after_the_agent_was_started_anew(fake, make_pilot):
    pilot, _ = make_pilot()
    rounds(pilot, passing(fake, [2.3, 2.6, 2.9, 3.2]))
    fake.packet(3.5)
    assert fake.taken[-1][0] == 4
    last = fake.scores
    other, _ = make_pilot()
    assert list(other.weights.values())[::-1] == pytest.approx(last)
    for expected in range(5, 12):  # VPP looks at none of them meanwhile
        other.move(0)
        assert max(fake.get("<I", 134_531 + 776 * slot) for slot in range(4)) == expected
    pending, _ = make_pilot()
    assert pending.weights == pytest.approx(other.weights)
    fake.packet(3.8)
    assert (fake.taken[-1][0], fake.scores[::-1].tolist()) == (11, pytest.approx(list(other.weights.values())))


@pytest.mark.parametrize("numbers", [(0, 0, 0, 0), (0, 0, 18, 7), (8, 9, 10, 11), (0, 9, 10, 11), (12, 9, 14, 11)])
def test_whatever_was_written_before_vpp_takes_the_next_weights(fake, make_pilot, numbers):
    for slot, number in enumerate(numbers):
        fake.put("<I", 134_531 + 776 * slot, number)
        fake.put("<64f", 134_531 + 776 * slot + 8, *[5.0] * 64)
    pilot, _ = make_pilot()
    pilot.move(0)
    fake.packet(3.0)
    assert fake.scores[::-1] == pytest.approx(list(pilot.weights.values()))
    assert fake.get("<I", 133_755) > max(numbers)


def test_a_frame_that_is_not_whole_is_not_read(fake, make_pilot):
    pilot, said = make_pilot(settings_of("lb_haproxy", {"rule": "latency", "obs_norm": "raw"}))
    counts = lambda: pilot.look()[0][0].reshape(3, -1)[:, 0].tolist()  # noqa: E731
    for a in (1, 2, 3):
        fake.count(a, 10 * a)
    fake.packet(2.3, dies_at=2)  # its number is 0, and so it stays
    assert counts() == [2, 2, 2]
    pilot.move(0)
    fake.id_out -= 1
    fake.packet(2.6)
    assert counts() == [30, 20, 10]
    frame = 571 + 528 * (fake.id_out & 3)
    for at, kind, bad, good in [(4, "<f", np.nan, 2.6), (4, "<f", np.inf, 2.6), (20, "<I", 3, 0), (24, "<I", 7, 1)]:
        assert counts() == [30, 20, 10]
        fake.put(kind, frame + at, bad)
        assert counts() == ([30, 20, 10] if at == 20 else [2, 2, 2])  # server 0 is none
        fake.put(kind, frame + at, good)
    assert not said


class Noted(Live):
    """It keeps what it was given of reservoirs."""

    def hold(self, times, values, full, now):
        self.held = times[full], values[full]
        super().hold(times, values, full, now)


@pytest.mark.parametrize("pace", [1, 2, 3, 20, 33, 50])
def test_nothing_is_read_while_it_is_written(fake, path, pace):
    """VPP does some steps before each line of the reader: it writes the same number for all servers, and as a time.

    Every value is half of its time, which is written first.
    """

    def written():
        for n in range(3, 10**6):
            for a in (1, 2, 3):
                fake.count(a, n)
                at, t = 2683 + 2048 * a + 8 * (n % 20), 1.0 + (n % 64) / 64
                fake.put("<f", at, t)
                yield
                fake.put("<f", at + 4, t / 2)
            yield from fake.packet_slowly(2.0 + n)

    def trace(frame, event, _):
        if frame.f_code.co_filename != vpp.__file__:
            return None
        if event == "line":
            for _ in range(pace):
                next(steps)
        return trace

    for a in (1, 2, 3):
        for slot in range(20):
            fake.sample(a, FCT, slot, 1.0, 0.5)
    site, steps, before, found = Vpp(str(path), False), written(), sys.gettrace(), []
    live = Noted(site.fitted(settings_of("lb_haproxy", {"rule": "latency", "cpus": [1, 1, 1]})), 1, 0)
    site.weights()
    for _ in range(70):
        sys.settrace(trace)
        try:
            sight = site.look(live)
        finally:
            sys.settrace(before)
        times, values = live.held
        assert (values == times / 2).all()
        assert len(times) > 40
        found.append(sight.ongoing)
    site.close()
    found = np.array(found)
    assert (found == found[:, :1]).all()
    assert (np.diff(found[:, 0]) >= 0).all()
    assert found[-1, 0] > 10


BAD_SAMPLES = [
    (1.5, np.nan),
    (np.nan, 0.5),
    (np.inf, 0.5),
    (1.5, -0.5),
    (1.5, 1.6),
    (9.0, 0.5),
    (0.0, 0.0),
    (-1.0, 0.5),
]


@pytest.mark.parametrize("sample", BAD_SAMPLES)
def test_samples_that_cannot_be_are_not_counted(fake, make_pilot, sample):
    raw = settings_of("lb_haproxy", {"rule": "latency", "obs_norm": "raw", "obs_unit": "size"})
    expected = make_pilot(raw)[0].last[0]
    fake.sample(2, FCT, 100, *sample)
    assert (make_pilot(raw)[0].last[0] == expected).all()
    fake.sample(2, FCT, 100, 1.5, 1.4)
    assert (make_pilot(raw)[0].last[0] != expected).any()


def test_ages_count_from_the_newest_sample_if_it_is_newer_than_the_frame(fake, make_pilot):
    for slot in range(20):
        fake.sample(2, FCT, slot, 2.5, 1.0)
    pilot, _ = make_pilot(settings_of("lb_haproxy", {"rule": "latency", "obs_norm": "raw", "obs_unit": "size"}))
    decayed = pilot.last[0][0].reshape(3, -1)[:, 4]
    assert decayed[1] == 1.0
    assert decayed[2] == pytest.approx(np.mean(0.9 ** (1.5 - 0.04 * np.arange(20))), rel=1e-6)


def again(fake):
    """What passes after VPP was restarted: its seconds begin anew, and server 3 is the slow one now."""

    def packet(t):
        for slot in range(20):
            fake.sample(3, FCT, slot, t, 0.9 * t)
            fake.sample(1, FCT, slot, t, 0.1 * t)
        fake.count(1, 5)
        fake.packet(t)

    return [lambda t=t: packet(t) for t in np.arange(0.3, 5.0, 0.3)]


def anew(fake, path):
    path.unlink()
    fake.start()


def zeroed(fake, _):
    fake.memory[:] = bytes(len(fake.memory))
    fake.start()


@pytest.mark.parametrize("restart", [anew, zeroed])
def test_after_a_restart_the_configured_weights_come_first(fake, make_pilot, path, restart):
    pilot, said = make_pilot(limits=Limits(1.5, 16.0, 10.0))
    rounds(pilot, passing(fake, np.arange(2.3, 9.0, 0.3)))
    assert fake.scores[2] > 1.2
    rounds(pilot, [lambda: restart(fake, path), lambda: None, *again(fake)])
    numbers, scores = zip(*fake.taken, strict=True)
    assert numbers == tuple(range(numbers[0], numbers[0] + len(numbers)))
    assert scores[0].tolist() == [1.0, 1.0, 1.0]
    steps = np.array(scores)[1:] / np.array(scores)[:-1]
    assert max(steps.max(), 1 / steps.min()) <= 1.5001
    assert scores[-1][0] > 1.2 > 0.8 > scores[-1][2]
    assert pilot.last[0][0].reshape(3, -1)[2, 0] == pytest.approx(np.log2(6) / np.log2(161), abs=1e-6)
    assert "restarted; the configured weights are set as soon as" in said[0]
    assert f"{path}: VPP has written no whole frame yet" in said[1]
    assert said[2:] == ["requests are seen again"]


def test_a_map_that_vpp_finds_from_its_earlier_life_is_told_apart(fake, make_pilot):
    """VPP writes nothing until its seconds have passed the last one there; its frames then have lower numbers."""
    fake.packet(50.0)
    rounds(pilot := make_pilot(limits=Limits(1.5, 16.0, 10.0))[0], passing(fake, np.arange(51.0, 60.0, 0.3)))
    before, last = fake.id_out, pilot.last[0]
    assert before > 30
    fake.start()
    rounds(pilot, passing(fake, [0.3, 0.6, 0.9]))
    assert fake.id_out == 0
    assert (pilot.last[0] == last).all()
    for a in (1, 2, 3):
        fake.count(a, 9)
    rounds(pilot, passing(fake, [61.0, 61.3]))
    assert fake.id_out == 2
    assert pilot.last[0][0].reshape(3, -1)[:, 0] == pytest.approx(np.full(3, np.log2(10) / np.log2(161)), abs=1e-6)
    assert fake.taken[0][1].tolist() == [1.0, 1.0, 1.0]
    late, _ = make_pilot()
    assert (late.last[0][0].reshape(3, -1)[:, 0] == pilot.last[0][0].reshape(3, -1)[:, 0]).all()


def test_weights_that_could_not_be_set_are_not_moved_on_from(fake, make_pilot, path):
    """The map is away for some decisions, and requests are seen as soon as it is back."""
    pilot, said = make_pilot(limits=Limits(1.5, 16.0, 10.0))
    rounds(pilot, passing(fake, np.arange(2.3, 9.0, 0.3)))
    path.rename(path.with_suffix(".away"))
    rounds(pilot, [lambda: None] * 3)
    assert said == [
        f"{path} cannot be opened: No such file or directory; the configured weights are set as soon as "
        f"it can be reached"
    ]
    path.with_suffix(".away").rename(path)
    before = len(fake.taken)
    rounds(pilot, passing(fake, np.arange(9.5, 10.5, 0.3)))
    fake.packet(11.0)
    assert fake.taken[before + 1][1].tolist() == [1.0, 1.0, 1.0]  # before them those that VPP had not seen yet
    assert 1.0 < fake.scores[2] <= 1.5**4


def test_when_frames_stand_still_it_steps_back(fake, make_pilot):
    pilot, said = make_pilot(limits=Limits(1.5, 16.0, 0.05))
    rounds(pilot, passing(fake, np.arange(2.3, 5.0, 0.3)))
    assert fake.scores[2] > 1.0
    end = time.monotonic() + 10.0
    rounds(pilot, iter(lambda: (lambda: None) if not said and time.monotonic() < end else None, None))
    assert said == ["VPP has written no frame for 0.05 s although flows are under way; setting the configured weights"]
    rounds(pilot, passing(fake, [5.3]))
    assert fake.scores.tolist() == [1.0, 1.0, 1.0]
    assert said[1:] == ["requests are seen again"]
    for a in (1, 2, 3):
        fake.count(a, 0)
    fake.packet(5.6)
    end = time.monotonic() + 0.1
    rounds(pilot, iter(lambda: (lambda: None) if time.monotonic() < end else None, None))
    assert len(said) == 2  # without requests, there is nothing to be seen


def test_requests_that_no_frame_tells_of_are_noticed_however_idle_it_was_before(fake, make_pilot):
    for a in (1, 2, 3):
        fake.count(a, 0)
    fake.packet(2.3)
    pilot, said = make_pilot(limits=Limits(1.5, 16.0, 0.05))
    fake.count(1, 5)  # VPP counts, but its time stands still
    end = time.monotonic() + 10.0
    rounds(pilot, iter(lambda: (lambda: None) if not said and time.monotonic() < end else None, None))
    assert said == ["VPP has written no frame for 0.05 s although flows are under way; setting the configured weights"]


def test_a_server_that_came_later_gets_what_the_others_have_on_average(fake, make_pilot):
    pilot, _ = make_pilot(limits=Limits(1.5, 16.0, 10.0))
    rounds(pilot, passing(fake, np.arange(2.3, 5.0, 0.3)))
    pilot.restore()
    fake.packet(5.3)
    fake.remove(2)
    fake.add(2)
    fake.packet(5.6)
    pilot, _ = make_pilot()
    assert pilot.weights == {"as3": 1.0, "as2": 1.0, "as1": 1.0}
    rounds(pilot, passing(fake, np.arange(5.9, 8.0, 0.3)))
    assert (fake.scores > 0.0).all()


@pytest.mark.parametrize("found", [1e7, 1e-7])
def test_weights_of_any_size_are_moved_from_and_set_again(fake, make_pilot, found):
    fake.score([found] * 3)
    found = float(np.float32(found))
    pilot, _ = make_pilot(limits=Limits(1.5, 16.0, 10.0))
    rounds(pilot, passing(fake, np.arange(2.3, 5.0, 0.3)))
    assert found < fake.scores[2] < 16.0 * found
    pilot.restore()
    fake.packet(5.3)
    assert fake.scores.tolist() == [found] * 3


def test_one_agent_drives_a_map_and_others_may_look(fake, make_pilot, path):
    make_pilot()
    with pytest.raises(SiteError, match="shm_vip_1: another agent drives it"):
        Vpp(str(path), dry_run=False)
    Vpp(str(path), dry_run=True).close()


def test_a_server_that_gets_nothing_is_left_alone(fake, make_pilot):
    fake.score([0.0, 1.0, 1.0])
    for a, row in enumerate([(0.0, 1), (1.0, 0), (1.0, 0)], start=1):
        fake.put("<fI", 133_755 + 264 + 8 * a, *row)
    pilot, _ = make_pilot()
    rounds(pilot, passing(fake, np.arange(2.3, 5.0, 0.3)))
    pilot.restore()
    fake.packet(5.6)
    assert [found[0] for _, found in fake.taken] == [0.0] * len(fake.taken)
    assert fake.chances()[0] == 0.0
    assert fake.scores.tolist() == [0.0, 1.0, 1.0]


def test_what_vpp_does_not_tell_cannot_be_observed(fake, make_pilot):
    with pytest.raises(ValueError, match="which VPP does not tell"):
        make_pilot(settings_of("lb_haproxy", {"rule": "latency", "obs_own_arrivals": True}))


def test_what_is_no_map_is_refused(fake, make_pilot, path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    (tmp_path / "short").write_bytes(bytes(1000))
    (tmp_path / "zeros").write_bytes(bytes(200_000))
    for name, message in {
        "none": "none cannot be opened: No such file or directory",
        "link": "name the file itself",
        "short": "it must be a file of 137,635 bytes or more, and has 1,000",
        "zeros": "its byte 42 must be 64, and is 0",
    }.items():
        with pytest.raises(SiteError, match=message):
            Vpp(str(tmp_path / name), True)
    with pytest.raises(SiteError, match="cannot be opened: Is a directory"):
        Vpp(str(tmp_path), False)
    fake.score([1.0, np.nan, 1.0])
    with pytest.raises(SiteError, match=r"the weights that are set are not all numbers from 0 on: \[1.0, nan, 1.0\]"):
        make_pilot()
    fake.memory[571 : 571 + 4 * 528] = bytes(4 * 528)
    with pytest.raises(SiteError, match="VPP has written no whole frame yet"):
        make_pilot()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--site", "vpp"], "--site vpp needs --map: the shared memory of a VIP, such as /dev/shm/shm_vip_1"),
        (["--site", "vpp", "--map", "x", "--backend", "be"], "--backend is for --site haproxy; --site vpp needs --map"),
        (
            ["--site", "haproxy", "--map", "x"],
            "--map is for --site vpp; --site haproxy needs --socket and --backend and --log",
        ),
        (["--site", "haproxy", "--socket", "x"], "--site haproxy needs --backend: the backend whose weights move"),
    ],
)
def test_options_of_the_other_site_are_refused(arguments, message, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err.strip() == message


@pytest.fixture
def own_signals():
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
def test_the_command_drives_a_map_and_sets_what_it_found_at_the_end(fake, path, capsys):
    over = threading.Event()

    def play():
        t = 2.0
        while not over.is_set():
            t += 0.25
            fake.packet(t)
            time.sleep(0.01)

    playing = threading.Thread(target=play)
    playing.start()
    try:
        assert main(["--site", "vpp", "--map", str(path), "--policy", "pretrained", "--seconds", "0.9"]) == 0
    finally:
        over.set()
        playing.join()
    fake.take()
    scores = np.array([found for _, found in fake.taken])
    assert (scores[:, 2] > 1.0).any()
    assert scores[-1].tolist() == [1.0, 1.0, 1.0]
    said = capsys.readouterr().out
    assert f"driving {path}: as3 1, as2 1, as1 1" in said
    assert said.endswith("the configured weights are set\n")
