"""What every surface of a tokenizer gives, and what is left of it in files and copies."""

import json
import pickle
import random

from bytemill import Tokenizer
from tests.support.vocabularies import PIECES, generated_text


def texts_of(name: str, family: dict, pieces: list[str], n: int) -> list[str]:
    """Texts of `pieces` and others, with the family's added tokens and what is near them."""
    rng = random.Random(name)
    added = [entry["content"] for key in ("first", "last") for entry in family.get(key, [])]
    of = [*PIECES, *added, *added, *(text[:-1] for text in added), *pieces]
    made = ["".join(rng.choices(of, k=rng.randint(0, 30))) for _ in range(n)]
    return ["", " ", "a", "\u0301", *made, generated_text(5)[:3000]]


def check_batches_and_pieces(tokenizer: Tokenizer, texts: list[str]) -> None:
    """Batches, counts, arrays and streams give what `encode` gives."""
    expected = [tokenizer.encode(text) for text in texts]
    lengths = list(map(len, expected))
    assert tokenizer.encode_batch(texts) == expected
    assert tokenizer.count_batch(texts) == [tokenizer.count(text) for text in texts] == lengths
    flat, offsets = tokenizer.encode_batch_to_numpy(texts)
    assert flat.tolist() == [id_ for ids in expected for id_ in ids]
    assert offsets[-1] == len(flat)
    rng = random.Random(1)
    for text, ids in zip(texts, expected, strict=True):
        places = sorted(rng.choices(range(len(text) + 1), k=4))
        pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
        assert list(tokenizer.encode_iterable(pieces)) == ids
        assert tokenizer.encode_to_numpy(text).tolist() == ids


def check_written(tokenizer: Tokenizer, document: str, folder) -> tuple[dict, dict]:
    """Its tokenizer.json says what `document` says, but perhaps for the model's merges.

    Returns:
        The models of the two.
    """
    tokenizer.to_huggingface(folder / "tokenizer.json")
    written = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    read = json.loads(document)
    assert {**written, "model": None} == {**read, "model": None}
    assert written["model"]["vocab"] == read["model"]["vocab"]
    return written["model"], read["model"]


def check_copies(tokenizer: Tokenizer, texts: list[str], folder) -> None:
    """Read from the folder's tokenizer.json, saved and loaded, and pickled, it is the same."""
    tokenizer.save(folder / "saved")
    again, loaded = Tokenizer.from_huggingface(folder), Tokenizer.load(folder / "saved")
    for one in (again, loaded, pickle.loads(pickle.dumps(tokenizer))):
        assert one.fingerprint == tokenizer.fingerprint
        assert one.vocab == tokenizer.vocab
        for text in texts:
            ids = tokenizer.encode(text, add_special_tokens=True)
            assert one.encode(text, add_special_tokens=True) == ids
            assert one.decode(ids) == tokenizer.decode(ids)
