"""tokenizer.json files that the Rust core reads in part: what reading all of it gives."""

import json
import random

import pytest

from bytemill import Tokenizer, files
from bytemill.formats import huggingface
from bytemill.formats.tokenizer_json import content, quick
from bytemill.vocabulary import Vocabulary
from tests.support import compositions, families
from tests.support.vocabularies import generated_text, train

pytest.importorskip("tokenizers", reason="tokenizers is not installed")


def slowly(file: bytes) -> Vocabulary:
    return content.vocabulary(json.loads(file.decode()), "some")


def assert_same(found: Vocabulary, expected: Vocabulary) -> None:
    assert list(found.mergeable_ranks.items()) == list(expected.mergeable_ranks.items())
    assert list(found.special_tokens.items()) == list(expected.special_tokens.items())
    assert found.pat_str == expected.pat_str
    assert (found.name, found.n_vocab) == (expected.name, expected.n_vocab)
    assert found.fingerprint == expected.fingerprint
    assert found.shape is not None
    assert found.shape == expected.shape
    assert list(found.shape.document) == list(expected.shape.document)
    assert list(found.shape.document["model"]) == list(expected.shape.document["model"])
    assert found.splits() == expected.splits()


@pytest.mark.parametrize("name", sorted(families.FAMILIES))
def test_published_shapes(name):
    file = families.document(name).encode()
    found = quick.vocabulary(file, "some")
    assert found is not None
    assert_same(found, slowly(file))


def small() -> list[dict]:
    """Files with all that a frequent one may have."""
    made = []
    for special in (("<|end|>", "<s p>"), ()):
        tokenizer = train([generated_text(1)[:20_000]], 300, special, "cl100k")
        data = huggingface.to_dict(tokenizer.vocabulary)
        made.append(data)
    in_model = json.loads(json.dumps(made[0]))
    model = in_model["model"]
    model["vocab"].update({"<|end|>": 298, "<s p>": 299})
    model["merges"] = [" ".join(pair) for pair in model["merges"]]
    model["ignore_merges"] = False
    in_model["post_processor"] = families.template(["<|end|>"])
    in_model["post_processor"]["special_tokens"]["<|end|>"] = {"id": "<|end|>", "ids": [298]}
    return [*made, in_model]


ODD = (
    *(None, True, False, 0, -1, 97, 256, 297, 298, 299, 300, 2**32 - 1, 2**32, 2**64, 1.0, 1e300),
    *("", "a", "ab", "a b", "Ġ", "é", "\u0120\u0120", "<|end|>", "<s p>", "\ud800", "\x00"),
    *([], {}, ["a", "b"], [["a", "b"]], {"a": 97}, {"content": "ab", "id": 256}),
)
PIECES = (
    *(
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b" ",
        b"\r\n",
        b"a",
        b"0",
        b"9",
        b".",
        b"e1",
    ),
    *(b"\xc4\xa0", b"\\u0061", b"\\ud800", b"\xff", b"\xef\xbb\xbf", b"NaN", b'"a":97,', b'"x",'),
    *(b'"vocab":{},', b'"merges":[],', b'"model":{},', b'["a","b"],', b'"a b",', b"null", b"-"),
)


def changed(rng: random.Random, data: dict) -> bytes:
    """A file with something changed: a value, a key, the order of things, or bytes."""
    data = json.loads(json.dumps(data))
    for _ in range(rng.choice([0, 1, 1, 2])):
        place = data
        for _ in range(rng.randint(0, 6)):
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            # The last entries are those that merges make, and special tokens.
            inner = [key for key in keys[-60:] if isinstance(place[key], (dict, list))]
            if not inner:
                break
            place = place[rng.choice(inner)]
        if not place:
            continue
        what = rng.randrange(5)
        if isinstance(place, dict):
            key = rng.choice(list(place)[-60:])
            if what == 0:
                del place[key]
            elif what == 1:
                items = list(place.items())
                rng.shuffle(items)
                place.clear()
                place.update(items)
            elif what == 2:
                place[rng.choice([odd for odd in ODD if isinstance(odd, str)])] = place.pop(key)
            else:
                place[key] = rng.choice(ODD)
        else:
            at = rng.randrange(len(place))
            if what == 0:
                del place[at]
            elif what == 1:
                other = rng.randrange(len(place))
                place[at], place[other] = place[other], place[at]
            elif what == 2:
                place.insert(rng.randrange(len(place)), place[at])
            else:
                place[at] = rng.choice(ODD)
    text = json.dumps(data, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1]))
    file = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(rng.choice([0, 0, 1, 2])):
        at = rng.randrange(len(file))
        file[at : at + rng.choice([0, 0, 1, 3])] = rng.choice(PIECES)
    return bytes(file)


def test_what_is_read_fast_is_read_slowly_alike():
    seeds, n_read = small(), 0
    for data in seeds:
        assert quick.vocabulary(json.dumps(data).encode(), "some") is not None
    for case in range(1000):
        rng = random.Random(case)
        file = changed(rng, rng.choice(seeds))
        found = quick.vocabulary(file, "some")
        if found is not None:
            n_read += 1
            assert_same(found, slowly(file))
    assert n_read > 150


def test_random_compositions_are_read_alike():
    n_read = 0
    for seed in range(200):
        rng = random.Random(seed)
        file = compositions.dumped(compositions.document(rng, *compositions.small(rng))).encode()
        found = quick.vocabulary(file, "some")
        if found is not None:
            n_read += 1
            assert_same(found, slowly(file))
    assert n_read > 20


@pytest.mark.parametrize("constant", [float("nan"), float("-inf")])
@pytest.mark.parametrize("place", ["extra", "truncation"])
def test_what_json_lacks_is_refused_by_both_readers(tmp_path, place, constant):
    """It would be kept, and written into files that other programs do not read."""
    for which, data in enumerate(small()[:2]):
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps({**data, place: constant}))
        assert quick.vocabulary(path.read_bytes(), "some") is None
        if which:  # as it is, the core reads it
            path.write_text(path.read_text().replace('"model"', '"mod\\u0065l"'))
        with pytest.raises(ValueError, match=r"not valid JSON: (NaN|-Infinity) is not a number"):
            Tokenizer.from_huggingface(path)


@pytest.mark.parametrize("which", range(3))
def test_frequent_files_are_not_parsed_again(tmp_path, monkeypatch, which):
    """Neither by Python, which takes a hundred times as long, nor by `tokenizers`."""
    (tmp_path / "tokenizer.json").write_text(json.dumps(small()[which]))
    expected = slowly((tmp_path / "tokenizer.json").read_bytes())

    def refuse(*_):
        raise AssertionError("read slowly")

    monkeypatch.setattr(files, "read_json_object", refuse)
    monkeypatch.setattr(huggingface, "parse", refuse)
    found = Tokenizer.from_huggingface(tmp_path)
    assert found.fingerprint == expected.fingerprint


def test_a_shape_is_loaded_with_tokens_that_are_added_tokens_too(tmp_path):
    data = small()[0]
    both = {"id": 260, "content": next(t for t, i in data["model"]["vocab"].items() if i == 260)}
    data["added_tokens"].append({**data["added_tokens"][0], **both})
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    tokenizer = Tokenizer.from_huggingface(tmp_path)
    assert tokenizer.special_tokens[both["content"]] == 260
    assert tokenizer.mergeable_ranks[both["content"].encode()] == 260
    tokenizer.save(tmp_path / "saved")
    loaded = Tokenizer.load(tmp_path / "saved").vocabulary
    assert_same(loaded, tokenizer.vocabulary)
    # The id of another ordinary token is as wrong as ever.
    config = tmp_path / "saved" / "bytemill.json"
    for id_, error in ((261, "id 261 of '<|end|>' is taken"), ("x", "id of '<|end|>' is 'x'")):
        saved = json.loads(config.read_text())
        saved["special_tokens"]["<|end|>"] = id_
        config.write_text(json.dumps(saved))
        with pytest.raises(ValueError, match=error):
            Tokenizer.load(tmp_path / "saved")
