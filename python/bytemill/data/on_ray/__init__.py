"""Counting and encoding text that is larger than a machine, on a Ray cluster: the extra `ray`.

`count` gives the counts that `BpeTrainer.feed_files` has, `encode` the folder that
`Tokenizer.encode_files` writes, byte for byte. Both take files that all nodes see (`parts` cuts
them, `reading` reads a part) or a `ray.data.Dataset` (`source`). `cluster` runs tasks and says what
is wrong with a cluster, `job` is what all tasks of a run know and checks that a worker is fit for
it, `work` is the tasks, and `assembly` makes shards of encoded parts.
"""

from bytemill.data.on_ray.cluster import ClusterError, connect
from bytemill.data.on_ray.counting import count
from bytemill.data.on_ray.encoding import encode

__all__ = ["ClusterError", "connect", "count", "encode"]
