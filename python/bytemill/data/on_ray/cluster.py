"""Work in a Ray cluster: a bounded number of tasks at a time, errors as one machine raises them."""

from __future__ import annotations

import contextlib
import socket
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import bytemill

_TICK_S: Final = 1.0
_FEWEST_PENDING: Final = 8
LARGER_NODE_S: Final = 300.0
"""How long tasks wait for a node with enough CPUs, as an autoscaler may start one."""


class ClusterError(OSError):
    """The cluster cannot do the work: a worker of another bytemill, or one that dies each time."""


def ray_module() -> Any:
    """The package `ray`; ImportError, with the pip command, if it is not installed."""
    try:
        import ray

        return ray
    except ImportError:
        raise ImportError("working on a cluster needs ray: pip install 'bytemill[ray]'") from None


def connect(address: str | None = None) -> None:
    """Connects this process to a Ray cluster, unless it is connected already.

    Args:
        address: "auto" for the one that runs on this machine, "host:port" of its head node,
            "ray://host:port" of a Ray Client server; None for what `ray.init()` chooses: the one
            that RAY_ADDRESS names, or else a new one on this machine alone.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: There is no cluster at the address.
    """
    ray = ray_module()
    if ray.is_initialized():
        return
    _check_answers(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="WARNING")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _unreachable(address, str(error)) from error


def _check_answers(address: str | None) -> None:
    """Ray itself waits a minute for a host that does not answer, and may end the process then."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, str(error)) from None


def _unreachable(address: str | None, reason: str) -> ConnectionError:
    where = "Ray" if address is None else f"address={address!r}"
    first = reason.strip().partition("\n")[0]
    return ConnectionError(
        f"{where}: no cluster could be reached ({first}); start one with `ray start --head`, or "
        "name its head node, as host:port"
    )


Call: TypeAlias = "tuple[Any, ...]"
"""What `Tasks.start` takes: tag, function, arguments."""


class Workers(NamedTuple):
    """What a caller says of them."""

    num_cpus: int = 1
    """CPUs, and threads, of a task."""
    max_retries: int = 3
    """How often a task is done again when its worker dies; -1 for ever."""


class Ticket(NamedTuple):
    """What a task is given first: by it, it finds what all tasks of a run share."""

    job: Any
    """A reference, which a worker fetches once and not for each task."""
    key: str
    version: str
    """The driver's bytemill."""


class Keyed(Protocol):
    """What all tasks of a run share."""

    @property
    def key(self) -> str:
        """Another one for each run."""


class Tasks:
    """Runs functions on workers.

    Args:
        job: What all tasks share; it goes to each node once.
        workers: What they take.
    """

    def __init__(self, job: Keyed, workers: Workers) -> None:
        self._ray = ray_module()
        self._ticket = Ticket(self._ray.put(job), job.key, bytemill.__version__)
        self._workers = workers
        # One for all functions, as each is taken apart, pickled and sent when it is made.
        self._remote = self._ray.remote(num_returns=2, **workers._asdict())(_call)
        self._pending: dict[Any, tuple[Any, list[Any]]] = {}
        self._too_small_since: float | None = None

    def start(self, tag: Any, function: Callable[..., Any], *args: Any) -> None:
        """Begins a task, which is known by `tag`.

        Its function returns two values: a small one, which comes here, and one that stays where it
        was made until it is asked for.
        """
        # Without SPREAD Ray fills one node first, and others may have nothing to do; but what is
        # given data goes to where it lies.
        has_data = any(isinstance(arg, self._ray.ObjectRef) for arg in args)
        remote = self._remote.options(
            name=function.__name__, scheduling_strategy="DEFAULT" if has_data else "SPREAD"
        )
        refs = remote.remote(function, self._ticket, *args)
        self._pending[refs[0]] = (tag, refs)

    def run(self, calls: Iterable[Call]) -> Iterator[tuple[Any, Any, Any]]:
        """Starts tasks as long as there is room, until all are done; the caller may start more.

        Yields:
            For each task, as soon as it is done: its tag, its small value, a reference to the
            other.
        """
        left = iter(calls)
        is_left = True
        while is_left or self._pending:
            while is_left and self._has_room():
                call = next(left, None)
                if call is None:
                    is_left = False
                else:
                    self.start(*call)
            yield from self._finished()

    def _finished(self) -> Iterator[tuple[Any, Any, Any]]:
        """Those that are done by now, after a short wait.

        Raises:
            ClusterError: A worker died each time, or is not fit for the work; no node has enough
                CPUs for a task.
            Exception: What the function raised, as it raised it.
        """
        if not self._pending:
            return
        ready, _ = self._ray.wait(
            list(self._pending), num_returns=1, timeout=_TICK_S, fetch_local=False
        )
        if not ready:
            self._check_size()
        for ref in ready:
            tag, (_, large) = self._pending.pop(ref)
            yield tag, self.get(ref), large

    def _check_size(self) -> None:
        """Warns if tasks wait for a larger node than there is, and gives it up in the end."""
        wanted = self._workers.num_cpus
        sizes = [node["Resources"].get("CPU", 0) for node in self._ray.nodes() if node["Alive"]]
        largest = int(max(sizes, default=0))
        if largest >= wanted:
            self._too_small_since = None
            return
        found = f"num_cpus={wanted}: no node of the cluster has as many; the largest has {largest}"
        now = time.monotonic()
        if self._too_small_since is None:
            self._too_small_since = now
            warnings.warn(
                f"{found}; an autoscaler has {LARGER_NODE_S:g} s to start one that has",
                RuntimeWarning,
                stacklevel=2,
            )
        if now - self._too_small_since >= LARGER_NODE_S:
            remedy = f"pass num_cpus={largest}, or " if largest > 0 else ""
            raise ClusterError(
                f"{found}, and in {LARGER_NODE_S:g} s no larger one came; {remedy}start a node "
                f"with {wanted} (`ray start --num-cpus`)"
            )

    def get(self, ref: Any) -> Any:
        """A value; raises as `_finished`."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref)
        except errors.RayTaskError as error:
            raise _cause(error, errors.RayTaskError) from None
        except errors.RayError as error:
            first = str(error).strip().partition("\n")[0]
            raise ClusterError(
                f"a Ray worker died, and so did each that took its place ({type(error).__name__}: "
                f"{first}); give workers more memory, pass a smaller part_bytes or a larger "
                "max_retries"
            ) from error

    def _has_room(self) -> bool:
        """Whether there are fewer than keep the cluster busy, with some for nodes yet to come."""
        if len(self._pending) < _FEWEST_PENDING:
            return True
        n_cpus = self._ray.cluster_resources().get("CPU", 1)
        return bool(len(self._pending) < 2 * n_cpus / self._workers.num_cpus)

    @contextlib.contextmanager
    def cancelling(self) -> Iterator[None]:
        """Ends what is under way when the block raises, by Ctrl-C too."""
        try:
            yield
        except BaseException:
            for ref in self._pending:
                with contextlib.suppress(Exception):
                    self._ray.cancel(ref, force=True)
            raise


def _call(function: Callable[..., Any], ticket: Ticket, *args: Any) -> Any:
    """What a worker runs."""
    return function(ticket, *args)


def _cause(error: Any, wrapper: type) -> BaseException:
    """What a task has raised, however often it was handed on."""
    cause = error.cause
    if isinstance(cause, wrapper):
        return _cause(cause, wrapper)
    if isinstance(cause, ModuleNotFoundError) and (cause.name or "").startswith("bytemill"):
        return _without_bytemill(cause)
    if isinstance(cause, Exception) and not type(cause).__module__.startswith("ray."):
        return cause
    text = str(error)
    return _without_bytemill(error) if "No module named 'bytemill" in text else ClusterError(text)


def _without_bytemill(error: BaseException) -> ClusterError:
    text = str(error).strip().splitlines()[-1]
    version = bytemill.__version__
    return ClusterError(
        f"a Ray worker has no bytemill {version} ({text}); install it on all nodes: "
        f"pip install 'bytemill[ray]=={version}'"
    )
