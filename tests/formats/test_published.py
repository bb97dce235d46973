"""What published split patterns are known to become is what taking them over works out."""

import pytest

from bytemill import _core
from bytemill.formats import oniguruma, published
from bytemill.formats.tokenizer_json import added_tokens, pipeline, rows
from bytemill.shape import AddedToken
from tests.support import families


@pytest.fixture
def unknown(monkeypatch):
    """Nothing is known."""
    known = dict(published.TAKEN_OVER)
    monkeypatch.setattr(published, "TAKEN_OVER", {})
    return known


def test_patterns_are_taken_over_as_if_unknown(unknown):
    for text, expected in unknown.items():
        assert oniguruma.from_oniguruma(text, keeps_gaps=True) == expected
        assert not oniguruma.may_match_nothing(text)
        alone = oniguruma.from_oniguruma(text, keeps_gaps=False)
        assert (alone == text) == (text in published.KEPT)


def test_rows_are_made_one_as_if_unknown(monkeypatch):
    known = dict(published.AS_ONE)
    monkeypatch.setattr(published, "AS_ONE", {})
    for parts, name in known.items():
        splits = [
            {"pattern": p, "behavior": "Isolated", "invert": False, "covers": c, "bytes": False}
            for p, c in parts
        ]
        assert rows.as_one(splits) == _core.pat_str(name)


def test_each_published_pattern_is_compared_with_tokenizers():
    found = {pipeline.cutting(family["pre_tokenizer"]) for family in families.FAMILIES.values()}
    assert {cutting.pattern for cutting in found} >= published.TESTED
    parts = [
        part["pattern"]["Regex"]
        for family in families.FAMILIES.values()
        for part in pipeline.flattened(family["pre_tokenizer"], "pretokenizers", "")
        if part["type"] == "Split"
    ]
    assert set(parts) >= published.TAKEN_OVER.keys()


@pytest.mark.parametrize(
    ("late", "early", "expected"),
    [
        ("abc", "cde", True),
        ("cde", "abc", True),
        ("abc", "b", True),
        ("b", "abc", True),
        ("abc", "abc", True),
        ("abc", "def", False),
        ("abcb", "dcbae", False),
        ("ab" * 200, "b" + "c" * 300, True),
        ("ab" * 200, "cb" + "c" * 300, False),
    ],
)
def test_tokens_that_share_characters_are_looked_for_in_two_passes(late, early, expected):
    tokens = [AddedToken(late, normalized=True), AddedToken(early), AddedToken("xyz")]
    assert added_tokens.need_passes(tokens, normalizes=False) is expected
