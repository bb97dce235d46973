"""From files of text to documents, and to token shards on disk.

`inputs` finds the files that paths, folders and globs stand for; `readers` and `zstd` read one
file, packed or not; `documents` makes documents of them, for whoever wants strings and for the Rust
core. `encode_files` encodes them, to memory or in a run that can be taken up again (`shard_run`);
`shards` is what such a run leaves, and reads it. A `Vocabulary` is all that is needed to encode.
"""

from bytemill.data.documents import iter_documents
from bytemill.data.inputs import InputFile, Paths, expand_inputs
from bytemill.data.shards import Manifest, Shard, Shards, open_shards
from bytemill.files import DiskFullError

__all__ = [
    "DiskFullError",
    "InputFile",
    "Manifest",
    "Paths",
    "Shard",
    "Shards",
    "expand_inputs",
    "iter_documents",
    "open_shards",
]
