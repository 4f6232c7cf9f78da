"""A stand-in for VPP's load balancer: it keeps a map as VPP does, byte for byte, and takes over weights as VPP does.

Its offsets are numbers of their own, so that a mistake in the layout of the product shows.
"""

import mmap
import os
import struct

import numpy as np

SIZE, N_AS, OUT_CACHE, OUT_FRAMES, OUT_SIZE = 1_048_576, 42, 43, 571, 528
RESERVOIRS, RESERVOIR_SIZE, IN_CACHE, IN_FRAMES, IN_SIZE, END = 2683, 2048, 133_755, 134_531, 776, 137_635
FCT, FLOW_DURATION = 0, 1024


class FakeVpp:
    """VPP with one VIP of n servers, which have the numbers 1 to n.

    Args:
        path: of the map.
        n: servers.

    Attributes:
        id_out: of the last frame.
        taken: ids and scores ``[n]`` of the frames of weights that it took, in order of the servers' numbers.
    """

    def __init__(self, path, n):
        self.path, self.n, self.id_out, self.taken = path, n, 0, []
        self.start()

    def start(self):
        """Create the VIP in the map, in one that is there if there is one; what else is in it stays."""
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(file, SIZE)
        self.memory = mmap.mmap(file, SIZE)
        os.close(file)
        self.id_out, self.taken = 0, []
        self.memory[N_AS] = 64
        self.put("<I", IN_CACHE, 0)
        for a in range(1, self.n + 1):
            self.add(a)

    def put(self, kind, at, *values):
        struct.pack_into(kind, self.memory, at, *values)

    def get(self, kind, at):
        return struct.unpack_from(kind, self.memory, at)[0]

    def add(self, a):
        """Have a server, which has no weight yet."""
        self.remove(a)
        self.put("<Q", OUT_CACHE + 8, self.get("<Q", OUT_CACHE + 8) | 1 << (63 - a))
        self.put("<I", OUT_CACHE + 16 + 8 * a, a)

    def remove(self, a):
        self.put("<Q", OUT_CACHE + 8, self.get("<Q", OUT_CACHE + 8) & ~(1 << (63 - a)))
        self.put("<Ii", OUT_CACHE + 16 + 8 * a, 0, 0)
        self.put("<fI", IN_CACHE + 264 + 8 * a, 1.0, 0)
        self.put("<f", IN_CACHE + 8 + 4 * a, 0.0)

    def score(self, scores):
        """Have weights of servers 1 to n."""
        self.put(f"<{self.n}f", IN_CACHE + 12, *scores)

    def count(self, a, n):
        """n flows are on a server."""
        self.put("<i", OUT_CACHE + 16 + 8 * a + 4, n)

    def sample(self, a, quantity, slot, t, v):
        self.put("<ff", RESERVOIRS + RESERVOIR_SIZE * a + quantity + 8 * slot, t, v)

    def packet(self, now, dies_at=64):
        """A packet passes; VPP may die while it copies the part of the frame about a server."""
        for a in self.packet_slowly(now):
            if a == dies_at:
                return

    def packet_slowly(self, now):
        """The same in steps, which are numbered by the server that the next one copies."""
        if np.float32(now) - self.get("<f", OUT_CACHE + 4) < 0.2:
            return
        self.id_out += 1
        self.put("<f", OUT_CACHE + 4, now)
        frame = OUT_FRAMES + OUT_SIZE * (self.id_out & 3)
        self.memory[frame : frame + 16] = self.memory[OUT_CACHE : OUT_CACHE + 16]  # its id is 0
        for a in range(64):
            yield a
            at = 16 + 8 * a
            self.memory[frame + at : frame + at + 8] = self.memory[OUT_CACHE + at : OUT_CACHE + at + 8]
        self.put("<I", frame, self.id_out)
        self.take()

    def take(self):
        """Take over the newest weights."""
        number, newest = self.get("<I", IN_CACHE), None
        while self.get("<I", frame := IN_FRAMES + IN_SIZE * ((number + 1) & 3)) > number:
            number, newest = self.get("<I", frame), frame
        if newest is not None:
            self.memory[IN_CACHE : IN_CACHE + IN_SIZE] = self.memory[newest : newest + IN_SIZE]
            self.taken.append((number, self.scores))

    @property
    def scores(self):
        return np.frombuffer(self.memory, "<f4", self.n, IN_CACHE + 12).copy()

    def chances(self):
        """With which LB_ALIAS gives a flow to servers 1 to n, none of which was ever taken away."""
        table = [struct.unpack_from("<fI", self.memory, IN_CACHE + 264 + 8 * a) for a in range(1, self.n + 1)]
        found = np.zeros(self.n)
        for place, (odd, alias) in enumerate(table):
            found[place] += odd / self.n
            found[alias] += (1.0 - odd) / self.n
        return found
