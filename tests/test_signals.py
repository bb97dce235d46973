"""Handlers of signals for the length of a block, in all places that set any."""

import contextlib
import signal
import threading
import time

import pytest

from bytemill.signals import handled, replaceable


def of_console():
    from bytemill.cli.console.interrupts import answered

    return answered()


def of_writing():
    from bytemill.cli.console.interrupts import held

    return held()


def of_chat():
    pytest.importorskip("torch")
    from bytemill.cli.serving.chat import interrupted

    return interrupted(threading.Event())


def of_training():
    pytest.importorskip("torch")
    from bytemill.lm.train.interrupts import interrupts

    return interrupts(lambda: None, lambda n: None)


def of_ranks():
    pytest.importorskip("torch")
    from bytemill.lm.distributed.group import _unterminated

    return _unterminated()


def of_server():
    pytest.importorskip("torch")
    pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
    uvicorn = pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    from bytemill.serve.server import _Uvicorn

    return _Uvicorn(uvicorn.Config(app=None)).capture_signals()


PLACES = {
    of_console: [signal.SIGINT],
    of_writing: [signal.SIGINT],
    of_chat: [signal.SIGINT],
    of_training: [signal.SIGINT, signal.SIGTERM],
    of_ranks: [signal.SIGTERM],
    of_server: [signal.SIGINT, signal.SIGTERM],
}


@pytest.fixture
def heard():
    """The numbers of SIGINT and SIGTERM that arrive; what was set before comes back."""
    arrived = []

    def hear(number, frame):
        arrived.append(number)

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    yield arrived
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_a_handler_of_c_is_left_alone(heard, place, monkeypatch):
    """What C installed is None to Python, which could not put it back."""
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    with place():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
    assert heard == [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_a_handler_of_python_is_taken_away_and_put_back(heard, place):
    if place is of_console:  # it takes away none but Python's own
        signal.signal(signal.SIGINT, signal.default_int_handler)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with place():
        changed = [number for number in before if signal.getsignal(number) != before[number]]
    assert changed == PLACES[place]
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_handler_comes_back_after_an_error_as_well(heard):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), handled(signal.SIG_IGN, signal.SIGTERM):
        signal.raise_signal(signal.SIGTERM)
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) == before and heard == []


def test_only_the_main_thread_changes_handlers(heard):
    seen = []

    def run():
        seen.append(replaceable(signal.SIGINT))
        with handled(signal.SIG_IGN, signal.SIGINT):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [{}, signal.getsignal(signal.SIGINT)]


def test_a_mixture_of_both_kinds(heard, monkeypatch):
    real = signal.getsignal
    monkeypatch.setattr(
        signal, "getsignal", lambda number: None if number == signal.SIGTERM else real(number)
    )
    pytest.importorskip("torch")
    from bytemill.lm.train.interrupts import interrupts

    # The thread that looks at the signals, too, sees each before its handler has ended.
    within = interrupts(lambda: time.sleep(0.1), lambda n: None)
    with contextlib.suppress(KeyboardInterrupt), within:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert heard == [signal.SIGTERM, signal.SIGINT]
