"""VPP's load balancer as Yao, Ding and Clausen extended it (CIKM 2022): shared memory with statistics and weights.

For each VIP, VPP writes what it counts into a cache, which it copies into the next of four frames at most every 0.2 s,
when a packet passes; and it takes over the newest of four frames of weights. Whoever writes a frame sets its id to 0,
fills it, and sets its id. Samples of completion times and durations are in reservoirs that VPP overwrites at random.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..envs.loadbalance.layout import Flags, Floats
from ..envs.loadbalance.live import Live
from ..envs.loadbalance.settings import Settings
from .site import Option, Settable, Sight, SiteError

N_SERVERS, N_FRAMES, N_SAMPLES = 64, 4, 128
SAMPLE = np.dtype([("t", "<f4"), ("v", "<f4")])
"""A time in VPP's seconds, and a duration that was found then."""
COUNT = np.dtype([("as_index", "<u4"), ("n_flow_on", "<i4")])
OUT = np.dtype([("id", "<u4"), ("ts", "<f4"), ("b_header", "<u8"), ("body", COUNT, N_SERVERS)])
"""A frame that VPP writes; the most significant bit of the header is server 0, which stands for none."""
RESERVOIRS = np.dtype([("fct", SAMPLE, N_SAMPLES), ("flow_duration", SAMPLE, N_SAMPLES)])
ALIAS = np.dtype([("odd", "<f4"), ("alias", "<u4")])
IN = np.dtype([("id", "<u4"), ("ts", "<f4"), ("score", "<f4", N_SERVERS), ("weights", ALIAS, N_SERVERS)])
"""A frame that VPP reads: weights for its rule LB_SED, and the same as a table for LB_ALIAS."""
LAYOUT = np.dtype(
    [
        ("unused", "V42"),
        ("n_as", "u1"),
        ("msg_out_cache", OUT),
        ("msg_out_frames", OUT, N_FRAMES),
        ("res_as", RESERVOIRS, N_SERVERS),
        ("msg_in_cache", IN),
        ("msg_in_frames", IN, N_FRAMES),
    ]
)
"""What is in the map, without gaps; it is larger."""

_SLACK_S = 1.0
"""Samples are at most so much newer than the newest frame; later ones are from before VPP was restarted."""
_TRIES = 4
_LAST_ID = 2**32 - 1


class Vpp:
    """The shared memory of a VIP.

    Args:
        path: of the map, such as ``/dev/shm/shm_vip_1``.
        dry_run: whether it is only read.

    Raises:
        SiteError: it cannot be opened, or has another layout.
    """

    options: ClassVar[Sequence[Option]] = (
        Option("--map", "PATH", "the shared memory of a VIP, such as /dev/shm/shm_vip_1"),
    )
    notes: ClassVar[str] = """
VPP's load balancer must be that of MARLLB, built with LB_MSG_IN, and with LB_SED or LB_ALIAS."""
    settable: ClassVar[Settable] = Settable(1e-30, 1e30, whole=False)  # which single precision holds
    silence: ClassVar[str] = "VPP has written no frame for {:g} s although flows are under way"

    def __init__(self, path: str, dry_run: bool) -> None:
        self.name, self._dry_run = path, dry_run
        self._servers = np.zeros(0, np.int64)
        self._number = dict[str, int]()
        self._file, self._stamp, self._taken, self._frame = -1, 0.0, 0, (0, -1.0)
        self._completions: NDArray[np.uint64] | None = None
        self._open()

    @classmethod
    def opened(cls, given: Mapping[str, str], dry_run: bool) -> Self:
        """See `Site.opened`."""
        return cls(given["map"], dry_run)

    def weights(self) -> Mapping[str, float]:
        """See `Site.weights`; before any were set they are equal, and a server that came later has the others' mean.

        VPP numbers the servers of a VIP backwards, so the last number is the first that is configured.
        """
        self._check()
        self._servers = active(self._newest())[::-1]
        if not len(self._servers):
            raise SiteError(f"{self.name}: this VIP has no servers")
        self._number = {f"as{a}": int(a) for a in self._servers}
        now = self._newest_weights()
        vector, self._score = np.sort(self._servers), np.zeros(N_SERVERS)
        score = now["score"][vector].astype(np.float64)
        if (score == 0.0).all():  # LB_ALIAS needs none
            score = len(vector) * probabilities(now["weights"][vector])
        if not ((score == 0.0) | (score >= self.settable.least) & (score <= self.settable.most)).all():
            raise SiteError(f"{self.name}: the weights that are set are not all numbers from 0 on: {score.tolist()}")
        table = now["weights"][vector]
        later = (score == 0.0) & (table["odd"] == 1.0) & (table["alias"] == 0)  # as VPP clears the place of a server
        if later.any():
            score[later] = score[score > 0.0].mean()
        self._score[vector] = score
        return {name: float(self._score[a]) for name, a in self._number.items()}

    def fitted(self, settings: Settings) -> Settings:
        """See `Site.fitted`."""
        if settings.obs_own_arrivals:
            raise ValueError("this policy observes how many flows arrive (obs_own_arrivals), which VPP does not tell")
        return replace(settings, reservoir=N_SAMPLES, weight_unit=None)

    def look(self, live: Live) -> Sight:
        """See `Site.look`."""
        self._check()
        frame = self._newest()
        known = np.isin(self._servers, active(frame))
        if not np.isin(active(frame), self._servers).all():
            raise SiteError(f"{self.name}: VPP has servers that it had not before; start the agent anew")
        samples, settled = self._samples()
        t, v = samples["t"].astype(np.float64), samples["v"].astype(np.float64)
        full = settled & (t > 0.0) & (v >= 0.0) & (v <= t) & (t <= frame["ts"] + _SLACK_S)
        now = max(float(frame["ts"]), float(t[full].max(initial=0.0)))
        live.hold(t[None], v[None], full[None], now)
        completions = samples[:, 0].view(np.uint64)
        n_new = 0 if self._completions is None else int((full[:, 0] & (completions != self._completions)).sum())
        self._completions = completions
        ongoing = np.maximum(frame["body"]["n_flow_on"][self._servers], 0).astype(np.int64)
        before, self._frame = self._frame, (int(frame["id"]), float(frame["ts"]))
        counted = self._all["msg_out_cache"]["body"]["n_flow_on"][self._servers]  # also while no frame is written
        return Sight(now, ongoing, 0, known, n_new, told=self._frame != before, due=bool((counted > 0).any()))

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """See `Site.set_weights`."""
        low, high, _ = self.settable
        if wrong := {name: w for name, w in weights.items() if not low <= w <= high}:
            raise ValueError(f"weights must be from {low:g} to {high:g}, got {wrong}")
        self._check()
        for name, w in weights.items():
            self._score[self._number[name]] = w
        vector = active(self._all["msg_out_cache"])  # an alias is a place in VPP's vector of the VIP's servers
        frame = np.zeros((), IN)
        frame["ts"], frame["weights"]["odd"] = self._stamp, 1.0
        frame["score"][vector] = self._score[vector]  # 0 for a server that was deleted, which LB_SED still looks at
        frame["weights"][vector] = alias_table(self._score[vector])
        number = self._next_id()
        slot = self._all["msg_in_frames"][number % N_FRAMES : number % N_FRAMES + 1]
        slot["id"] = 0
        slot[:] = frame
        slot["id"] = number

    def close(self) -> None:
        """See `Site.close`."""
        if self._file >= 0:
            fcntl.flock(self._file, fcntl.LOCK_UN)  # the mapping holds the file open
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        """Map the file that the path names now."""
        self.close()
        flags = os.O_RDONLY if self._dry_run else os.O_RDWR
        try:
            self._file = os.open(self.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            link = "; if it is a symbolic link, name the file itself" if os.path.islink(self.name) else ""
            raise SiteError(f"{self.name} cannot be opened: {error.strerror}{link}") from error
        found, wrong = os.fstat(self._file), ""
        if not stat.S_ISREG(found.st_mode) or found.st_size < LAYOUT.itemsize:
            wrong = f"it must be a file of {LAYOUT.itemsize:,} bytes or more, and has {found.st_size:,}"
        else:
            access = mmap.ACCESS_READ if self._dry_run else mmap.ACCESS_WRITE
            self._all: Any = np.frombuffer(mmap.mmap(self._file, LAYOUT.itemsize, access=access), LAYOUT)[0]
            if (n := int(self._all["n_as"])) != N_SERVERS:
                wrong = f"its byte 42 must be {N_SERVERS}, and is {n}"
        if wrong:
            self.close()
            raise SiteError(f"{self.name} is no map of a VIP: {wrong}")
        if not self._dry_run:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self.close()
                raise SiteError(f"{self.name}: another agent drives it") from error
        self._stamp, self._taken, self._frame, self._completions = 0.0, 0, (0, -1.0), None

    def _check(self) -> None:
        """Notice a restart of VPP; touching what is no longer in the file would end the program."""
        try:
            named, held = os.stat(self.name, follow_symlinks=False), os.fstat(self._file) if self._file >= 0 else None
        except OSError as error:
            raise SiteError(f"{self.name} cannot be opened: {error.strerror}") from error
        if held is None or not os.path.samestat(named, held) or held.st_size < LAYOUT.itemsize:
            self._open()
            raise SiteError(f"{self.name} was made anew, so VPP was restarted")
        stamp, taken = float(self._all["msg_out_cache"]["ts"]), int(self._all["msg_in_cache"]["id"])
        before, self._stamp, self._taken = (self._stamp, self._taken), stamp, taken
        if stamp < before[0] or taken < before[1]:
            self._completions = None
            raise SiteError(f"{self.name}: VPP has begun to count anew, so it was restarted")

    def _newest(self) -> np.void:
        """A copy of the newest frame that is whole."""
        frames, newest = self._all["msg_out_frames"], None
        for k in range(N_FRAMES):
            number = int(frames["id"][k])
            frame = frames[k].copy()
            if number != int(frame["id"]) or number != int(frames["id"][k]):
                continue  # it was written meanwhile
            whole = number != 0 and number % N_FRAMES == k
            # Those of an earlier life of VPP have later times, or lower ones than the newest.
            whole &= 0.0 <= float(frame["ts"]) <= float(self._all["msg_out_cache"]["ts"]) < np.inf
            whole &= bool((frame["body"]["as_index"][active(frame)] == active(frame)).all())
            if whole and (newest is None or (frame["ts"], number) > (newest["ts"], newest["id"])):
                newest = frame
        if newest is None:
            raise SiteError(f"{self.name}: VPP has written no whole frame yet; it does when packets pass")
        return newest

    def _newest_weights(self) -> np.void:
        """The frame of weights that VPP has, or will have at its next look."""
        newest = self._all["msg_in_cache"].copy()
        for _ in range(N_FRAMES):
            following = self._all["msg_in_frames"][(int(newest["id"]) + 1) % N_FRAMES].copy()
            if following["id"] <= newest["id"]:
                break
            newest = following
        return newest

    def _next_id(self) -> int:
        """The next id that VPP will come to, whatever was written before.

        It goes on from its own frame as long as the next slot has a larger id, and takes the last one.
        """
        largest = max(int(self._all["msg_in_cache"]["id"]), *map(int, self._all["msg_in_frames"]["id"]))
        following = int(self._newest_weights()["id"]) + 1
        number = largest + 1 + (following - largest - 1) % N_FRAMES
        if number > _LAST_ID:
            raise SiteError(
                f"{self.name}: there are no further numbers for weights; end VPP, delete the map and start it again"
            )
        return number

    def _samples(self) -> tuple[NDArray[Any], Flags]:
        """Copies ``[S, 2, 128]`` of the reservoirs, and which of the samples were not being written."""
        once = self._copy()
        for _ in range(_TRIES):
            again = self._copy()
            settled = once.view(np.uint64) == again.view(np.uint64)
            if settled.all():
                break
            once = again
        return again, settled

    def _copy(self) -> NDArray[Any]:
        return self._all["res_as"][self._servers].view(SAMPLE).reshape(len(self._servers), 2, N_SAMPLES)


def active(frame: np.void) -> NDArray[np.int64]:
    """Numbers of the servers that a frame has, in ascending order; 0 stands for none and is left out."""
    bits = np.unpackbits(np.array([frame["b_header"]], ">u8").view(np.uint8))
    bits[0] = 0
    return np.flatnonzero(bits)


def alias_table(weights: Floats) -> NDArray[np.void]:
    """A table ``[n]`` of `ALIAS` that draws servers by weight (Walker, 1977; Vose, 1991).

    A place is drawn at random, and left for another, its alias, with the probability 1 - ``odd``.
    """
    n = len(weights)
    table = np.zeros(n, ALIAS)
    table["odd"], table["alias"] = 1.0, np.arange(n)
    left = weights * n / weights.sum() if weights.sum() > 0.0 else np.ones(n)
    small, large = [k for k in range(n) if left[k] < 1.0], [k for k in range(n) if left[k] >= 1.0]
    while small and large:
        k, other = small.pop(), large[-1]
        table[k] = left[k], other
        left[other] -= 1.0 - left[k]
        if left[other] < 1.0:
            small.append(large.pop())
    return table


def probabilities(table: NDArray[np.void]) -> Floats:
    """With which a table ``[n]`` of `ALIAS` draws its places; not a number if it is none."""
    n, odd = len(table), table["odd"].astype(np.float64)
    if not ((odd >= 0.0) & (odd <= 1.0) & (table["alias"] < n)).all():
        return np.full(n, np.nan)
    return (odd + np.bincount(table["alias"], 1.0 - odd, minlength=n)) / n
