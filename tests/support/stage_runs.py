"""Tiny runs of the stages: a base model, configurations, conversations."""

import json

from bytemill.chat import SPECIAL_TOKENS
from bytemill.lm.stages import MidConfig, Sft, SftConfig
from bytemill.lm.train import Trainer
from tests.support.chats import chat_tokenizer
from tests.support.lm_runs import config, documents

BOS = SPECIAL_TOKENS[0]
T = 64
SMALL = {
    "device": "cpu", "dtype": "float32", "threads": 1, "log_every": 1, "checkpoint_every": 0,
    "eval_every": 0, "eval_tokens": 256, "ask_items": 2, "ask_every": 0,
}  # fmt: skip
BASE_RATES = {"embedding_lr": 0.31, "head_lr": 0.007, "matrix_lr": 0.013, "vector_lr": 0.0071}
TASKS = "identity[:60]; spelling[:40]; arithmetic[:40]"


def make_base(folder, **changes):
    """A base model of three steps in folder/base; its text is folder/text.txt."""
    chat_tokenizer().save(folder / "tokenizer")
    (folder / "text.txt").write_text(BOS.join(["", *documents()]), encoding="utf-8")
    chat_tokenizer().encode_files(
        folder / "text.txt", folder / "shards", separator=BOS, separator_at="start",
    )  # fmt: skip
    fields = {
        "data": str(folder / "shards"), "tokenizer": str(folder / "tokenizer"), "steps": 3,
        "context_length": T, "out": str(folder / "base"), **changes,
    }  # fmt: skip
    Trainer(config(folder, **fields)).run()
    return folder / "base"


def mid(folder, **changes):
    """Mid-training of some steps, into folder/mid."""
    return MidConfig.of(**_fields(folder, "mid", changes))


def sft(folder, **changes):
    """SFT of some steps, into folder/sft."""
    return SftConfig.of(**_fields(folder, "sft", changes))


def run(stage, settings, **options):
    """The run, its result and all that was told of it."""
    told = []
    made = stage(settings, on_event=told.append, **options)
    result = made.run()
    return made, result, told


def stopped(settings):
    """SFT that is set up, and has made no step."""
    made = Sft(settings)
    made.stop()
    made.run()
    return made


def of_kind(told, kind):
    """Those of the events that are of this kind."""
    return [event for event in told if isinstance(event, kind)]


def _fields(folder, name, changes):
    own = {"init_from": str(folder / "base"), "out": str(folder / name), "tasks": TASKS}
    return {**SMALL, **own, "steps": 6, "batch_size": 3, **changes}


def write_chats(path, conversations):
    """JSON lines."""
    lines = [json.dumps(one.to_dict()) for one in conversations]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
