"""What a stage reads: other runs' data, files of conversations, and what is kept back."""

import dataclasses
import json

import pytest

torch = pytest.importorskip("torch")

from bytemill import Tokenizer
from bytemill.chat import SPECIAL_TOKENS, Conversation, Message, Renderer
from bytemill.lm.checkpoint.loading import load_model
from bytemill.lm.stages import MidTraining, Sft, SftConfig
from bytemill.lm.train.events import Stepped, Warned
from tests.support.chats import chat_tokenizer
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.stage_runs import mid, of_kind, run, sft, stopped, write_chats


def test_replay_of_a_base_run_a_stage_and_shards(folder):
    """Each share of the rows is the other data's: shards' rows count throughout, an earlier
    stage's are as that stage packs them."""
    run(MidTraining, mid(folder, steps=1))
    parts = f"0.25={folder / 'base'}; 0.25={folder / 'mid'}; 0.25={folder / 'shards'}"
    made = stopped(sft(folder, replay=parts, batch_size=200))
    x, y = made._source().next_batch()
    whole = (y != -1).all(dim=1).float().mean().item()  # all but SFT's own, which are masked
    assert abs(whole - 0.75) < 4 * (0.75 * 0.25 / 200) ** 0.5
    own = [i for i in range(200) if not (y[i] != -1).all()]
    assert all(int(x[i, 0]) == chat_tokenizer().special_tokens["<|bos|>"] for i in own)
    assert all((y[i] != -1).any() for i in own)


def test_relative_paths_are_right_in_another_working_folder(folder, monkeypatch):
    """What a run of relative paths keeps is enough to go on anywhere, and gives the same bits."""
    chats = [
        Conversation((Message("user", f"what of {i}"), Message("assistant", f"it is {i * i}")))
        for i in range(30)
    ]
    write_chats(folder / "own.jsonl", chats)
    monkeypatch.chdir(folder)
    fields = {"tasks": "own.jsonl[:20]*2; identity[:60]", "replay": " 0.3=base ;0.2=shards"}
    settings = sft(folder, **fields, init_from="base", out="whole")
    run(Sft, settings)
    made = Sft(
        settings.but(out="cut"),
        on_event=lambda event: (
            made.stop() if isinstance(event, Stepped) and event.step == 3 else None
        ),
    )
    assert made.run().step == 3
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    kept = SftConfig.load(folder / "cut" / "config.json")
    assert kept.data.replay == f"0.3={folder / 'base'}; 0.2={folder / 'shards'}"
    assert kept.data.tasks == f"{folder / 'own.jsonl'}[:20]*2; identity[:60]"
    assert kept.placed() == kept
    run(Sft, kept.but(out=str(folder / "cut")), resume=True)
    whole, went_on = (load_model(folder / name).model.state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], went_on[name]) for name in whole)


@pytest.mark.parametrize(
    ("replay", "error", "message"),
    [
        ("shards", ValueError, "not like 0.1=runs/base"),
        ("1.5=x", ValueError, "not like 0.1=runs/base"),
        ("0.5={0}/shards;0.5={0}/base", ValueError, "must come to less than 1"),
        ("0.5={0}/none", FileNotFoundError, "none"),
        ("0.5={0}/others", ValueError, "tokenizer"),
    ],
)
def test_bad_replay(replay, error, message, folder):
    other = Tokenizer.train(["some other text " * 50], 270, list(SPECIAL_TOKENS))
    (folder / "other.txt").write_text("<|bos|>a text<|bos|>another" * 50)
    other.encode_files(
        folder / "other.txt", folder / "others", separator="<|bos|>", separator_at="start"
    )
    with pytest.raises(error, match=message):
        run(Sft, sft(folder, replay=replay.format(folder)))
    assert not (folder / "sft").exists()


@pytest.mark.parametrize("last", ["nothing", "too long"])
def test_a_validation_that_has_nothing_to_learn(folder, last):
    """What is kept back is of no use, what is trained on is."""
    good = Conversation((Message("user", "a"), Message("assistant", "b")))
    bad = Conversation((Message("user", "a"),))
    if last == "too long":
        bad = Conversation((Message("user", "long " * 200), *good.messages[1:]))
    path = write_chats(folder / "own.jsonl", [good] * 19 + [bad])
    _, result, told = run(Sft, sft(folder, tasks=str(path), steps=1))
    assert result.is_finished and result.validation is None
    assert any("nothing is validated" in event.message for event in of_kind(told, Warned))
    none = write_chats(folder / "none.jsonl", [bad] * 3)
    with pytest.raises(ValueError, match="nothing to learn in any conversation"):
        run(Sft, sft(folder, tasks=f"1={none}", out=str(folder / "none")))


def test_bad_lines_are_passed_over_and_counted(folder):
    good = Conversation((Message("user", "a"), Message("assistant", "b")))
    path = write_chats(folder / "own.jsonl", [good] * 30)
    path.write_text(path.read_text() + "nonsense\n[]\n")
    made, _, told = run(Sft, sft(folder, tasks=str(path), skip_bad=True, steps=1))
    assert len(made.mixture.bad) == 2
    assert any(
        w.message.startswith("2 lines are not conversations and are left out: ")
        for w in of_kind(told, Warned)
    )


def test_what_is_kept_for_validation_is_not_trained_on(folder):
    chats = [Conversation((Message("user", f"a{i}"), Message("assistant", "b"))) for i in range(60)]
    path = write_chats(folder / "own.jsonl", chats)
    made = stopped(sft(folder, tasks=f"{path}; {path}[:30]*2"))
    train = [
        share.task[i].conversation.messages[0].text
        for share in made.mixture.train
        for i in range(len(share.task))
    ]
    val = {
        share.task[i].conversation.messages[0].text
        for share in made.mixture.val
        for i in range(len(share.task))
    }
    assert (
        len(val) == 3 and not val & set(train) and val | set(train) == {f"a{i}" for i in range(60)}
    )
    rendered = {tuple(Renderer(chat_tokenizer()).render(chats[int(t[1:])]).ids[:-1]) for t in val}
    rows = [row for x, _ in made._val_batches for row in x.tolist()]
    assert {tuple(row[: len(next(iter(rendered)))]) for row in rows} & rendered
    json.dumps(dataclasses.asdict(made.config))
