"""The programs that generate, evaluate and account, on a tiny model; their bad input."""

import io
import json
import math
import re
import shutil
import sys

import pytest

torch = pytest.importorskip("torch")

from bytemill import Tokenizer
from bytemill.lm.batches.tokens import open_tokens
from bytemill.lm.checkpoint.one_file import CheckpointStore
from bytemill.lm.evaluate.corpus import evaluate
from bytemill.lm.generate.text import generate
from tests.support.lm_runs import BOS, make_shards, tiny_model
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.programs import call, is_one_line


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shards, a tokenizer, and a run with checkpoints of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("lm")
    tokenizer = make_shards(folder)
    for step in (1, 2):
        model = tiny_model(vocab_size=tokenizer.n_vocab, seed=step)
        CheckpointStore(folder / "run").save(
            step,
            model,
            [torch.optim.SGD(model.parameters(), lr=1.0)],
            model_config=model.config.to_dict(),
            metrics={"val_loss": 9.0 - step},
        )
    tokenizer.save(folder / "run" / "tokenizer")
    return folder


def test_generate_prints_what_the_model_writes(folder, capsys):
    tokenizer = Tokenizer.load(folder / "run" / "tokenizer")
    model = tiny_model(vocab_size=tokenizer.n_vocab, seed=2)
    prompt = tokenizer.encode("the cat")
    options = ["--model", folder / "run", "--device", "cpu", "--prompt", "the cat", "--no-stop"]
    status, out, _ = call(capsys, "generate", *options, "--temperature", "0")
    assert status == 0
    (ids,) = generate(model, [prompt], temperature=0)
    assert out == tokenizer.decode([*prompt, *ids]) + "\n"
    more = ["--samples", 3, "--seed", 7, "--max-new-tokens", 5, "--top-k", 40, "--top-p", 0.9]
    status, out, err = call(capsys, "generate", *options, *more)
    assert status == 0
    rows = generate(
        model, [prompt] * 3, max_new_tokens=5, temperature=0.8, top_k=40, top_p=0.9, seed=7
    )
    for i, row in enumerate(rows):
        shown = tokenizer.decode([*prompt, *row])
        assert f"--- sample {i + 1}, seed {7 + i}, {len(row)} tokens\n{shown}\n" in out
    assert "15 tokens in" in err


def test_generate_goes_past_the_context_only_if_told(folder, capsys, tmp_path):
    base = ["--model", folder / "run", "--device", "cpu", "--max-new-tokens", 30, "--no-stop"]
    status, _, err = call(capsys, "generate", *base)
    assert status == 2
    assert "context length 16" in err and "slide" in err
    assert call(capsys, "generate", *base, "--overflow", "slide")[0] == 0
    text = tmp_path / "prompt.txt"
    text.write_text("the dog sat on the log " * 20)
    status, _, err = call(capsys, "generate", *base, "--prompt-file", text)
    assert status == 2
    assert re.match(r"error: --prompt-file has \d+ tokens, more than the context length 16", err)


def test_evaluate_prints_the_figures(folder, capsys):
    tokenizer = Tokenizer.load(folder / "run" / "tokenizer")
    base = ["--model", folder / "run", "--device", "cpu"]
    for step, which in ((2, "best"), (2, "last"), (1, "1")):
        model = tiny_model(vocab_size=tokenizer.n_vocab, seed=step)
        expected = evaluate(model, open_tokens(folder / "shards", split="val"), tokenizer)
        more = ["--data", folder / "shards", "--checkpoint", which, "--json"]
        status, out, _ = call(capsys, "evaluate", *base, *more)
        assert status == 0
        found = json.loads(out)
        assert found["step"] == step
        assert found["loss"] == expected.loss
        assert found["bits_per_byte"] == expected.bits_per_byte
        saved = json.loads((folder / "run" / "evaluation" / "loss.json").read_text())
        assert saved["data"] == open_tokens(folder / "shards", split="val").content
        assert {name: saved[name] for name in found} == found
    status, out, _ = call(capsys, "evaluate", *base, "--text", folder / "corpus.txt")
    assert status == 0
    assert "bits per byte" in out and f"{(folder / 'corpus.txt').stat().st_size}" not in out


def test_text_on_stdin(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")  # where stdin is written to a file first
    base = ["--model", folder / "run", "--device", "cpu"]

    def given(text):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    options = ["--temperature", 0, "--no-stop"]
    want = call(capsys, "generate", *base, *options, "--prompt", "the cat")[1]
    given("the cat")
    assert call(capsys, "generate", *base, *options, "--prompt-file", "-")[:2] == (0, want)
    want = call(capsys, "evaluate", *base, "--json", "--text", folder / "corpus.txt")[1]
    given(json.dumps({"body": (folder / "corpus.txt").read_text()}))
    options = ["--json", "--text", "-", "--format", "jsonl", "--text-column", "body"]
    assert call(capsys, "evaluate", *base, *options)[:2] == (0, want)


def test_texts_of_a_repeated_flag_are_all_read(folder, capsys, tmp_path):
    base = ["--model", folder / "run", "--device", "cpu", "--json"]
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("the cat sat on the mat")
    files = [tmp_path / "a.txt", "--text", tmp_path / "b.txt"]
    one = json.loads(call(capsys, "evaluate", *base, "--text", files[0])[1])
    two = json.loads(call(capsys, "evaluate", *base, "--text", *files)[1])
    assert two["n_bytes"] == 2 * one["n_bytes"]


def test_account_prints_gpt2_xl(capsys):
    sizes = ["--preset", "cs336", "--d-model", 1600, "--n-layer", 48, "--n-head", 25]
    sizes += ["--d-ff", 6400, "--vocab-size", 50257, "--context-length", 1024]
    status, out, _ = call(capsys, "account", *sizes, "--gpu", "H100", "--tokens", 1e9)
    assert status == 0
    assert "2,127,057,600" in out and "4.513e12" in out and "989.4 TFLOP/s" in out


def test_account_of_ranks_components_and_cs336(capsys):
    # Two layers of 4 x 64 x 64 + 2 x 64 x 256, a table of 256 x 64 and a head: 131,072 in all.
    sizes = ("--d-model", 64, "--n-layer", 2, "--n-head", 4, "--vocab-size", 256, "--d-ff", 256)
    more = ("--world-size", 2, "--components", "--cs336", "--dtype", "float32")
    status, out, _ = call(capsys, "account", *sizes, *more)
    assert status == 0
    rows = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in out.splitlines())
    assert rows["query"].startswith("8,192 (6.2%)")
    assert rows["feed-forward down"].startswith("32,768 (25.0%)")
    # Half of Muon's 98,304 numbers and of AdamW's two for each of 32,768, in four bytes.
    both = [line.split()[2] for line in out.splitlines() if line.startswith("  muon states")]
    assert both == ["655.4", "327.7"]
    # Each half of the gradients and of the weights goes to the other rank.
    assert rows["sends in a step"] == "524.3 kB"
    assert "by CS336, 1 row " in out


def test_account_of_a_run(folder, capsys):
    status, out, _ = call(capsys, "account", "--model", folder / "run", "--memory", 1)
    assert status == 0
    n_params = tiny_model(vocab_size=Tokenizer.load(folder / "tokenizer").n_vocab).n_params()
    assert f"{n_params:,}" in out
    assert "in 1 GB" in out
    assert "training memory, 1 row at a time" in out


def test_account_plans_for_the_tokens_that_are_given(capsys):
    sizes = ["--preset", "cs336", "--d-model", 64, "--n-layer", 1, "--n-head", 2, "--d-ff", 64]
    sizes += ["--vocab-size", 300, "--context-length", 16]
    status, out, _ = call(capsys, "account", *sizes, "--batch-size", 4, "--tokens", 64e8)
    assert status == 0
    assert "100,000,000 steps, 6,400,000,000 tokens" in out
    assert "e+" not in out
    status, out, _ = call(capsys, "account", *sizes, "--tokens", 1e10, "--gpu", "H100")
    assert status == 0
    planned = re.search(r"horizon +[\d,]+ steps, ([\d,]+) tokens", out)
    assert abs(int(planned[1].replace(",", "")) / 1e10 - 1) < 1e-3
    assert re.search(r"training +10,000,000,000 tokens, \S+ days on 1 x H100", out)
    for other in (["--steps", 7], ["--flops", 1e9], ["--tokens-per-parameter", 3]):
        status, _, err = call(capsys, "account", *sizes, "--tokens", 1e9, *other)
        assert status == 2
        is_one_line(err, f"--tokens: {other[0]} says how long to train, too")
    status, _, err = call(capsys, "account", *sizes, "--tokens", 15)
    assert status == 2
    is_one_line(err, "--tokens 15: a step alone takes 16 tokens")


@pytest.mark.parametrize("name", ["generate", "evaluate", "account"])
def test_unknown_flags(name, capsys):
    status, _, err = call(capsys, name, "--modle", "x")
    assert status == 2
    is_one_line(err, "--modle: there is no such flag; did you mean --model?")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", ""], "it is empty"),
        (["--samples", "0"], "--samples 0"),
        (["--samples", str(10**12)], "--samples 1000000000000: it must be from 1 to 65536"),
        (["--top-k", "0"], "--top-k 0: it must be at least 1; leave it out to keep all tokens"),
        (["--prompt", "the cat " * 20], "--prompt has "),
        (["--prompt-file", __file__], "--prompt-file has "),
        (["--overflow", "slide"], "--overflow slide has no end by itself: give --max-new-tokens,"),
        (["--temperature", "-1"], "--temperature -1"),
        (["--stop", "<|x|>"], "it is not a special token"),
        (["--stop", BOS, "--no-stop"], "contradicts"),
        (["--checkpoint", "7"], "no checkpoint of step 7"),
        (["--checkpoint", "newest"], "--checkpoint newest"),
        (["--threads", "0"], "--threads 0"),
        (["--device", "tpu"], "--device tpu"),
    ],
)
def test_bad_values(folder, capsys, arguments, message):
    status, _, err = call(
        capsys, "generate", "--model", folder / "run", "--device", "cpu", *arguments
    )
    assert status == 2
    assert message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu", "H900"], "--gpu H900"),
        (["--n-head", "7"], "--d-model "),
        (["--gpu", "H100", "--mfu", "40"], "--mfu 40"),
        (["--memory", "-1"], "--memory -1:"),
        (
            ["--depth", str(10**12)],
            "--depth 1000000000000: it must be at least 1 and at most 10,000",
        ),
        (["--n-layer", str(10**12)], "--n-layer 1000000000000: it must be"),
        (["--world-size", "0"], "--world-size 0"),
    ],
)
def test_bad_accounts(capsys, arguments, message):
    status, _, err = call(capsys, "account", *arguments)
    assert status == 2
    assert message in err and err.count("\n") == 1


def test_missing_and_truncated_checkpoints(folder, capsys, tmp_path):
    status, _, err = call(capsys, "generate", "--model", tmp_path / "none")
    assert status == 2
    assert "no checkpoint" in err
    shutil.copytree(folder / "run", tmp_path / "run")
    weights = next((tmp_path / "run").rglob("step-00000002/model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    for name, more in (("generate", []), ("evaluate", ["--text", weights])):
        status, _, err = call(capsys, name, "--model", tmp_path / "run", "--device", "cpu", *more)
        assert status == 2
        assert "model.safetensors" in err
    status, _, _ = call(
        capsys,
        "generate",
        *("--model", tmp_path / "run", "--device", "cpu", "--checkpoint", "1"),
    )
    assert status == 0


def test_another_tokenizer(folder, capsys, tmp_path):
    Tokenizer.train(["other words"], 262, [BOS]).save(tmp_path / "other")
    base = ["--model", folder / "run", "--device", "cpu", "--tokenizer", tmp_path / "other"]
    for name, more in (
        ("generate", []),
        ("evaluate", ["--data", folder / "shards"]),
    ):
        status, _, err = call(capsys, name, *base, *more)
        assert status == 2
        assert "fingerprint" in err
    (tmp_path / "t.txt").write_text("other words")
    Tokenizer.load(tmp_path / "other").encode_files(
        tmp_path / "t.txt", tmp_path / "shards", validation_fraction=1.0
    )
    base = ["--model", folder / "run", "--device", "cpu", "--data", tmp_path / "shards"]
    status, _, err = call(capsys, "evaluate", *base)
    assert status == 2
    assert "another tokenizer" in err


def test_figures_are_finite(folder, capsys):
    base = ["--model", folder / "run", "--device", "cpu", "--data", folder / "shards", "--json"]
    out = call(capsys, "evaluate", *base, "--stride", 4, "--max-tokens", 100)[1]
    found = json.loads(out)
    assert found["n_tokens"] == 99
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
