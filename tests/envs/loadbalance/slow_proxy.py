"""A slow simulation of proxies in front of servers, written from HAProxy's manual, not from the simulator's code."""

import heapq
import math
from collections import deque


class SlowServer:
    """Processor sharing of CPUs among at most so many requests, and a queue in front."""

    def __init__(self, cpus, workers=32, backlog=128):
        self.cpus, self.workers, self.backlog = cpus, workers, backlog
        self.inside, self.waiting, self.done, self.now = [], deque(), 0.0, 0.0

    @property
    def pace(self):
        return min(1.0, self.cpus / len(self.inside))

    def due(self):
        return self.now + max(self.inside[0][0] - self.done, 0.0) / self.pace if self.inside else math.inf

    def run(self, t):
        self.done += (t - self.now) * self.pace if self.inside else 0.0
        self.now = t

    def push(self, t, request, size):
        self.run(t)
        if len(self.inside) < self.workers:
            heapq.heappush(self.inside, (self.done + size, request))
        elif len(self.waiting) < self.backlog:
            self.waiting.append((request, size))
        else:
            return False
        return True

    def pop(self, t):
        self.run(t)
        _, request = heapq.heappop(self.inside)
        if self.waiting:
            following, size = self.waiting.popleft()
            heapq.heappush(self.inside, (self.done + size, following))
        if not self.inside:
            self.done = 0.0
        return request


class SlowProxy:
    """One proxy: how many requests it has on each server, their weights, and whom it chooses next."""

    def __init__(self, rule, weights, numbers, draws=2):
        self.rule, self.weights, self.numbers, self.draws = rule, list(weights), numbers, draws
        self.count, self.servers = [0] * len(weights), range(len(weights))
        self.longest_ago = list(self.servers)  # servers in the order in which they changed
        self.current = [0.0] * len(weights)

    def change(self, j, by=0, weight=None):
        self.count[j] += by
        self.weights[j] = self.weights[j] if weight is None else weight
        self.longest_ago.remove(j)
        self.longest_ago.append(j)

    def choose(self):
        if self.rule == "leastconn":
            keys = {j: int(256 * (self.count[j] + 1) / self.weights[j]) if self.count[j] else 0 for j in self.servers}
            return min(self.longest_ago, key=keys.__getitem__)  # the first of equals
        if self.rule == "roundrobin":
            self.current = [c + w for c, w in zip(self.current, self.weights, strict=True)]
            j = max(self.servers, key=self.current.__getitem__)
            self.current[j] -= sum(self.weights)
            return j
        drawn = [self._draw() for _ in range(self.draws)]
        return min(reversed(drawn), key=lambda j: self.count[j] / self.weights[j])

    def _draw(self):
        x = next(self.numbers) * sum(self.weights)
        for j in self.servers:
            x -= self.weights[j]
            if x < 0:
                return j
        return len(self.weights) - 1


def play(flows, cpus, rule, weights, dt, numbers=None, draws=2):
    """(proxy, server, start, end) of all flows in the order of their ends, and how many were refused.

    ``flows`` are times, proxies and sizes; ``weights[k]`` are those of every proxy and server in interval k of ``dt``
    seconds, after whose last one nothing counts.
    """
    servers = [SlowServer(c) for c in cpus]
    proxies = [SlowProxy(rule, w, numbers, draws) for w in weights[0]]
    places, done, refused, arrived = {}, [], 0, 0
    for k, now in enumerate(weights):
        for proxy, new in zip(proxies, now, strict=True):
            for j, weight in enumerate(new):
                if weight != proxy.weights[j]:
                    proxy.change(j, weight=weight)
        while True:
            j = min(range(len(servers)), key=lambda j: servers[j].due())
            arrival = flows[0][arrived] if arrived < len(flows[0]) else math.inf
            t = min(servers[j].due(), arrival)
            if t > (k + 1) * dt:
                break
            if t < arrival:
                i, start = places.pop(request := servers[j].pop(t))
                proxies[i].change(j, -1)
                done.append((i, j, start, t))
                continue
            request, arrived = arrived, arrived + 1
            i = int(flows[1][request])
            j = proxies[i].choose()
            if servers[j].push(t, request, flows[2][request]):
                proxies[i].change(j, 1)
                places[request] = i, t
            else:
                refused += 1
    return done, refused
