"""Being asked to stop."""

import signal
import threading

import pytest

from hymarl.app.signals import Stopped, interruptible, leave_to_parent, stop_signal

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def as_it_was():
    """Every signal is handled afterwards as it was before."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_what_is_going_on(number):
    with pytest.raises(Stopped) as stopped, interruptible():
        signal.raise_signal(number)
    assert stopped.value.args == (128 + number,)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_and_the_second_interrupts(number):
    with interruptible(), stop_signal() as request:
        assert (request(), request.number) == (False, None)
        signal.raise_signal(number)
        assert (request(), request.number) == (True, number)
        with pytest.raises(Stopped) as stopped:
            signal.raise_signal(signal.SIGTERM)
    assert stopped.value.args == (128 + signal.SIGTERM,)


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible(), stop_signal() as request:
            signal.raise_signal(signal.SIGHUP)
            assert not request()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminals_signals_can_be_left_to_the_parent():
    before = [signal.getsignal(number) for number in SIGNALS]
    try:
        with interruptible():  # as in the process of a sweep itself
            leave_to_parent()
            with pytest.raises(Stopped):
                signal.raise_signal(signal.SIGINT)
        leave_to_parent()
        with stop_signal() as request:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGHUP)
            assert not request()
            signal.raise_signal(signal.SIGTERM)
            assert request()
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


def test_another_thread_changes_nothing():
    def look():
        with interruptible(), stop_signal() as request:
            seen.append((request(), [signal.getsignal(number) for number in SIGNALS]))

    seen, before = [], [signal.getsignal(number) for number in SIGNALS]
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
