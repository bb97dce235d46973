"""`Tasks` with a Ray that is not there: what is asked of it, and how long is waited."""

import pytest

from bytemill.data import on_ray
from bytemill.data.on_ray import cluster, work
from bytemill.data.on_ray.cluster import Tasks, Workers
from bytemill.data.on_ray.job import Job


class Ref:
    """A value that a task will have, or data that it is given."""


class Errors:
    """Its exceptions, none of which is raised."""

    class RayError(Exception):
        """Of Ray itself."""

    class RayTaskError(RayError):
        """Of a task."""


class Remote:
    """A function with its options."""

    @staticmethod
    def remote(*args):
        return [Ref(), Ref()]


class Nodes:
    """The package ray with a cluster of such nodes; tasks are done once a node is large enough.

    Args:
        cpus: Of each node.
        later: A node that comes when tasks have been waited for this often; None for never.
    """

    ObjectRef = Ref
    exceptions = Errors

    def __init__(self, *cpus, later=None):
        self.cpus, self.later, self.options_given = list(cpus), later, []
        self.cancelled, self.waits, self.clock = [], 0, 0.0

    def put(self, value):
        return Ref()

    def remote(self, **options):
        self.wanted = options["num_cpus"]
        return lambda function: self

    def options(self, **options):
        self.options_given.append(options)
        return Remote

    def nodes(self):
        gone = {"Alive": False, "Resources": {"CPU": 64.0}}
        there = [{"Alive": True, "Resources": {"CPU": float(n)} if n else {}} for n in self.cpus]
        return [gone, *there]

    def cluster_resources(self):
        return {"CPU": float(sum(self.cpus))}

    def wait(self, refs, timeout, **options):
        self.waits += 1
        if self.waits == self.later:
            self.cpus.append(self.wanted)
        if max(self.cpus) >= self.wanted:
            return refs[:1], refs[1:]
        self.clock += timeout
        return [], refs

    def get(self, ref):
        return "done"

    def cancel(self, ref, force):
        self.cancelled.append(ref)


def tasks_on(nodes, monkeypatch, num_cpus):
    monkeypatch.setattr(cluster, "ray_module", lambda: nodes)
    monkeypatch.setattr(cluster.time, "monotonic", lambda: nodes.clock)
    return Tasks(Job(key="k"), Workers(num_cpus=num_cpus))


CALLS = [(i, work.checksum, ()) for i in range(3)]


@pytest.mark.parametrize(
    ("cpus", "remedy"), [((1, 2), r"pass num_cpus=2, or start a node with 4"), ((0,), "; start a")]
)
def test_more_cpus_than_any_node_has(cpus, remedy, monkeypatch):
    nodes = Nodes(*cpus)
    tasks = tasks_on(nodes, monkeypatch, num_cpus=4)
    message = rf"num_cpus=4: no node of the cluster has as many; the largest has {max(cpus)}"
    with (
        pytest.warns(RuntimeWarning, match=f"{message}; an autoscaler has 300 s") as warned,
        pytest.raises(on_ray.ClusterError, match=f"{message}, .*{remedy}"),
        tasks.cancelling(),
    ):
        list(tasks.run(CALLS))
    assert len(warned) == 1
    assert len(nodes.cancelled) == len(CALLS)
    assert nodes.clock == pytest.approx(cluster.LARGER_NODE_S, abs=2)


def test_a_larger_node_comes_in_time(monkeypatch):
    nodes = Nodes(1, later=100)
    tasks = tasks_on(nodes, monkeypatch, num_cpus=4)
    with pytest.warns(RuntimeWarning, match="the largest has 1; an autoscaler"):
        assert [tag for tag, *_ in tasks.run(CALLS)] == [0, 1, 2]


def test_tasks_are_spread_unless_data_comes_with_them(monkeypatch):
    nodes = Nodes(4)
    tasks = tasks_on(nodes, monkeypatch, num_cpus=4)
    tasks.start(0, work.count, 0, ())
    tasks.start(1, work.add_up, Ref())
    assert [(given["name"], given["scheduling_strategy"]) for given in nodes.options_given] == [
        ("count", "SPREAD"),
        ("add_up", "DEFAULT"),
    ]
