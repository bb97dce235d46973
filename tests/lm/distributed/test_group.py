"""How ranks find each other, agree, and notice that one is gone."""

import os
import signal
import threading
import time
from datetime import timedelta

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.distributed import heartbeat, meeting
from bytemill.lm.distributed.group import Group, RankLostError, device_of
from bytemill.lm.distributed.place import Place
from tests.support.faulty_server import wait_until
from tests.support.ranks import on_ranks

ENVIRONMENT = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "node0", "MASTER_PORT": "29500"}


def test_a_process_without_torchrun_is_alone():
    assert Place.here({}) == Place(rank=0, size=1, local_rank=0, local_size=1, restarts=0)


def test_a_single_process_needs_no_place_to_meet():
    assert Place.here({"RANK": "0", "WORLD_SIZE": "1"}) == Place()


def test_the_place_among_several_nodes():
    environment = {**ENVIRONMENT, "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "RANK": "3"}
    environment["TORCHELASTIC_RESTART_COUNT"] = "2"
    assert Place.here(environment) == Place(3, 4, 1, 2, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MASTER_PORT": ""}, "RANK is set and MASTER_PORT is not"),
        ({"RANK": "4"}, "RANK=4: with WORLD_SIZE=4 ranks go from 0 to 3"),
        ({"RANK": "one"}, "RANK='one'"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE='-2'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
    ],
)
def test_environments_that_are_wrong(changes, message):
    with pytest.raises(ValueError, match=message):
        Place.here({**ENVIRONMENT, **changes})


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_rows_are_shared_whole_and_evenly(size):
    worlds = [Group(Place(rank, size), torch.device("cpu"), None) for rank in range(size)]
    for n in range(size, 12):
        rows = [list(group.rows(n)) for group in worlds]
        assert [row for own in rows for row in own] == list(range(n))
        assert max(map(len, rows)) - min(map(len, rows)) <= 1


def test_devices_of_several_processes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    place = Place(rank=3, size=4, local_rank=1, local_size=2)
    assert device_of("auto", place) == device_of("cuda", place) == "cuda:1"
    assert device_of("cpu", place) == "cpu"
    assert device_of("cuda:1", Place()) == "cuda:1"
    with pytest.raises(ValueError, match=r"cuda:0.*each takes its own"):
        device_of("cuda:0", place)
    with pytest.raises(ValueError, match="3 processes on this node and 2 GPUs"):
        device_of("cuda", Place(rank=0, size=3, local_rank=0, local_size=3))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto", place) == "cpu"


def talk(group):
    """All that can be asked in one go: starting processes costs most."""
    found = {"sum": group.sum(torch.tensor([1.0 + group.rank, 2.0])).tolist()}
    found["first"] = group.first(group.rank + 0.25)
    found["gathered"] = group.gather(f"rank {group.rank}")
    group.agree({"data": "abc", "steps": 5, "refused elsewhere": float("nan")})
    for name, block in (
        ("agree", lambda: group.agree({"data": "abc", "steps": 5 + (group.rank == 1)})),
        ("one raises", lambda: begin(group, group.rank == 1)),
        ("all raise", lambda: begin(group, True)),
    ):
        try:
            block()
        except Exception as error:
            found[name] = type(error).__name__, str(error)
    begin(group, False)
    return found


def begin(group, fails):
    with group.all_or_none():
        if fails:
            raise ValueError(f"data of {group.rank}: it is empty")


def test_what_ranks_say_to_each_other():
    first, second = on_ranks(2, talk)
    assert first["sum"] == second["sum"] == [3.0, 4.0]
    assert first["first"] == second["first"] == 0.25
    assert first["gathered"] == second["gathered"] == ["rank 0", "rank 1"]
    kind, text = first["agree"]
    assert kind == "ValueError"
    assert "rank 1 has steps 6, rank 0 5" in text
    assert "data" not in text.partition(";")[0]
    assert second["agree"][0] == second["all raise"][0] == "FailedElsewhereError"
    assert first["one raises"][0] == "FailedElsewhereError"
    assert "rank 1 could not begin: ValueError: data of 1: it is empty" in first["one raises"][1]
    assert second["one raises"] == ("ValueError", "data of 1: it is empty")
    assert first["all raise"] == ("ValueError", "data of 0: it is empty")


# On a machine that is very busy its silence is noticed before its closed connections are.
LOST = r"rank 1 has (died|given no sign of life for \d+ s)"


def killed(group):
    """Rank 1 is killed while rank 0 waits for it in a collective."""
    group.sum(torch.zeros(1))
    if group.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    group.sum(torch.zeros(1))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_rank_is_named_long_before_a_collective_gives_up():
    with pytest.raises(AssertionError, match=f"RankLostError: rank 0 ends: {LOST}"):
        on_ranks(2, killed, expect_death=[1])  # waits for half as long


def fails(group):
    group.sum(torch.zeros(1))
    if group.rank == 1:
        raise KeyError("something of its own")
    group.sum(torch.zeros(1))


def test_a_rank_that_raises_ends_the_others_and_says_why():
    with pytest.raises(AssertionError) as caught:
        on_ranks(2, fails)
    text = str(caught.value)
    assert "RankLostError: rank 0 ends: rank 1 has failed: KeyError: 'something of its own'" in text


class Store(dict):
    """As torch's, in this process."""

    def set(self, name, value):
        self[name] = value.encode()

    def get(self, name):
        return self[name]

    def check(self, names):
        return all(name in self for name in names)


def test_a_start_does_not_meet_what_another_has_left_in_the_store(monkeypatch):
    monkeypatch.setattr(meeting.dist, "PrefixStore", lambda name, store: name)
    store, found = Store(), {}

    def begin(rank):
        found[rank] = meeting.agreed(store, rank, 2, timedelta(seconds=300))

    starts = []
    for first in (0, 1):  # whoever of the two is there first
        threads = [threading.Thread(target=begin, args=(rank,)) for rank in (first, 1 - first)]
        threads[0].start()
        time.sleep(0.2)
        threads[1].start()
        for thread in threads:
            thread.join(300)
        assert found[0] == found[1]
        starts.append(found[0])
    assert starts[0] != starts[1]
    with pytest.raises(RuntimeError, match="rank 1 did not come"):
        meeting.agreed(store, 0, 2, timedelta(seconds=0.2))
    with pytest.raises(RuntimeError, match="rank 0 did not come"):
        meeting.agreed(store, 1, 2, timedelta(seconds=0.2))


class Clock:
    """Seconds that pass when the test says so: a busy machine may stop any thread for a while."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


def test_a_run_ends_only_after_its_heartbeat(monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    asked, answer = threading.Event(), threading.Event()

    class Slow(Store):
        def check(self, keys):
            asked.set()
            answer.wait(60)
            return super().check(keys)

    store = Slow()
    store.set("beat/1", "1")
    one = heartbeat.Heartbeat(store, 0, 2)
    one.start()
    assert asked.wait(60)
    threading.Timer(0.3, answer.set).start()
    one.stop()
    assert not one._thread.is_alive()


def test_a_frozen_rank_is_found(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(heartbeat, "time", clock)
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(heartbeat, "_GRACE_SECONDS", 0.01)
    store, told = Store(), {}
    beats = [
        heartbeat.Heartbeat(store, rank, 3, lambda text, rank=rank: told.setdefault(rank, text))
        for rank in range(3)
    ]
    for one in beats:
        one.start()

    def pass_time(ranks):
        """A quarter of what a rank may be silent for, in which these beat and look."""
        clock.now += heartbeat.LOST_SECONDS / 4
        until = {rank: beats[rank]._beats + 3 for rank in ranks}
        wait_until(lambda: all(beats[r]._beats >= n or r in told for r, n in until.items()))

    for _ in range(12):
        pass_time(range(3))
    assert not told
    beats[2]._ended.set()  # it gives no sign of life any more
    beats[2]._thread.join()
    for _ in range(3):
        pass_time((0, 1))
    assert not told, "it may still come"
    for _ in range(3):
        pass_time((0, 1))
    wait_until(lambda: len(told) == 2)
    assert "rank 2 has given no sign of life" in told[0]
    assert "rank 2 has given no sign of life" in told[1]
    for one in beats:
        one.stop()


def test_a_lost_rank_is_an_error_of_connections():
    assert issubclass(RankLostError, ConnectionError)
