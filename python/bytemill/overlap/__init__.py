"""Whether training data holds what a model is tested on: n-grams of tokens that both have.

`grams` hashes runs of ids; `index` has those of test items and finds them in ids; `scan` reads
training data, files of text or shards, and adds up what was found.
"""

from bytemill.overlap.index import Index, N, TestItem
from bytemill.overlap.scan import ItemOverlap, Overlap, find_overlap

__all__ = ["Index", "ItemOverlap", "N", "Overlap", "TestItem", "find_overlap"]
