"""Functions run by several processes that have found each other, as torchrun starts them."""

import multiprocessing
import os
import pickle
import sys
import traceback
from multiprocessing.connection import wait
from pathlib import Path

import torch
import torch.distributed as dist

from bytemill.lm.distributed import heartbeat
from bytemill.lm.distributed.group import joined

SECONDS = 900
threads_left = []
"""Of gloo, when the ranks that ran last have left their group."""


class RankError(AssertionError):
    """A rank has raised; the message is its traceback."""


def forking():
    """How a process begins that imports torch: as a fork, where that is safe."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    # One process imports torch, and ranks are forked from it. It has what the first optimizer of
    # a process would import as well, which takes as long again.
    context = multiprocessing.get_context("forkserver")
    modules = ["tests.support.ranks", "bytemill.lm.train", "torch._dynamo", "matplotlib.figure"]
    context.set_forkserver_preload(modules)
    return context


def on_ranks(size, work, *args, expect_death=()):
    """What `work(group, *args)` returns on each of `size` ranks, in their order.

    Args:
        size: How many processes; each computes with one thread.
        work: A function of a module's own level.
        args: What it gets, fit for pickling.
        expect_death: Ranks that end without an answer; theirs is None.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    environment = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size), "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    context = forking()
    call = pickle.dumps((work, args))  # plainly: tensors are copied, not shared
    answers = [None] * size
    threads_left[:] = [None] * size
    processes, pipes = [], []
    for rank in range(size):
        reader, writer = context.Pipe(duplex=False)
        own = {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        process = context.Process(target=_rank, args=(writer, own, call), daemon=True)
        process.start()
        writer.close()
        processes.append(process)
        pipes.append(reader)
    errors = []
    waiting = list(pipes)
    try:
        while waiting:
            ready = wait(waiting, timeout=SECONDS)
            assert ready, f"ranks {[pipes.index(one) for one in waiting]} have not answered"
            for pipe in ready:
                waiting.remove(pipe)
                rank = pipes.index(pipe)
                try:
                    is_good, answers[rank], threads_left[rank] = pickle.loads(pipe.recv_bytes())
                except EOFError:
                    assert rank in expect_death, f"rank {rank} died"
                    continue
                if not is_good:
                    errors.append(f"rank {rank}:\n{answers[rank]}")
    finally:
        for process in processes:
            process.join(timeout=0 if waiting else 60)
            process.kill()
    if errors:
        raise RankError("\n".join(errors))
    return answers


def _gloo_threads():
    """How many of this process wait for work: an interpreter that ends under one may abort."""
    names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    return sum("gloo_runloop" in name for name in names)


def _rank(pipe, environment, call):
    os.environ.update(environment)
    torch.set_num_threads(1)
    heartbeat.LOST_SECONDS = SECONDS  # a busy machine may let a rank wait for long
    try:
        work, args = pickle.loads(call)
        with joined(torch.device("cpu")) as group:
            answer = True, work(group, *args)
    except BaseException:
        answer = False, traceback.format_exc()
    pipe.send_bytes(pickle.dumps((*answer, _gloo_threads())))
