"""`as_transformers` against transformers' own tokenizer of the same tokenizer.json."""

import copy
import functools
import json
import pickle
import random
import subprocess
import sys

import pytest

from bytemill import Tokenizer, chat
from bytemill.formats import huggingface
from tests.support import families
from tests.support.fast_tokenizers import answer, random_call, texts_of
from tests.support.vocabularies import generated_text

transformers = pytest.importorskip("transformers", "5", reason="transformers 5 is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")

NAMES = sorted(families.FAMILIES)
# With what may differ: a normalizer, manners, prefix spaces, templates, trimmed spans.
FEW = ["bart", "bloom", "deepseek-v3", "glm-4", "longformer", "modernbert", "phi-2", "whisper"]


@functools.cache
def file_of(name: str) -> str:
    return families.document(name)


@pytest.fixture
def both(tmp_path):
    """Ours and theirs of a family, alike and each new."""

    def of(name: str, **options):
        file = tmp_path / "tokenizer.json"
        file.write_text(file_of(name), encoding="utf-8")
        theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(file), **options)
        return Tokenizer.from_huggingface(file).as_transformers(**options), theirs

    return of


@pytest.mark.parametrize("name", NAMES)
def test_random_calls(both, name, capfd):
    first = json.loads(file_of(name))["added_tokens"][0]["content"]
    ours, theirs = both(name, pad_token=first, model_max_length=30)
    rng = random.Random(name)
    answered = 0
    for i in range(20):
        ours.truncation_side = theirs.truncation_side = ("right", "left")[i % 5 == 0]
        args, options = random_call(name, rng)
        expected = answer(theirs, args, options)
        assert answer(ours, args, options) == expected, (args, options)
        answered += expected != "refused"
    assert answered >= 10


@pytest.mark.parametrize("name", FEW)
def test_tokens_spans_words_and_texts(both, name):
    ours, theirs = both(name)
    rng = random.Random(name)
    compare_tables(ours, theirs)
    for text in texts_of(name, rng, 12):
        compare_encodings(ours(text), theirs(text), len(text))
        assert ours.tokenize(text) == theirs.tokenize(text)
        plain = theirs._encode_without_added_tokens(text)
        assert ours._encode_without_added_tokens(text) == plain
        ids = [*theirs(text)["input_ids"], *(rng.randrange(2 * len(theirs)) for _ in range(4))]
        for skip in (True, False):
            assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(
                ids, skip_special_tokens=skip
            )
            assert ours.convert_ids_to_tokens(ids, skip) == theirs.convert_ids_to_tokens(ids, skip)
        tokens = theirs.convert_ids_to_tokens(theirs(text)["input_ids"])
        assert ours.convert_tokens_to_string(tokens) == theirs.convert_tokens_to_string(tokens)
        # Tokens need not be of the vocabulary: parts of some, say.
        parts = ["Ġnot", *(token[1:] for token in tokens), "\u2581one", "Ã©é中"]
        assert ours.convert_tokens_to_string(parts) == theirs.convert_tokens_to_string(parts)
        assert ours.batch_decode([ids, ids[:2]]) == theirs.batch_decode([ids, ids[:2]])


def compare_tables(ours, theirs):
    assert len(ours) == len(theirs)
    assert ours.vocab_size == theirs.vocab_size
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.get_added_vocab() == theirs.get_added_vocab()
    added = [{i: repr(t) for i, t in each.added_tokens_decoder.items()} for each in (ours, theirs)]
    assert added[0] == added[1]
    for is_pair in (False, True):
        n = theirs.num_special_tokens_to_add(is_pair)
        assert ours.num_special_tokens_to_add(is_pair) == n


def compare_encodings(ours, theirs, n_chars):
    assert ours.word_ids() == theirs.word_ids()
    for i in range(len(theirs["input_ids"])):
        assert ours.token_to_chars(i) == theirs.token_to_chars(i)
        assert ours.token_to_word(i) == theirs.token_to_word(i)
    for i in range(n_chars):
        assert ours.char_to_token(i) == theirs.char_to_token(i)
        assert ours.char_to_word(i) == theirs.char_to_word(i)
    for word in {word for word in theirs.word_ids() if word is not None}:
        assert ours.word_to_tokens(word) == theirs.word_to_tokens(word)
        assert ours.word_to_chars(word) == theirs.word_to_chars(word)


@pytest.mark.parametrize("name", ["gpt2", "longformer", "modernbert", "qwen-2"])
def test_added_tokens_pickles_and_saved_folders(both, name, tmp_path):
    ours, theirs = both(name)
    added = tokenizers.AddedToken
    for each in (ours, theirs):
        each.new = [
            each.add_tokens(["xyz", "中文", "the", added("<new>", lstrip=True)]),
            each.add_special_tokens({"pad_token": "[PAD]", "extra_special_tokens": ["<a>"]}),
            each.add_tokens(["xyz", added("<new>", lstrip=False), "", "zz"]),
        ]
        each.bos_token = "[PAD]"
        each.add_bos_token = True
    assert ours.new == theirs.new
    assert ours.new[0] >= 3
    compare_tables(ours, theirs)
    ours.save_pretrained(tmp_path / "saved")
    again = [
        pickle.loads(pickle.dumps(ours)),
        copy.deepcopy(ours),
        transformers.AutoTokenizer.from_pretrained(tmp_path / "saved"),
        type(ours).from_pretrained(tmp_path / "saved"),
    ]
    assert [isinstance(each, type(ours)) for each in again] == [True, True, False, True]
    for text in ["xyz the[PAD] <new> zz", "a 中文<a>zzz", *texts_of(name, random.Random(1), 6)]:
        expected = theirs(text, return_offsets_mapping=True)
        for each in (ours, *again):
            assert each(text, return_offsets_mapping=True).data == expected.data
            ids = expected["input_ids"]
            assert each.decode(ids, skip_special_tokens=True) == theirs.decode(
                ids, skip_special_tokens=True
            )


def test_a_batch_and_its_encodings_can_be_pickled(both):
    ours, theirs = both("bart")
    texts = ["a <mask> b", "the 123"]
    batch = pickle.loads(pickle.dumps(ours(texts)))
    assert batch.data == ours(texts).data
    for i in range(2):
        assert batch.tokens(i) == theirs(texts).tokens(i)
        assert batch.word_ids(i) == theirs(texts).word_ids(i)
        assert batch[i].offsets == theirs(texts)[i].offsets


@pytest.fixture(scope="module")
def trained():
    return Tokenizer.train([generated_text(1)], 500, [*chat.SPECIAL_TOKENS, "<|endoftext|>"])


def test_conversations_as_the_exported_files_have_them(trained, tmp_path):
    ours = trained.as_transformers(
        bos_token="<|bos|>", eos_token="<|assistant_end|>", chat_template=chat.TEMPLATE
    )
    chat.export(trained, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    turns = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "the lowest?"},
        {"role": "assistant", "content": "new est 12"},
    ]
    options = {"return_dict": True, "return_assistant_tokens_mask": True}
    expected = theirs.apply_chat_template(turns, **options)
    assert ours.apply_chat_template(turns, **options).data == expected.data
    assert 1 in expected["assistant_masks"]
    assert 0 in expected["assistant_masks"]


def test_collators_in_a_loader_with_workers(trained):
    torch = pytest.importorskip("torch")
    ours = trained.as_transformers(pad_token="<|endoftext|>")
    texts = generated_text(2).split("12345")[:10]
    collate = transformers.DataCollatorWithPadding(ours, pad_to_multiple_of=4)
    encoded = [dict(ours(text)) for text in texts]
    loader = torch.utils.data.DataLoader(encoded, 4, collate_fn=collate, num_workers=1)
    pairs = [zip(b["input_ids"], b["attention_mask"], strict=True) for b in loader]
    rows = [row for pair in pairs for row in pair]
    assert [ids[mask.bool()].tolist() for ids, mask in rows] == trained.encode_batch(texts)
    assert all(len(ids) % 4 == 0 for ids, _ in rows)
    tensors = ours(texts, return_tensors="pt", padding=True)
    assert tensors["input_ids"].shape == (10, max(map(len, trained.encode_batch(texts))))


def test_a_text_with_lone_surrogates_is_encoded_as_everywhere_here(trained):
    ours = trained.as_transformers()
    text = "a\ud83d b\ud83d\udc4d"
    batch = ours(text, return_offsets_mapping=True)
    assert batch["input_ids"] == trained.encode(text)
    assert batch["offset_mapping"] == trained.encode_with_offsets(text)[1]
    assert len(batch.word_ids()) == len(batch["input_ids"])


def test_the_encoder_is_ours(trained, monkeypatch):
    """With the other library's encoding out of order, ours goes on."""
    ours = trained.as_transformers()
    monkeypatch.setattr(tokenizers, "Tokenizer", None)
    assert ours(["the lowest"])["input_ids"] == [trained.encode("the lowest")]
    assert ours.decode(trained.encode("the lowest")) == "the lowest"


def test_what_is_not_offered_is_refused_by_name(trained, tmp_path):
    ours = trained.as_transformers()
    with pytest.raises(NotImplementedError, match=r"BpeTrainer"):
        ours.train_new_from_iterator(["a"], 300)
    with pytest.raises(AttributeError, match=r"'normalizer'; .*save_pretrained"):
        _ = ours.backend_tokenizer.normalizer
    with pytest.raises(AttributeError, match=r"'pre_tokenizer'; .*save_pretrained"):
        ours.backend_tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel()
    with pytest.raises(ValueError, match="only_second"):
        ours("the lowest", truncation="only_second", max_length=1)
    with pytest.raises(ValueError, match="stride=3 must be less than the 2 tokens"):
        ours("the lowest newest", truncation=True, max_length=2, stride=3)
    with pytest.raises(TypeError, match="neither a str nor a pair"):
        ours([["a", "b", "c"]])
    with pytest.raises(ValueError, match="as_transformers"):
        type(ours)()
    two = json.loads(file_of("llama-3"))
    template = two["post_processor"]["processors"][1]
    two["post_processor"]["processors"].append(template)
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(two), encoding="utf-8")
    with pytest.raises(ValueError, match="2 times"):
        Tokenizer.from_vocabulary(huggingface.read(file)).as_transformers()


@pytest.mark.parametrize("version", [None, "4.57.1"])
def test_without_the_library_the_error_has_the_remedy(version):
    code = (
        "import sys, types, bytemill\n"
        f"version = {version!r}\n"
        "there = types.ModuleType('transformers')\n"
        "there.__version__ = version\n"
        "sys.modules['transformers'] = version and there\n"
        "ranks = {bytes([byte]): byte for byte in range(256)}\n"
        "try: bytemill.Tokenizer.from_ranks(ranks).as_transformers()\n"
        "except ImportError as error: print(error)\n"
        "print('tokenizers' in sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=900
    )
    message, imported = run.stdout.splitlines()
    assert "pip install 'transformers>=5'" in message
    assert (version or "") in message
    assert imported == "False"


@pytest.mark.parametrize("name", ["phi-2", "bart", "longformer"])
def test_places_outside_of_a_text(both, name):
    """Negative ones, and a second sequence where there is none, which is all that there is."""
    tokenizers_of = both(name)
    told = []
    for tokenizer in tokenizers_of:
        told.append([])
        for texts in (("the cat",), ("the cat", "a b"), ("",), ("a", "")):
            (encoding,) = tokenizer(*texts).encodings
            for call in ("char_to_token", "char_to_word", "word_to_tokens", "word_to_chars"):
                for place in (-1, 0, 1, 4, 99):
                    for sequence in (0, 1):
                        try:
                            found = getattr(encoding, call)(place, sequence)
                        except OverflowError:
                            found = "refused"
                        told[-1].append((texts, call, place, sequence, found))
    assert told[0] == told[1]
    assert any(found == "refused" for *_, found in told[0])
