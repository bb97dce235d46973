"""Text in pieces: whole characters, no stop string begun, parts as `reply` has them."""

import random

import pytest

pytest.importorskip("torch")

from bytemill.chat import Renderer
from bytemill.lm.engine.pieces import ReplyPieces, TextPieces
from tests.support.chats import HOSTILE, chat_tokenizer, with_added_text

RENDERER = Renderer(chat_tokenizer())
TOKENIZER = RENDERER.tokenizer


def joined(pieces):
    """Kinds and texts; neighbouring texts are one."""
    found = []
    for kind, text in pieces:
        if found and found[-1][0] == kind == "text":
            found[-1] = kind, found[-1][1] + text
        elif text or kind != "text":
            found.append((kind, text))
    return found


def pushed(pieces, ids):
    """What comes of each id, and at the end."""
    return [*(pieces.push(id) for id in ids), pieces.finish()]


@pytest.mark.parametrize("seed", range(40))
def test_pieces_are_the_parts_of_the_reply(seed):
    r = random.Random(seed)
    special = list(RENDERER.special.values())
    ids = []
    for _ in range(30):
        ids += r.choices([[r.choice(special)], TOKENIZER.encode_ordinary(r.choice(HOSTILE))])[0]
        ids += r.choices(range(256), k=r.randint(0, 2))  # bytes that are no characters
    ids = [id for id in ids if id != RENDERER.stop_id or r.random() < 0.05]
    given = pushed(ReplyPieces(RENDERER), ids)
    expected = RENDERER.reply(ids).parts
    # A part that ends ends its characters, too.
    assert joined(p for some in given for p in some) == joined((p.type, p.text) for p in expected)


@pytest.mark.parametrize("seed", range(60))
def test_text_ends_before_the_first_stop_string(seed):
    r = random.Random(seed)
    text = "".join(r.choices("ab👍é", k=40))
    stops = ["".join(r.choices("ab👍é", k=r.randint(1, 5))) for _ in range(3)]
    ids = [b for c in text for b in c.encode()]  # ids 0 to 255 are the bytes
    pieces = TextPieces(TOKENIZER, stops)
    assert [TOKENIZER.decode_bytes([id]) for id in ids] == [bytes([b]) for b in text.encode()]
    so_far = ""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    expected = text[: min(found)] if found else text
    for given in pushed(pieces, ids):
        so_far += "".join(piece.text for piece in given)
        # Each piece is final: a whole character, and never the beginning of a stop string.
        assert expected.startswith(so_far)
    assert so_far == expected
    assert pieces.is_stopped == bool(found)


def test_what_is_certain_comes_at_once():
    pieces = TextPieces(TOKENIZER, ["END"])
    given = pushed(pieces, b"a\xc3\xa9 EN, E\xff")
    texts = ["".join(piece.text for piece in some) for some in given]
    assert texts == ["a", "", "é", " ", "", "", "EN,", " ", "", "E\ufffd", ""]
    assert not pieces.is_stopped
    # A stop string is not put together over a call.
    special = RENDERER.special
    between = [special["<|python_start|>"], ord("1"), special["<|python_end|>"]]
    reply = ReplyPieces(RENDERER, ["END"])
    given = pushed(reply, [*b"xEN", *between, *b"D"])
    assert joined(p for some in given for p in some) == [
        ("text", "xEN"),
        ("python", "1"),
        ("text", "D"),
    ]


def test_added_tokens_that_are_text_are_given_out(tmp_path):
    """As `reply` has them; special tokens are not."""
    tokenizer = with_added_text(tmp_path, "<tool>")
    ids = tokenizer.encode_ordinary("a <tool> b<tool>")
    ids.insert(2, tokenizer.special_tokens["<|user_end|>"])
    for pieces in (ReplyPieces(Renderer(tokenizer)), TextPieces(tokenizer)):
        given = [piece.text for some in pushed(pieces, ids) for piece in some]
        assert "".join(given) == "a <tool> b<tool>"
