"""Documents for the tests of files and shards, and what to compare."""

import itertools
import zlib

from tests.support.input_forms import DOCUMENTS

BOS = "<|bos|>"
KEPT = [document for document in DOCUMENTS if document]


def split_up(ids, offsets):
    assert offsets[0] == 0
    assert offsets[-1] == len(ids)
    return [ids[a:b].tolist() for a, b in itertools.pairwise(offsets)]


def documents_of(shards):
    return [shards.document(i).tolist() for i in range(shards.n_documents)]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def first_part_is_val(document, fraction):
    return zlib.crc32(document.encode()) < fraction * 2**32
