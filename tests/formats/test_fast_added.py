"""Added tokens of `as_transformers`, against transformers' own tokenizer of the same file."""

import pytest

from bytemill import Tokenizer
from tests.support import character_families, families

transformers = pytest.importorskip("transformers", "5", reason="transformers 5 is not installed")
AddedToken = transformers.AddedToken

FAMILIES = {
    **dict.fromkeys(("gpt2", "whisper", "modernbert", "qwen-2"), families.document),
    **dict.fromkeys(("llama-2", "gemma", "mistral-7b", "phi-3"), character_families.document),
}


@pytest.fixture
def both(tmp_path):
    """Ours and theirs of a family, alike and each new."""

    def of(name: str):
        file = tmp_path / "tokenizer.json"
        file.write_text(FAMILIES[name](name), encoding="utf-8")
        theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(file))
        return Tokenizer.from_huggingface(file).as_transformers(), theirs

    return of


@pytest.mark.parametrize(
    "added",
    [
        ["zebra", "two words"],
        [AddedToken("zebra", normalized=True, special=True), AddedToken("two words")],
        [AddedToken("zebra", normalized=False), AddedToken("two words", special=True)],
    ],
    ids=["normalized", "special", "as they are"],
)
@pytest.mark.parametrize("name", FAMILIES)
def test_names_and_texts(both, name, added):
    """What a normalizer makes of a token is what it is called, and decoded to: `▁zebra`, with the
    space that it takes; and being another text than the special token's, it is not left out."""
    ours, theirs = both(name)
    n_spaces = 0
    for tokenizer in (ours, theirs):
        tokenizer.add_tokens(added)
    texts = ["a zebra of two words", "zebra", "zebra zebra  two words", "xzebrax two  words the"]
    for text in texts:
        ids = theirs(text)["input_ids"]
        assert ours(text)["input_ids"] == ids
        assert ours.tokenize(text) == theirs.tokenize(text)
        names = theirs.convert_ids_to_tokens(ids)
        assert ours.convert_ids_to_tokens(ids) == names
        assert ours.convert_tokens_to_string(names) == theirs.convert_tokens_to_string(names)
        assert ours.convert_tokens_to_string(["zebra"]) == theirs.convert_tokens_to_string(
            ["zebra"]
        )
        for skip in (False, True):
            expected = theirs.decode(ids, skip_special_tokens=skip)
            assert ours.decode(ids, skip_special_tokens=skip) == expected
            n_spaces += expected.count(" ")
    assert ours.get_vocab() == theirs.get_vocab()
    assert n_spaces > 10


@pytest.mark.parametrize("name, token", [("gpt2", "Ġthe"), ("gpt2", "Ċ"), ("llama-2", "<0x0B>")])
def test_ordinary_tokens_for_padding(both, tmp_path, name, token):
    """Their id pads, as in transformers; as added tokens they are refused, with what to do."""
    ours, theirs = both(name)
    id_ = theirs.convert_tokens_to_ids(token)
    for tokenizer in (ours, theirs):
        tokenizer.pad_token_id = id_
        assert tokenizer.pad_token == token
    texts = ["one of them", "two", f"{token} three of the four"]
    expected = theirs(texts, padding=True)
    assert ours(texts, padding=True).data == expected.data
    ours.save_pretrained(tmp_path / "saved")
    theirs.save_pretrained(tmp_path / "theirs")
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "saved").pad_token_id == id_
    message = rf"{token}' \(id {id_}\) is an ordinary one.*pad_token=None.*pad_token_id = {id_}"
    with pytest.raises(ValueError, match=message):
        type(ours).from_pretrained(tmp_path / "saved")
    for folder in ("saved", "theirs"):
        again = type(ours).from_pretrained(tmp_path / folder, pad_token=None)
        again.pad_token_id = id_
        assert again(texts, padding=True).data == expected.data


def test_ordinary_tokens_that_are_their_text(both, tmp_path):
    ours, theirs = both("gpt2")
    for tokenizer in (ours, theirs):
        tokenizer.pad_token = "the"
    ours.save_pretrained(tmp_path)
    again = type(ours).from_pretrained(tmp_path)
    their_own = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert again(["the other", "a"], padding=True).data == (
        their_own(["the other", "a"], padding=True).data
    )
