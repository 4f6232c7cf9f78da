"""Timers finer than asyncio's own, which wait for whole milliseconds."""

import asyncio
import sys
import time

import pytest

if sys.platform != "linux":
    pytest.skip("the testbed needs Linux", allow_module_level=True)

from hymarl.testbed import instants


async def lateness():
    """The least of some waits of 1.1 ms: the machine may delay some of them, but not all."""
    late = []
    for _ in range(50):
        start = time.monotonic()
        await asyncio.sleep(0.0011)
        late.append(time.monotonic() - start - 0.0011)
    return min(late)


def test_a_timer_is_not_rounded_up_to_a_millisecond():
    assert 0 <= instants.run(lateness()) < asyncio.run(lateness())


def test_what_the_coroutine_returns_and_raises_comes_back():
    async def fails():
        raise ValueError("it")

    assert instants.run(asyncio.sleep(0, 3)) == 3
    with pytest.raises(ValueError, match="it"):
        instants.run(fails())
