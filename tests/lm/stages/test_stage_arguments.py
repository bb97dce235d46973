"""Wrong arguments of stages: each is named, and nothing is left behind."""

import shutil

import pytest

torch = pytest.importorskip("torch")

from bytemill import Tokenizer
from bytemill.chat import Conversation, Message
from bytemill.lm.checkpoint.loading import find_checkpoint, load_model
from bytemill.lm.stages import MidTraining, Sft, SftConfig
from bytemill.lm.stages.base import Base
from bytemill.lm.train import Trainer
from tests.support.chats import chat_tokenizer
from tests.support.lm_runs import config, edit_state
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.stage_runs import mid, run, sft, write_chats


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"init_from": "{}/none"}, FileNotFoundError, "no checkpoint is there"),
        ({"tasks": "gsm8k"}, FileNotFoundError, "bytemill download hf:openai/gsm8k"),
        ({"tasks": "smoltalk"}, FileNotFoundError, "bytemill download hf:HuggingFaceTB"),
        ({"tasks": None}, FileNotFoundError, "bytemill download hf:allenai/ai2_arc"),
        ({"tasks": "humaneval"}, ValueError, "for the final table only"),
        ({"tasks": "spelling-new-wordings"}, ValueError, "for the final table only"),
        ({"tasks": "gsm8k:test"}, ValueError, "for the final table only"),
        ({"tasks": "speling"}, ValueError, "neither a task nor a file"),
        ({"tasks": ";"}, ValueError, "names no task"),
        ({"tasks": "identity*0"}, ValueError, "at least once"),
        ({"tasks": "identity*1000000000000"}, ValueError, "at most 1,000 times"),
        ({"sample_prompt": "x" * 90, "sample_every": 9}, ValueError, "and the context 64"),
        ({"sample_prompt": "\udc80", "sample_every": 9}, ValueError, "sample_prompt=.*surrogate"),
        ({"tasks": "identity[3]"}, ValueError, "a slice is"),
        ({"tasks": "identity[5:5]"}, ValueError, "has no items"),
        ({"tasks": "x=identity"}, ValueError, "neither a task nor a file"),
        ({"tasks": "0=identity"}, ValueError, "a weight is a number above 0"),
        ({"tasks": "0.5=identity*2"}, ValueError, "a weight and repeats"),
        ({"tasks": "0.5=identity; spelling"}, ValueError, "give all of them one, or none"),
        ({"tasks": "0.5=identity", "steps": None}, ValueError, "give steps"),
        ({"tasks": "0.5=identity", "epochs": 2.0}, ValueError, "give steps"),
        ({"tasks": "{}/none.jsonl"}, FileNotFoundError, "none.jsonl"),
        ({"tasks": "{}/base"}, ValueError, "whose data replay= takes"),
        ({"tasks": "{}/bad.jsonl"}, ValueError, "bad.jsonl:2: not a conversation"),
        ({"context_length": 2}, ValueError, "nothing to learn in any conversation"),
        ({"words": "{}/none.txt"}, FileNotFoundError, "none.txt"),
    ],
)
def test_wrong_arguments(changes, error, message, folder):
    write_chats(folder / "bad.jsonl", [Conversation((Message("user", "a"),))] * 3)
    lines = (folder / "bad.jsonl").read_text().splitlines()
    (folder / "bad.jsonl").write_text("\n".join([lines[0], '{"messages": []}', lines[1]]))
    changes = {k: v.format(folder) if isinstance(v, str) else v for k, v in changes.items()}
    with pytest.raises(error, match=message):
        run(Sft, sft(folder, **{"data": str(folder / "data"), **changes}))
    assert not (folder / "sft").exists()


def test_fields():
    with pytest.raises(TypeError, match="'init_from' is missing"):
        SftConfig.of(out="x")
    with pytest.raises(ValueError, match="a stage's horizon is given by epochs"):
        SftConfig.of(out="x", init_from="y", flops=1.0)


def test_a_tokenizer_without_the_special_tokens(tmp_path):
    from tests.support.lm_runs import make_shards

    make_shards(tmp_path)
    Trainer(
        config(
            tmp_path, data=str(tmp_path / "shards"), tokenizer=str(tmp_path / "tokenizer"),
            out=str(tmp_path / "base"), steps=1,
        )
    ).run()  # fmt: skip
    with pytest.raises(ValueError, match=r"no special token <\|user_start\|>"):
        run(Sft, sft(tmp_path))
    assert not (tmp_path / "sft").exists()


def test_another_tokenizer_in_the_models_folder(folder):
    """Of the same size, it would be taken without a word."""
    shutil.copytree(folder / "base", folder / "other")
    own = chat_tokenizer()
    Tokenizer.from_ranks(own.mergeable_ranks, own.special_tokens, pattern=r"\S+|\s+").save(
        folder / "other" / "tokenizer"
    )
    for load in (Base.of, load_model):
        with pytest.raises(ValueError, match=r"tokenizer: its fingerprint is .* put that one back"):
            load(str(folder / "other"))


def test_without_a_tokenizer(folder):
    from tests.support.lm_runs import make_ids

    make_ids(folder)
    Trainer(config(folder, out=str(folder / "plain"), steps=1)).run()
    with pytest.raises(FileNotFoundError, match="no tokenizer beside it"):
        run(Sft, sft(folder, init_from=str(folder / "plain")))


def test_a_stage_is_not_another_one(folder):
    run(MidTraining, mid(folder, steps=1))
    with pytest.raises(ValueError, match="of the kind 'bytemill-mid-train-config'"):
        run(Sft, sft(folder, out=str(folder / "mid")), resume=True)
    found = find_checkpoint(folder / "mid")

    def damaged(state):
        state["extra"]["more"]["base"]["head_lr"] = "high"
        return state

    edit_state(found.path, damaged)
    with pytest.raises(ValueError, match="its base rates are damaged"):
        run(Sft, sft(folder, init_from=str(folder / "mid")))
