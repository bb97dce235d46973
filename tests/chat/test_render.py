"""Ids and masks: worked examples, a naive renderer, hostile texts, cuts, replies."""

import json
import os
import random

import pytest

from bytemill import Tokenizer
from bytemill.chat import SPECIAL_TOKENS, Conversation, Message, Part, Renderer, with_special_tokens
from tests.support.chats import chat_tokenizer, conversation, text
from tests.support.vocabularies import generated_text, train

CASES = int(os.environ.get("BYTEMILL_CASES", "1"))
TOKENIZER = chat_tokenizer()
RENDERER = Renderer(TOKENIZER)
NAMES = {id: name for name, id in TOKENIZER.special_tokens.items()}


def spelled(ids):
    """The names of special tokens, and the text between them."""
    out, pending = [], []
    for id in [*ids, None]:
        if id is None or id in NAMES:
            if pending:
                out.append(TOKENIZER.decode(pending))
            pending = []
            out += [NAMES[id]] if id is not None else []
        else:
            pending.append(id)
    return out


def naive(conversation):
    """(piece of ids, trained) from the format's definition, by another way: text first."""
    pieces = [(["<|bos|>"], 0)]
    messages = list(conversation.to_dict()["messages"])
    if messages[0]["role"] == "system":
        system = messages.pop(0)["content"]
        messages[0] = {"role": "user", "content": system + "\n\n" + messages[0]["content"]}
    for message in messages:
        content = message["content"]
        if message["role"] == "user":
            pieces += [(["<|user_start|>"], 0), (content, 0), (["<|user_end|>"], 0)]
            continue
        pieces.append((["<|assistant_start|>"], 0))
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        run = ""
        for part in [*parts, {"type": "end", "text": ""}]:
            if part["type"] == "text":
                run += part["text"]
                continue
            pieces.append((run, 1))
            run = ""
            if part["type"] == "python":
                pieces += [(["<|python_start|>"], 1), (part["text"], 1), (["<|python_end|>"], 1)]
            elif part["type"] == "python_output":
                pieces += [(["<|output_start|>"], 0), (part["text"], 0), (["<|output_end|>"], 0)]
        pieces.append((["<|assistant_end|>"], 1))
    ids, mask = [], []
    for piece, trained in pieces:
        if isinstance(piece, list):
            new = [TOKENIZER.special_tokens[piece[0]]]
        else:
            new = TOKENIZER.encode(piece, allowed_special=set(), disallowed_special=())
        ids += new
        mask += [trained] * len(new)
    return ids, mask


def test_a_worked_example():
    rendered = RENDERER.render(
        Conversation(
            (
                Message("system", "S"),
                Message("user", "u"),
                Message(
                    "assistant",
                    (Part("text", "a"), Part("python", "1+1"), Part("python_output", "2")),
                ),
            )
        )
    )
    s = TOKENIZER.special_tokens
    (one,) = TOKENIZER.encode_ordinary("a")
    call = TOKENIZER.encode_ordinary("1+1")
    assert spelled(rendered.ids) == [
        "<|bos|>", "<|user_start|>", "S\n\nu", "<|user_end|>", "<|assistant_start|>", "a",
        "<|python_start|>", "1+1", "<|python_end|>", "<|output_start|>", "2", "<|output_end|>",
        "<|assistant_end|>",
    ]  # fmt: skip
    trained = [id for id, m in zip(rendered.ids, rendered.mask, strict=True) if m]
    assert trained == [
        one, s["<|python_start|>"], *call, s["<|python_end|>"], s["<|assistant_end|>"],
    ]  # fmt: skip
    assert rendered.cut is None


def test_special_tokens_have_their_order():
    assert list(SPECIAL_TOKENS) == sorted(SPECIAL_TOKENS, key=TOKENIZER.special_tokens.get)


def test_random_conversations_as_the_naive_renderer():
    """No text yields a special token, however hostile: the naive renderer allows none."""
    r = random.Random(1)
    for _ in range(1500 * CASES):
        c = conversation(r)
        rendered = RENDERER.render(c, None)
        assert (rendered.ids, rendered.mask) == naive(c)
        n_special = sum(id in NAMES for id in rendered.ids)
        n_parts = sum(
            2 * sum(p.type != "text" for p in m.parts) + 2 for m in c.messages if m.role != "system"
        )
        assert n_special == n_parts + 1


def outside_of_calls(ids):
    """Whether each place between ids lies in no call with its result."""
    names = [NAMES.get(id) for id in ids]
    depth, found = 0, [True]
    for name, following in zip(names, [*names[1:], None], strict=True):
        depth += name in ("<|python_start|>", "<|output_start|>")
        depth -= name in ("<|python_end|>", "<|output_end|>")
        found.append(depth == 0 and (name, following) != ("<|python_end|>", "<|output_start|>"))
    return found


def test_cut_at_every_length():
    r = random.Random(2)
    for _ in range(40):
        c = conversation(r)
        whole = RENDERER.render(c, None)
        whole_calls = outside_of_calls(whole.ids)
        for length in range(1, len(whole.ids) + 2):
            cut = RENDERER.render(c, length)
            n = len(cut.ids)
            assert cut.ids == whole.ids[:n]
            assert cut.mask == whole.mask[:n]
            if length >= len(whole.ids):
                assert cut.cut is None
                continue
            assert cut.cut.n_tokens == len(whole.ids)
            names = [NAMES.get(id) for id in cut.ids]
            assert names.count("<|python_start|>") == names.count("<|python_end|>")
            assert names.count("<|output_start|>") == names.count("<|output_end|>")
            assert cut.cut.before_call == (n < length)
            # No more is cut than the call that lies there: up to `length`, the last place in none.
            assert n == max(at for at in range(length + 1) if whole_calls[at])
            n_before = [NAMES.get(id) for id in cut.ids].count("<|user_end|>")
            n_before += names.count("<|assistant_end|>") + c.has_system
            assert cut.cut.message == n_before + 1
    with pytest.raises(ValueError, match="max_tokens=0"):
        RENDERER.render(c, 0)


def test_prompt_is_a_prefix_of_the_conversation():
    r = random.Random(3)
    for _ in range(200):
        c = conversation(r)
        prompt = RENDERER.prompt(c)
        assert NAMES[prompt[-1]] == "<|assistant_start|>"
        if c.messages[-1].role == "assistant":
            whole = RENDERER.render(c, None).ids
            assert prompt == whole[: len(prompt)]
        else:
            assert prompt[:-1] == RENDERER.render(c, None).ids


def test_a_reply_is_rendered_with_the_ids_it_was_written_with():
    """A model's tokens are often not those that encoding its text gives."""
    r = random.Random(4)
    s = TOKENIZER.special_tokens
    ordinary = [id for id in range(TOKENIZER.n_vocab) if id not in NAMES]
    differs = 0
    for _ in range(300):
        written = r.choices(ordinary, k=r.randint(0, 5))
        for _ in range(r.randint(0, 2)):
            call, result = r.choices(ordinary, k=3), TOKENIZER.encode_ordinary(text(r))
            written += [s["<|python_start|>"], *call, s["<|python_end|>"]]
            if r.random() < 0.7:
                written += [s["<|output_start|>"], *result, s["<|output_end|>"]]
            written += r.choices(ordinary, k=r.randint(0, 3))
        end = s["<|assistant_end|>"]
        message = RENDERER.reply([*written, end, 65, 66])
        c = Conversation((Message("user", "x"), message))
        assert RENDERER.render(c, None).ids == [*RENDERER.prompt(c), *written, end]
        again = Conversation.of(c.to_dict())
        differs += RENDERER.render(again, None).ids != RENDERER.render(c, None).ids
        assert again == c
    assert differs > 100


def test_replies_out_of_order():
    s = TOKENIZER.special_tokens
    (a,) = TOKENIZER.encode_ordinary("a")
    cases = {
        (s["<|python_start|>"], a): [("python", "a")],
        (s["<|python_end|>"], a): [("text", "a")],
        (s["<|output_start|>"], a, s["<|output_end|>"]): [("text", "a")],
        (s["<|python_start|>"], s["<|bos|>"], a, s["<|output_end|>"]): [("python", "a")],
        (s["<|user_start|>"],): [],
        (): [],
    }
    for ids, parts in cases.items():
        assert [(p.type, p.text) for p in RENDERER.reply(ids).parts] == parts


def test_ids_that_are_not_of_the_text():
    a, b = TOKENIZER.encode_ordinary("a") + TOKENIZER.encode_ordinary("b")
    for ids in ((b,), (a, TOKENIZER.special_tokens["<|bos|>"])):
        message = Message("assistant", (Part("text", "a", ids),))
        with pytest.raises(ValueError, match="not of its text 'a'"):
            RENDERER.render(Conversation((Message("user", "x"), message)))


@pytest.mark.parametrize("id", [TOKENIZER.n_vocab, 10**6, 2**40, -1])
def test_ids_of_another_tokenizer(id):
    told = f"the id {id} is not one of the tokenizer's, whose ids go up to {TOKENIZER.n_vocab - 1}"
    (a,) = TOKENIZER.encode_ordinary("a")
    with pytest.raises(ValueError, match=told):
        RENDERER.reply([a, id, a])
    part = Part("text", "a", (a, id))
    with pytest.raises(ValueError, match=told):
        RENDERER.render(Conversation((Message("user", "x"), Message("assistant", (part,)))))
    # What stands behind the end is not read.
    assert RENDERER.reply([a, RENDERER.stop_id, id]).text == "a"
    with pytest.raises(TypeError, match="token='a'"):
        RENDERER.reply(["a"])


@pytest.mark.parametrize("what", [None, "tokenizer/"])
def test_what_is_not_a_tokenizer(what):
    with pytest.raises(TypeError, match=f"a {type(what).__name__}, not a bytemill.Tokenizer"):
        Renderer(what)


def test_a_tokenizer_without_the_special_tokens():
    plain = train([generated_text()], 300, ["<|bos|>", "<|x|>"])
    with pytest.raises(ValueError, match=r"no special token <\|user_start\|>, .*with_special_tok"):
        Renderer(plain)
    more = with_special_tokens(plain)
    assert more.n_vocab == plain.n_vocab + 8
    assert more.special_tokens["<|bos|>"] == plain.special_tokens["<|bos|>"]
    assert more.special_tokens["<|user_start|>"] == plain.n_vocab
    sample = generated_text(5, 50)
    assert more.encode_ordinary(sample) == plain.encode_ordinary(sample)
    Renderer(more)


def as_file(tokenizer, path, **changes):
    """The tokenizer as a tokenizer.json that says other things, read again."""
    tokenizer.to_huggingface(path)
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**data, **changes}), encoding="utf-8")
    return Tokenizer.from_huggingface(path)


@pytest.mark.parametrize("special", [(), ("<|bos|>", "<|user_end|>")])
def test_special_tokens_beside_what_a_tokenizer_json_says(special, tmp_path):
    """A normalizer goes on normalizing, here and in the file that is written."""
    plain = train([generated_text()], 300, ["<|x|>", *special])
    lower = as_file(plain, tmp_path / "a.json", normalizer={"type": "Lowercase"})
    more = with_special_tokens(lower)
    texts = ["Low ER Newest", "<|x|>A", generated_text(5, 50).upper()]
    assert [more.encode_ordinary(text) for text in texts] == [
        lower.encode_ordinary(text) for text in texts
    ]
    assert more.encode_ordinary("LOW") == more.encode_ordinary("low")
    Renderer(more)
    more.to_huggingface(tmp_path / "b.json")
    again = Tokenizer.from_huggingface(tmp_path / "b.json")
    assert again.special_tokens == more.special_tokens
    assert again.encode("<|user_start|>LOW") == more.encode("<|user_start|>LOW")
    assert more.encode("<|user_start|>LOW") == [
        more.special_tokens["<|user_start|>"], *lower.encode("low"),
    ]  # fmt: skip


def with_text_token(folder):
    """A tokenizer.json with a token that is added, but not special: text becomes it."""
    TOKENIZER.to_huggingface(folder / "a.json")
    data = json.loads((folder / "a.json").read_text(encoding="utf-8"))
    entry = {**data["added_tokens"][0], "content": "<tool>", "special": False}
    entry["id"] = TOKENIZER.n_vocab
    return as_file(TOKENIZER, folder / "b.json", added_tokens=[*data["added_tokens"], entry])


def test_a_reply_has_the_added_tokens_that_are_text(tmp_path):
    """What a person reads is what the model wrote, and a later turn shows the model the same."""
    found = with_text_token(tmp_path)
    tool = found.special_tokens["<tool>"]
    assert tool in found.encode_ordinary("a<tool>b")
    renderer = Renderer(found)
    special = renderer.special
    said = found.encode_ordinary("low <tool> new")
    call = found.encode_ordinary("<tool>1")
    ids = [
        *said, special["<|python_start|>"], *call, special["<|python_end|>"], tool,
        special["<|user_end|>"], renderer.stop_id,
    ]  # fmt: skip
    reply = renderer.reply(ids)
    assert reply.text == "low <tool> new<tool>"
    assert [part.text for part in reply.parts] == ["low <tool> new", "<tool>1", "<tool>"]
    ids.remove(special["<|user_end|>"])
    conversation = Conversation((Message("user", "u"), reply))
    assert renderer.render(conversation).ids[-len(ids) :] == ids
    # As the text's own ids are those that the model is trained on.
    text = Conversation((Message("user", "u"), Message("assistant", "low <tool> new")))
    rendered = renderer.render(text)
    start = rendered.ids.index(said[0], len(rendered.ids) - len(said) - 1)
    assert renderer.reply(rendered.ids[start:]).text == "low <tool> new"


def test_special_tokens_that_ordinary_text_becomes(tmp_path):
    """Added tokens that are not special are found in what a user writes."""
    TOKENIZER.to_huggingface(tmp_path / "a.json")
    added = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["added_tokens"]
    for entry in added:
        entry["special"] = entry["content"] != "<|user_end|>"
    found = as_file(TOKENIZER, tmp_path / "b.json", added_tokens=added)
    with pytest.raises(ValueError, match=r"finds <\|user_end\|> in ordinary text"):
        Renderer(found)
