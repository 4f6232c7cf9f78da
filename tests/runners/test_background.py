"""Calls in a background thread: in order, stopped at any moment, and nothing is kept."""

import gc
import threading
import weakref

import pytest

from hymarl.runners.background import Background


def test_calls_are_made_in_order_in_one_thread_and_errors_go_to_who_asks():
    background, seen = Background(), []

    def call(number):
        seen.append((number, threading.current_thread()))
        if number == 1:
            raise KeyError("one")
        return number

    futures = [background.submit(lambda n=n: call(n)) for n in range(3)]
    assert futures[2].result(10) == 2
    assert [number for number, _ in seen] == [0, 1, 2]
    assert len({thread for _, thread in seen}) == 1
    assert seen[0][1] is not threading.main_thread()
    with pytest.raises(KeyError, match="one"):
        futures[1].result()
    background.close()
    background.close()


def test_closing_waits_for_the_call_under_way_and_drops_those_after_it():
    background, begun, go_on, made = Background(), threading.Event(), threading.Event(), []

    def long():
        begun.set()
        assert go_on.wait(10)
        made.append("long")

    background.submit(long)
    later = background.submit(lambda: made.append("later"))
    assert begun.wait(10)
    threading.Timer(0.05, go_on.set).start()
    background.close()
    assert made == ["long"]
    assert later.cancelled()


def test_the_thread_ends_and_keeps_nothing_alive():
    class Result:
        pass

    background, seen = Background(), []

    def call():
        seen.append(threading.current_thread())
        return Result()

    result = background.submit(call).result(10)
    kept = weakref.ref(result)
    background.close()
    seen[0].join(10)
    assert not seen[0].is_alive()
    del result
    gc.collect()
    assert kept() is None
    assert background.submit(lambda: 3).result(10) == 3  # it may be used again
    background.close()
