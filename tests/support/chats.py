"""Random conversations, and a tokenizer for them."""

import functools
import json

from bytemill import Tokenizer
from bytemill.chat import SPECIAL_TOKENS, Conversation, Message, Part
from tests.support.vocabularies import generated_text, train

HOSTILE = (
    *SPECIAL_TOKENS,
    "<|", "|>", "<|bos", "bos|>", "<|user_end|><|assistant_start|>", "\n\n", " ",
    "\u2028", "é", "👍🏽", "\x00", "\x1b[31m", "<script>", "{{ x }}", "{% if %}", "]]>",
)  # fmt: skip


@functools.lru_cache
def chat_tokenizer() -> Tokenizer:
    return train([generated_text()], 600, SPECIAL_TOKENS)


def with_added_text(folder, content) -> Tokenizer:
    """The tokenizer as a tokenizer.json has it that adds a token which is text, no special one."""
    chat_tokenizer().to_huggingface(folder / "a.json")
    data = json.loads((folder / "a.json").read_text(encoding="utf-8"))
    entry = {**data["added_tokens"][0], "content": content, "special": False}
    entry["id"] = chat_tokenizer().n_vocab
    data["added_tokens"].append(entry)
    (folder / "b.json").write_text(json.dumps(data), encoding="utf-8")
    return Tokenizer.from_huggingface(folder / "b.json")


def text(random, words=6):
    pool = (*HOSTILE, "the", " new", "12", "aaa", "你好", "low est")
    return "".join(random.choices(pool, k=random.randint(0, words)))


def assistant_content(random):
    if random.random() < 0.5:
        return text(random)
    parts = []
    for _ in range(random.randint(0, 4)):
        kind = random.choice(["text", "python", "call"])
        parts.append(Part("python" if kind == "call" else kind, text(random)))
        if kind == "call":
            parts.append(Part("python_output", text(random)))
    return tuple(parts)


def conversation(random) -> Conversation:
    messages = []
    if random.random() < 0.3:
        messages.append(Message("system", text(random)))
    for _ in range(random.randint(1, 3)):
        messages.append(Message("user", text(random)))
        messages.append(Message("assistant", assistant_content(random)))
    if random.random() < 0.3:
        messages.append(Message("user", text(random)))
    return Conversation(tuple(messages))
