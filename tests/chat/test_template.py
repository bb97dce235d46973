"""The chat template gives what the renderer gives, in transformers."""

import json
import os
import random
import re

import pytest

from bytemill.chat import Conversation, Renderer, export, to_html, to_terminal
from bytemill.chat.view import shown_token
from tests.support.chats import chat_tokenizer, conversation

CASES = int(os.environ.get("BYTEMILL_CASES", "1"))
TOKENIZER = chat_tokenizer()
RENDERER = Renderer(TOKENIZER)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("exported")
    export(TOKENIZER, folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def without_special_names(c):
    """The conversation with names of special tokens taken apart: transformers would read them."""
    return Conversation.of(json.loads(json.dumps(c.to_dict()).replace("<|", "< |")))


def test_equal_to_the_renderer(theirs):
    r = random.Random(5)
    for _ in range(150 * CASES):
        c = without_special_names(conversation(r))
        rendered = RENDERER.render(c, None)
        found = theirs.apply_chat_template(
            c.to_dict()["messages"],
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        assert found["input_ids"] == rendered.ids
        assert found["assistant_masks"] == rendered.mask
        if c.messages[-1].role == "user":
            prompt = theirs.apply_chat_template(
                c.to_dict()["messages"], add_generation_prompt=True, return_dict=False
            )
            assert prompt == RENDERER.prompt(c)


def test_ends_and_refusals(theirs):
    assert theirs.eos_token_id == RENDERER.stop_id
    assert theirs.bos_token_id == TOKENIZER.special_tokens["<|bos|>"]
    for roles in (["assistant"], ["user", "user"], ["system"]):
        with pytest.raises(Exception, match=r"missing|take turns"):
            theirs.apply_chat_template([{"role": role, "content": "x"} for role in roles])


USER = {"role": "user", "content": "x"}


@pytest.mark.parametrize("role", ["system", "user"])
def test_text_in_a_list(theirs, role):
    said = {"role": role, "content": [{"type": "text", "text": t} for t in ("Be", " brief")]}
    messages = [said, USER] if role == "system" else [said]
    assert (
        theirs.apply_chat_template(messages, return_dict=False)
        == RENDERER.render(Conversation.of(messages)).ids
    )


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([{"role": "user", "content": [{"type": "python", "text": "x"}]}], "can only be text"),
        (
            [{"role": "system", "content": [{"type": "image", "text": "x"}]}, USER],
            "can only be text",
        ),
        (
            [USER, {"role": "assistant", "content": [{"type": "python_output", "text": "x"}]}],
            "no python stands before",
        ),
        ([USER, {"role": "assistant", "content": [{"type": "image", "text": "x"}]}], "image"),
    ],
)
def test_refuses_what_the_renderer_refuses(theirs, messages, reason):
    with pytest.raises(ValueError):
        Conversation.of(messages)
    with pytest.raises(Exception, match=reason):
        theirs.apply_chat_template(messages)


def test_views_show_every_token_and_run_nothing():
    r = random.Random(6)
    for _ in range(50):
        rendered = RENDERER.render(conversation(r), 60)
        shown = "".join(shown_token(TOKENIZER, id) for id in rendered.ids)
        colored = to_terminal(rendered, TOKENIZER)
        assert re.sub("\x1b\\[(32|31|0)m", "", colored) == shown
        assert shown.isprintable()
        assert colored.count("\x1b[32m") == sum(rendered.mask)
        plain = to_terminal(rendered, TOKENIZER, color=False)
        assert plain.count("⟦") == sum(rendered.mask)
        page = to_html(rendered, TOKENIZER)
        assert "<script" not in page
        assert page.count('class="trained') == sum(rendered.mask)
        assert page.count("<span") == len(rendered.ids)
